"""Canaries that are out, seen, given up: how fresh the worst partition is, and how many are written meanwhile."""

import pytest

from shipper.process.sightings import Sightings
from shipper.records import TopicPartition

ONE, OTHER = TopicPartition("logs", 0), TopicPartition("logs", 1)
DAY_S = 86_400.0


def oldest(sightings: Sightings) -> float | None:
    return sightings.oldest_out_s


@pytest.fixture
def sightings() -> Sightings:
    sightings = Sightings(every_s=10.0, age_max_s=7 * DAY_S)
    sightings.set_partitions([ONE, OTHER], now_s=1_000.0)
    return sightings


def test_freshness_is_that_of_the_worst_partition(sightings: Sightings) -> None:
    first, second = (sightings.write(at, 1_000.0) for at in sightings.due(1_000.0))
    assert sightings.see([first, second], 1_001.5)
    assert sightings.latency_s == 1.5
    assert sightings.due(1_009.0) == []
    third, _ = (sightings.write(at, 1_010.0) for at in sightings.due(1_010.0))
    sightings.see([first, second, third], 1_011.0)
    assert sightings.freshness == (OTHER, 1_000.0)
    assert (sightings.written, sightings.seen) == (4, 3)


def test_where_none_was_seen_yet_freshness_counts_from_the_beginning(sightings: Sightings) -> None:
    sightings.write(ONE, 1_005.0)
    assert sightings.freshness == (ONE, 1_000.0)
    sightings.set_partitions([ONE, OTHER], now_s=2_000.0)
    assert sightings.freshness == (ONE, 1_000.0)


def test_an_outage_of_days_leaves_some_dozen_canaries_and_the_one_that_comes_last_counts(sightings: Sightings) -> None:
    numbers: list[int] = []
    for second in range(0, int(3 * DAY_S), 10):
        numbers += [sightings.write(at, 1_000.0 + second) for at in sightings.due(1_000.0 + second)]
    assert 20 < len(numbers) < 40
    assert oldest(sightings) == 1_000.0
    now_s = 1_000.0 + 3 * DAY_S
    sightings.see(numbers[:6], now_s)
    assert sightings.freshness is not None
    assert sightings.freshness.seen_s > 1_000.0
    sightings.see(numbers, now_s)
    assert oldest(sightings) is None
    assert sightings.due(now_s) == [ONE, OTHER], "all are seen: the full pace again"


def test_what_is_late_all_the_time_is_seen_late_not_never(sightings: Sightings) -> None:
    out: list[tuple[float, int]] = []
    for second in range(3_600):
        now_s = 1_000.0 + second
        out += [(now_s, sightings.write(at, now_s)) for at in sightings.due(now_s)]
        sightings.see([number for written_s, number in out if now_s - written_s >= 300], now_s)
    assert sightings.freshness is not None
    assert 300 <= 4_600 - sightings.freshness.seen_s <= 1_000


def test_a_canary_that_kafka_did_not_take_is_waited_for_no_more(sightings: Sightings) -> None:
    number = sightings.write(ONE, 1_000.0)
    sightings.give_up(number)
    assert oldest(sightings) is None
    assert not sightings.see([number], 1_001.0)
    assert sightings.freshness == (ONE, 1_000.0)


def test_one_that_is_seen_answers_for_those_before_it(sightings: Sightings) -> None:
    sightings.write(ONE, 1_000.0)
    last = sightings.write(ONE, 1_010.0)
    sightings.see([last], 1_011.0)
    assert oldest(sightings) is None
    assert sightings.due(1_020.0) == [ONE, OTHER]


def test_one_that_is_too_old_for_loki_is_given_up(sightings: Sightings) -> None:
    sightings.write(ONE, 1_000.0)
    sightings.write(ONE, 1_000.0 + 8 * DAY_S)
    assert oldest(sightings) == 1_000.0 + 8 * DAY_S


def test_a_partition_that_is_gone_is_forgotten(sightings: Sightings) -> None:
    number = sightings.write(OTHER, 1_000.0)
    sightings.set_partitions([ONE], 1_001.0)
    assert not sightings.see([number], 1_002.0)
    assert sightings.freshness == (ONE, 1_000.0)
