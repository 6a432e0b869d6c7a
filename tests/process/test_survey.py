"""What is asked before workers start: rules that compile, topics that exist, and how many partitions they have."""

import os
import signal
from pathlib import Path

import pytest

from shipper.devstack.broker import EmbeddedBroker
from shipper.devstack.kafka import make_topic
from shipper.errors import CannotStartError, ConfigError, KafkaUnavailableError
from shipper.process.forecast import Retention
from shipper.process.spawn import Question
from shipper.process.survey import survey
from shipper.settings import Kafka, Redact, Settings


def test_the_topic_with_the_most_partitions_counts_and_the_answer_comes_from_a_process_of_its_own(
    embedded_broker: EmbeddedBroker,
) -> None:
    topics = [make_topic(embedded_broker.bootstrap, partitions) for partitions in (2, 5)]
    settings = Settings(kafka=Kafka(bootstrap_servers=[embedded_broker.bootstrap], topics=topics))
    assert Question("shipper.process.survey:survey", settings).answer() == 5


@pytest.mark.parametrize("server", ["embedded_broker", pytest.param("kafka", marks=pytest.mark.kafka)])
def test_how_long_kafka_keeps_records_comes_from_a_process_of_its_own(
    request: pytest.FixtureRequest, server: str
) -> None:
    bootstrap = request.getfixturevalue(server).bootstrap
    short = make_topic(bootstrap, 1, {"retention.ms": "60000", "retention.bytes": "1000000"})
    endless = make_topic(bootstrap, 1, {"retention.ms": "-1"})
    settings = Settings(kafka=Kafka(bootstrap_servers=[bootstrap], topics=[short, endless]))
    found = Question("shipper.process.retention:ask", settings).answer()
    assert found == {short: Retention(60.0, 1_000_000), endless: Retention()}


def test_a_missing_topic_is_named_with_the_way_out(embedded_broker: EmbeddedBroker) -> None:
    topics = [make_topic(embedded_broker.bootstrap, 1), "no-such-topic"]
    settings = Settings(kafka=Kafka(bootstrap_servers=[embedded_broker.bootstrap], topics=topics))
    with pytest.raises(KafkaUnavailableError, match=r"no topic no-such-topic.*shipper topics create"):
        survey(settings)


def test_a_bad_pattern_is_found_before_kafka_is_asked() -> None:
    settings = Settings(
        kafka=Kafka(bootstrap_servers=["127.0.0.1:1"]), redact=[Redact(name="broken", pattern="(unclosed")]
    )
    with pytest.raises(ConfigError, match="unclosed"):
        Question("shipper.process.survey:survey", settings).answer()


def test_ctrl_c_at_the_first_instruction_of_a_process_does_not_reach_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The interpreter runs `sitecustomize` before anything that shipper could have a say in."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "if 'from multiprocessing.spawn' in str(sys.orig_argv): os.kill(os.getpid(), signal.SIGINT)\n"
    )
    (tmp_path / "answers.py").write_text("import signal\ndef deaf(_): return signal.getsignal(signal.SIGINT).name")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    assert Question("answers:deaf", Settings()).answer() == signal.SIG_IGN.name
    assert "Traceback" not in capfd.readouterr().err


def test_a_question_whose_process_crashes_is_answered_with_an_error() -> None:
    with pytest.raises(CannotStartError, match="exit code 1"):
        Question("shipper.process.survey:no_such_function", Settings()).answer()
