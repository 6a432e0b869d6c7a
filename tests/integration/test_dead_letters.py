"""`shipper dlq` against a real Kafka: letters are counted once, and their records put back exactly once."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from io import StringIO
from pathlib import Path

import pytest
from confluent_kafka import Producer
from rich.console import Console

from dead_letters import bury, commit, listed, offsets, redriven, settings_for
from guarded import login, permit
from messages import StoredMessage
from shipper.cli import dlq
from shipper.config import load
from shipper.devstack.kafka import KafkaServer, TopicFactory, make_topic
from shipper.errors import KafkaUnavailableError, ShipperError
from shipper.kafka.redrive import RedriveEndedError, Redriver
from shipper.records import Headers, Reason
from shipper.settings import Settings
from shipper.tools import redrive
from shipper.tools.dead_letters import Wanted
from shipping import read_topic

NOW_MS = time.time_ns() // 1_000_000
OWN: Headers = [("x-request-id", b"\xff1"), ("none", None), ("dlq.reason", b"somebody else's")]


@pytest.fixture
def settings(kafka: KafkaServer, topic: TopicFactory) -> Settings:
    return settings_for(kafka.bootstrap, topic(4), topic(3))


def lost(settings: Settings, count: int, first: int = 0) -> list[StoredMessage]:
    """Records that lay in four partitions of the topic, and are deleted there."""
    topic = settings.kafka.topics[0]
    return [
        StoredMessage(b"line %d" % row, (topic, row % 4, 1_000 + row), b"key-%d" % (row % 7), OWN, NOW_MS - row)
        for row in range(first, first + count)
    ]


def in_topic(settings: Settings) -> list[StoredMessage]:
    return read_topic(settings.kafka.bootstrap_servers[0], settings.kafka.topics[0])


def contents(records: list[StoredMessage]) -> Counter[tuple[object, ...]]:
    """All of each record but its offset."""
    return Counter((it.partition(), it.key(), it.value(), tuple(it.headers() or ()), it.timestamp()) for it in records)


def test_letters_are_listed_by_filters_each_once_and_put_back_as_they_were(settings: Settings) -> None:
    records = lost(settings, 40)
    bury(settings, records[:30])
    bury(settings, records[30:], Reason.NOT_JSON)
    bury(settings, records[:10], partition=2)  # a crash wrote them again
    assert offsets(listed(settings)) == sorted((row % 4, 1_000 + row) for row in range(40))
    assert offsets(listed(settings, reasons=["not_json"])) == sorted((row % 4, 1_000 + row) for row in range(30, 40))
    assert {it["partition"] for it in listed(settings, partitions=[1, 2])} == {1, 2}
    assert offsets(listed(settings, contains="line 17")) == [(1, 1_017)]
    assert (listed(settings, topics=["other"]), listed(settings, until="1h"), len(listed(settings, limit=3))) == (
        [],
        [],
        3,
    )
    assert len(listed(settings, since="1h")) == 40

    done = redriven(settings, reasons=["line_too_long"], partitions=[0, 1])

    assert (done["put_back"], done["skipped_redriven"], done["failed"], done["code"]) == (16, 0, [], 0)
    assert contents(in_topic(settings)) == contents([it for it in records[:30] if it.partition() < 2])
    assert len(listed(settings)) == 24
    assert Counter(it["state"] for it in listed(settings, everything=True)) == {"waiting": 24, "redriven": 16}
    places = {f"{it.topic()}/{it.partition()}/{it.offset()}" for it in in_topic(settings)}
    assert {it["redriven_to"] for it in listed(settings, everything=True)} == {None, *places}
    done = redriven(settings)
    assert (done["put_back"], done["skipped_redriven"]) == (24, 16)
    assert contents(in_topic(settings)) == contents(records)
    assert redriven(settings)["put_back"] == 0


def test_one_letter_is_shown_whole_and_put_back_alone(settings: Settings) -> None:
    records = lost(settings, 3)
    bury(settings, [*records, StoredMessage(b"\x1b[31m\xff", (settings.kafka.topics[0], 0, 7))])
    output = StringIO()
    console = Console(file=output, highlight=False)
    assert dlq.show(settings, f"{settings.kafka.topics[0]}/1/1001", as_json=False, console=console) == 0
    assert dlq.show(settings, f"{settings.kafka.topics[0]}/0/7", as_json=False, console=console) == 0
    text = output.getvalue()
    for part in ("line_too_long, why", "key-1", "x-request-id: b'\\xff1'", "none: null", "line 1", "1b 5b 33 31 6d ff"):
        assert part in text
    assert "\x1b" not in text
    with pytest.raises(ShipperError, match="has no letter of nowhere/1/2"):
        dlq.show(settings, "nowhere/1/2", as_json=False, console=console)
    place = f"{settings.kafka.topics[0]}/1/1001"
    assert redriven(settings, places=[place], dry_run=True)["to_put_back"] == 1
    assert in_topic(settings) == []
    assert redriven(settings, places=[place])["put_back"] == 1
    assert redriven(settings, places=[place])["skipped_redriven"] == 1
    assert contents(in_topic(settings)) == contents(records[1:2])


KILLED = """
import os, signal, sys
from shipper.cli import main
from shipper.kafka.redrive import Redriver

name, calls = sys.argv[1], int(sys.argv[2])
original = getattr(Redriver, name)

def call(self, *arguments):
    global calls
    calls -= 1
    done = original(self, *arguments)
    if not calls:
        os.kill(os.getpid(), signal.SIGKILL)
    return done

setattr(Redriver, name, call)
sys.argv = ["shipper", *sys.argv[3:]]
main()
"""


@pytest.mark.timeout(600)
def test_a_redrive_that_is_killed_and_run_again_puts_each_record_back_once(settings: Settings, tmp_path: Path) -> None:
    records = lost(settings, 2_400)
    bury(settings, records)
    config = tmp_path / "config.toml"
    config.write_text(f"""
        [kafka]
        bootstrap_servers = {settings.kafka.bootstrap_servers}
        topics = {settings.kafka.topics}
        group_id = "{settings.kafka.group_id}"
        [dead_letter]
        topic = "{settings.dead_letter.topic}"
    """)
    command = ["dlq", "redrive", "--yes", "--config", str(config)]
    found = []
    # Records are written without their markers; with them, and not committed; committed, and nobody was told.
    for name, calls in (("_write", 3), ("_write", 2), ("_commit", 2)):
        run = [sys.executable, "-c", KILLED, name, str(calls), *command]
        assert subprocess.run(run, timeout=180, check=False).returncode == -signal.SIGKILL
        found.append(len(in_topic(settings)))

    done = redriven(settings)

    assert found == [500, 500, 1_500]
    assert (done["put_back"], done["skipped_redriven"], done["code"]) == (900, 1_500, 0)
    assert contents(in_topic(settings)) == contents(records)


def test_of_two_redrives_the_later_one_fences_the_other_and_each_record_is_put_back_once(settings: Settings) -> None:
    records = lost(settings, 1_200)
    bury(settings, records)
    first, second = redrive.Outcome(), redrive.Outcome()
    plan = redrive.plan(settings, Wanted(), now_ms=NOW_MS)

    def tell(_: int) -> None:
        if not second.put_back:
            redrive.carry_out(settings, plan, second)

    with pytest.raises(RedriveEndedError, match=r"another `shipper dlq redrive`.* took over"):
        redrive.carry_out(settings, plan, first, tell=tell)
    assert (first.put_back.total(), second.put_back.total(), second.redriven) == (500, 700, 500)
    assert contents(in_topic(settings)) == contents(records)


def test_markers_are_read_only_when_nobody_else_can_write_any(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury(settings, lost(settings, 10))
    first, second = redrive.Outcome(), redrive.Outcome()
    plan = redrive.plan(settings, Wanted(), now_ms=NOW_MS)
    begin = Redriver.begin

    def begin_late(redriver: Redriver) -> None:
        monkeypatch.undo()
        redrive.carry_out(settings, plan, second)
        begin(redriver)

    monkeypatch.setattr(Redriver, "begin", begin_late)
    redrive.carry_out(settings, plan, first)
    assert (first.put_back.total(), first.redriven, second.put_back.total()) == (0, 10, 10)
    assert len(in_topic(settings)) == 10


def test_nothing_is_put_back_while_the_transaction_of_another_program_hides_markers(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury(settings, lost(settings, 1))
    other = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers[0], "transactional.id": "another-program"})
    other.init_transactions(60)
    other.begin_transaction()
    for partition in range(3):
        other.produce(settings.dead_letter.topic, b"no letter", partition=partition)
    assert other.flush(60) == 0
    monkeypatch.setattr(redrive, "_OPEN_S", 0.0)
    with pytest.raises(KafkaUnavailableError, match="a transaction of another program is open in"):
        redriven(settings)
    assert in_topic(settings) == []
    other.abort_transaction(60)
    assert redriven(settings)["put_back"] == 1


def test_what_cannot_be_put_back_is_said_and_holds_up_nobody(kafka: KafkaServer, topic: TopicFactory) -> None:
    narrow = topic(2, {"max.message.bytes": "2000", "retention.ms": "3600000"})
    settings = settings_for(kafka.bootstrap, narrow, topic(1, {"max.message.bytes": "100000"}))
    fine = [StoredMessage(b"fine", (narrow, 5, row), timestamp_ms=NOW_MS) for row in range(20)]
    bury(settings, fine[:9])
    bury(settings, [StoredMessage(os.urandom(3_000), (narrow, 1, 77), timestamp_ms=NOW_MS)])
    bury(settings, [StoredMessage(b"old", (narrow, 1, 78), timestamp_ms=NOW_MS - 7_200_000)])
    bury(settings, [StoredMessage(b"lost", ("gone", 0, 79), timestamp_ms=NOW_MS)])
    bury(settings, fine[9:])
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(settings.dead_letter.topic, b"no letter")
    assert producer.flush(60) == 0

    done = redriven(settings)

    why = {it["offset"]: it["why"] for it in done["failed"]}
    assert (done["put_back"], done["code"], sorted(why)) == (20, 1, [77, 78, 79])
    assert "too large for topic" in why[77]
    assert "older than the retention.ms" in why[78]
    assert "topic gone does not exist" in why[79]
    # Its partition is there no more; what was together in it stays together.
    assert contents(in_topic(settings)) == contents(
        [StoredMessage(b"fine", (narrow, 1, row), timestamp_ms=NOW_MS) for row in range(20)]
    )


def test_a_record_that_shipper_reads_again_by_itself_is_left_out_until_it_is_past_it(settings: Settings) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers[0]})
    for row in range(6):
        producer.produce(settings.kafka.topics[0], b"line %d" % row, partition=0, timestamp=NOW_MS)
    assert producer.flush(60) == 0
    bury(settings, in_topic(settings))
    commit(settings, {0: 2})
    done = redriven(settings)
    assert (done["put_back"], done["skipped_unsettled"], done["code"]) == (2, 4, 0)
    commit(settings, {0: 6})
    done = redriven(settings)
    assert (done["put_back"], done["skipped_redriven"], done["skipped_unsettled"]) == (4, 2, 0)
    assert Counter(it.value() for it in in_topic(settings)) == Counter({b"line %d" % row: 2 for row in range(6)})


def test_a_record_that_becomes_a_letter_again_shows_its_rounds(settings: Settings) -> None:
    bury(settings, lost(settings, 1))
    redriven(settings)
    again = in_topic(settings)
    bury(settings, again)
    commit(settings, {0: 100})
    assert [(it["offset"], it["rounds"]) for it in listed(settings)] == [(again[0].offset(), 1)]
    assert [it["rounds"] for it in listed(settings, everything=True)] == [0, 1]


def test_a_dead_letter_topic_that_is_missing_is_said(kafka: KafkaServer) -> None:
    settings = settings_for(kafka.bootstrap, make_topic(kafka.bootstrap), "missing")
    with pytest.raises(KafkaUnavailableError, match="the dead letter topic missing does not exist"):
        redriven(settings)


@pytest.mark.kafka
def test_missing_permissions_are_told_and_nothing_is_put_back_without_them(
    guarded: tuple[KafkaServer, str], tmp_path: Path
) -> None:
    server, address = guarded
    log_topic, letters = make_topic(server.bootstrap), make_topic(server.bootstrap)
    mine = settings_for(server.bootstrap, log_topic, letters)
    bury(mine, [StoredMessage(b"line", (log_topic, 0, 7), timestamp_ms=NOW_MS)])
    config = tmp_path / "config.toml"
    config.write_text(f'[kafka]\ntopics = ["{log_topic}"]\ngroup_id = "g"\n[dead_letter]\ntopic = "{letters}"')
    given = [f"kafka.bootstrap_servers={address}", *login(tmp_path / "pw", "geheim")]
    alice = load(config, env={}, overrides=given)
    permit(server.bootstrap, ("GROUP", "g", "READ"), ("TOPIC", letters, "READ"), ("TOPIC", log_topic, "READ"))
    assert f"may not write topic {log_topic}" in redriven(alice)["failed"][0]["why"]
    permit(server.bootstrap, ("TOPIC", log_topic, "WRITE"))
    with pytest.raises(KafkaUnavailableError, match="grant WRITE on that transactional id"):
        redriven(alice)
    permit(server.bootstrap, ("TRANSACTIONAL_ID", f"shipper-redrive-{letters}", "WRITE"))
    with pytest.raises(KafkaUnavailableError, match=f"may not write topic {letters}, which gets a marker"):
        redriven(alice)
    permit(server.bootstrap, ("TOPIC", letters, "WRITE"))
    assert in_topic(mine) == []
    assert redriven(alice)["put_back"] == 1
    assert len(in_topic(mine)) == 1
