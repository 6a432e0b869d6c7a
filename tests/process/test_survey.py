"""What is asked before workers start: rules that compile, topics that exist, and how many partitions they have."""

import pytest

from shipper.devstack.broker import EmbeddedBroker
from shipper.devstack.kafka import make_topic
from shipper.errors import CannotStartError, ConfigError, KafkaUnavailableError
from shipper.process.spawn import Question
from shipper.process.survey import survey
from shipper.settings import Kafka, Redact, Settings


def test_the_topic_with_the_most_partitions_counts_and_the_answer_comes_from_a_process_of_its_own(
    embedded_broker: EmbeddedBroker,
) -> None:
    topics = [make_topic(embedded_broker.bootstrap, partitions) for partitions in (2, 5)]
    settings = Settings(kafka=Kafka(bootstrap_servers=[embedded_broker.bootstrap], topics=topics))
    assert Question("shipper.process.survey:survey", settings).answer() == 5


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


def test_a_question_whose_process_crashes_is_answered_with_an_error() -> None:
    with pytest.raises(CannotStartError, match="exit code 1"):
        Question("shipper.process.survey:no_such_function", Settings()).answer()
