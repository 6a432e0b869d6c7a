"""When a worker that lives counts as hung or stalled, and how long a dead one waits for its next start."""

import random
from collections.abc import Iterator

import pytest

from shipper.process.backoff import Backoff
from shipper.process.counters import Counters
from shipper.process.row import Partition, Row
from shipper.process.slots import State
from shipper.process.watchdog import Patience, Watchdog

S = 1_000_000_000
STARTED = 1_000 * S
PATIENCE = Patience(start_s=20.0, heartbeat_s=10.0, progress_s=30.0)


class Watched:
    """A worker that beats every second of a clock of its own."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self.row: Row = counters.row(0)
        self.partition: Partition = self.row.partition(0, 0)
        self.dog = Watchdog(PATIENCE, STARTED)
        self.now_ns = STARTED

    def passes(self, seconds: int, *, beats: bool = True, progresses: bool = False) -> str | None:
        for _ in range(seconds):
            self.now_ns += S
            if beats:
                self.row.heartbeat(self.now_ns)
            if progresses:
                self.row.progress(self.now_ns)
            if complaint := self.dog.complaint(self.counters.read(0), self.now_ns):
                return complaint
        return None


@pytest.fixture
def watched() -> Iterator[Watched]:
    counters = Counters.create(1, ["logs"])
    yield Watched(counters)
    counters.close()


def test_a_worker_may_take_its_time_to_start_but_not_for_ever(watched: Watched) -> None:
    assert watched.passes(20, beats=False) is None
    assert watched.passes(1, beats=False) == "it did not get going in 21 s"


def test_the_heartbeat_of_an_earlier_life_does_not_count(watched: Watched) -> None:
    watched.row.heartbeat(STARTED - 1)
    assert "did not get going" in (watched.passes(25, beats=False) or "")


def test_a_worker_without_heartbeat_is_hung(watched: Watched) -> None:
    assert watched.passes(100) is None
    assert watched.passes(10, beats=False) is None
    assert watched.passes(1, beats=False) == "no heartbeat for 11 s"


def test_lag_without_progress_is_a_stall(watched: Watched) -> None:
    watched.partition.set(committed=10, high_watermark=15)
    assert watched.passes(100, progresses=True) is None
    assert watched.passes(30) is None
    assert "no progress for 31 s with 5 records to go" in (watched.passes(1) or "")


def test_an_idle_worker_has_all_the_time_it_wants_and_after_it_the_full_patience(watched: Watched) -> None:
    watched.partition.set(committed=15, high_watermark=15)
    assert watched.passes(1_000) is None
    watched.partition.set(high_watermark=16)
    assert watched.passes(30) is None
    assert watched.passes(1) is not None


@pytest.mark.parametrize("state", ["retrying", "refusing"])
@pytest.mark.parametrize("peer", ["loki", "kafka"])
def test_nobody_is_restarted_because_loki_or_kafka_is_down(watched: Watched, peer: str, state: State) -> None:
    watched.partition.set(committed=10, high_watermark=15)
    getattr(watched.row, peer)(state, 1, "down")
    assert watched.passes(1_000) is None
    getattr(watched.row, peer)("ok", 2)
    assert watched.passes(30) is None
    assert watched.passes(1) is not None


def test_records_beyond_the_target_are_not_to_be_shipped(watched: Watched) -> None:
    watched.partition.set(committed=10, high_watermark=15, target=10)
    assert watched.passes(1_000) is None


def test_a_partition_that_was_left_behind_is_no_stall(watched: Watched) -> None:
    watched.partition.set(committed=10, high_watermark=15)
    watched.row.repair()
    assert watched.passes(1_000) is None


def test_delays_grow_up_to_the_cap_and_are_jittered() -> None:
    backoff = Backoff(first_s=1.0, max_s=8.0, healthy_s=60.0, rng=random.Random(4))  # noqa: S311 - jitter, no secret
    delays = [backoff.next_delay_s(ran_s=1.0) for _ in range(200)]
    for delay, bound in zip(delays, [1.0, 2.0, 4.0, 8.0, 8.0], strict=False):
        assert bound / 2 <= delay <= bound
    assert all(4.0 <= delay <= 8.0 for delay in delays[3:])
    assert len(set(delays)) == len(delays)


def test_a_worker_that_ran_well_starts_over_with_the_first_delay() -> None:
    backoff = Backoff(first_s=1.0, max_s=8.0, healthy_s=60.0, rng=random.Random(4))  # noqa: S311 - jitter, no secret
    for _ in range(5):
        backoff.next_delay_s(ran_s=1.0)
    assert backoff.next_delay_s(ran_s=60.0) <= 1.0
    assert 1.0 <= backoff.next_delay_s(ran_s=59.0) <= 2.0
