"""What the log says of data that will be lost: the worst, early enough, and not without end."""

import json
from collections.abc import Iterator

import pytest

from shipper.process import retention
from shipper.process.counters import Counters
from shipper.process.forecast import Retention
from shipper.process.loss import LossWatch, duration
from shipper.process.status import Look, WorkerLook
from shipper.settings import Limits, Loki, Settings

NOW_MS = 1_800_000_000_000
DAY_S = 86_400


class Watching:
    """Two partitions of which nothing is shipped, looked at every five seconds, and what the log says meanwhile."""

    def __init__(self, counters: Counters, capsys: pytest.CaptureFixture[str]) -> None:
        self.counters, self.capsys = counters, capsys
        self.row = counters.row(0)
        self.now_s = 1_000.0
        self.watch = LossWatch("nowhere:nothing")
        self.watch.adopt(Settings(loki=Loki(limits=Limits(entry_age_max_s=8 * DAY_S))), 0)
        self.watch._retentions = {"logs": Retention(7 * DAY_S)}
        self.watch._ask_at_s = float("inf")

    def passes(self, seconds: int, **left_s: float) -> list[dict[str, object]]:
        """Let time pass with so much left until Kafka deletes the next record of each partition; returns the log."""
        for _ in range(0, seconds, 5):
            self.now_s += 5
            now_ms = NOW_MS + int(self.now_s * 1_000)
            for name, seconds_left in left_s.items():
                self.row.partition(0, int(name.removeprefix("of_"))).set(
                    committed=100,
                    high_watermark=150,
                    low_watermark=0,
                    oldest_timestamp_ms=now_ms - int((7 * DAY_S - seconds_left) * 1_000),
                )
            self.watch.turn(
                Look(
                    now_ms=now_ms,
                    now_ns=int(self.now_s * 1e9),
                    rows=[self.counters.read(0)],
                    workers=[WorkerLook(0, 1, "running", 0)],
                    topics=self.counters.topics,
                )
            )
        return [json.loads(line) for line in self.capsys.readouterr().err.splitlines()]


@pytest.fixture
def watching(capsys: pytest.CaptureFixture[str]) -> Iterator[Watching]:
    counters = Counters.create(1, ["logs"])
    yield Watching(counters, capsys)
    counters.close()


def test_the_worst_partition_is_said_with_the_time_that_is_left_and_the_reason(watching: Watching) -> None:
    assert watching.passes(60, of_3=6 * DAY_S, of_7=5 * DAY_S) == [], "in sight, and days away"
    (line,) = watching.passes(60, of_3=20 * 3_600, of_7=3 * 3_600 + 12 * 60)
    assert line["level"] == "warn"
    assert line["message"] == (
        "partition logs/7 will lose data in 3 h 12 min: Kafka keeps its records for 7 d (retention.ms)"
    )
    assert line["context"] == {"time_to_data_loss_s": 11_520, "lag_records": 50, "partitions": 2, "loki": "ok"}


def test_it_is_said_again_when_it_gets_worse_and_now_and_then_and_when_it_is_over(watching: Watching) -> None:
    levels = [line["level"] for line in watching.passes(600, of_7=5 * 3_600)]
    assert levels == ["warn", "warn"]
    worse = watching.passes(10, of_7=50 * 60)
    assert [line["level"] for line in worse] == ["error"]
    gone = watching.passes(300, of_7=0)
    assert {line["level"] for line in gone} == {"error"}
    assert "partition logs/7 is losing data now" in str(gone[0]["message"])
    watching.row.partition(0, 7).set(committed=150)
    (over,) = watching.passes(10)
    assert over["message"] == "no partition is about to lose data any more"


def test_what_kafka_does_not_tell_is_said_once_and_loki_s_bound_counts(watching: Watching) -> None:
    watching.watch._retentions = {}
    watching.watch._explain("Kafka does not permit it to this user")
    watching.watch._explain("Kafka does not permit it to this user")
    (said, *_) = lines = watching.passes(60, of_7=-12 * 3_600)
    assert "only Loki's bound counts: Kafka does not permit it" in str(said["message"])
    assert len(lines) == 2
    assert "will lose data in 12 h: Loki takes entries of up to 8 d" in str(lines[1]["message"])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3_599, "1 h"),
        (11_520, "3 h 12 min"),
        (86_400, "1 d"),
        (95 * 3_600, "3 d 23 h"),
    ],
)
def test_a_time_is_said_as_people_say_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"retention.ms": "604800000", "retention.bytes": "-1", "cleanup.policy": "delete"}, Retention(604_800)),
        ({"retention.ms": "-1", "retention.bytes": "1000", "cleanup.policy": "compact,delete"}, Retention(None, 1_000)),
        ({"retention.ms": "604800000", "retention.bytes": "1000", "cleanup.policy": "compact"}, Retention()),
        ({}, Retention()),
    ],
)
def test_retention_is_read_off_a_topic_s_settings(config: dict[str, str], found: Retention) -> None:
    assert retention.read(config) == found
