"""When a worker that lives counts as hung or stalled, and how long a dead one waits for its next start."""

import random
from collections.abc import Iterator

import pytest

from shipper.process.backoff import Backoff
from shipper.process.counters import Counters
from shipper.process.row import Partition, Row
from shipper.process.slots import State
from shipper.process.watchdog import Patience, Watchdog
from shipper.settings import Loki

S = 1_000_000_000
STARTED = 1_000 * S
PATIENCE = Patience(start_s=20.0, heartbeat_s=10.0, progress_s=30.0, reason_s=100.0)


class Watched:
    """A worker that beats every second of a clock of its own."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self.row: Row = counters.row(0)
        self.partition: Partition = self.row.partition(0, 0)
        self.dog = Watchdog(PATIENCE, STARTED)
        self.now_ns = STARTED

    def passes(
        self, seconds: int, *, beats: bool = True, progresses: bool = False, tries: str | None = None
    ) -> str | None:
        """Let time pass; `tries` is the counter that the worker moves once in a while meanwhile."""
        for second in range(seconds):
            self.now_ns += S
            if beats:
                self.row.heartbeat(self.now_ns)
            if progresses:
                self.row.progress(self.now_ns)
            if tries and second % 30 == 0:
                self.row.add(**{tries: 1})
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


TROUBLES = [("loki", "pushes"), ("kafka", "kafka_errors")]


@pytest.mark.parametrize("state", ["retrying", "refusing"])
@pytest.mark.parametrize(("peer", "tries"), TROUBLES)
def test_nobody_is_restarted_because_loki_or_kafka_is_down(
    watched: Watched, peer: str, tries: str, state: State
) -> None:
    watched.partition.set(committed=10, high_watermark=15)
    getattr(watched.row, peer)(state, 1, "down")
    assert watched.passes(5_000, tries=tries) is None
    getattr(watched.row, peer)("ok", 2)
    assert watched.passes(30) is None
    assert watched.passes(1) is not None


@pytest.mark.parametrize(("peer", "tries"), TROUBLES)
def test_a_reason_that_the_worker_only_told_once_hides_no_stall(watched: Watched, peer: str, tries: str) -> None:
    watched.partition.set(committed=10, high_watermark=15)
    getattr(watched.row, peer)("retrying", 1, "down")
    watched.passes(1, tries=tries)
    assert watched.passes(130) is None
    assert "nothing was tried for 131 s" in (watched.passes(1) or "")


def test_one_record_that_is_never_taken_is_a_reason_also_while_others_are_delivered(watched: Watched) -> None:
    watched.partition.set(committed=10, high_watermark=15)
    for _ in range(20):
        watched.row.loki("retrying", 1, "500")
        assert watched.passes(60, tries="pushes") is None
        watched.row.loki("ok", 2)
        assert watched.passes(20, progresses=True) is None


def test_a_paused_partition_is_no_reason_of_its_own(watched: Watched) -> None:
    watched.partition.set(committed=10, high_watermark=15, paused=True)
    assert watched.passes(30) is None
    assert watched.passes(1) is not None


def test_nobody_was_late_when_the_machine_stood_still(watched: Watched) -> None:
    watched.partition.set(committed=10, high_watermark=15)
    assert watched.passes(25) is None
    watched.now_ns += 3_600 * S
    assert watched.passes(10, beats=False) is None
    assert watched.passes(20) is None
    assert watched.passes(1, beats=False) is None
    assert watched.passes(5) is not None, "counted anew, not for ever"


def test_a_worker_that_had_not_started_when_the_machine_stood_still_may_take_its_time(watched: Watched) -> None:
    assert watched.passes(15, beats=False) is None
    watched.now_ns += 3_600 * S
    assert watched.passes(20, beats=False) is None
    assert watched.passes(2, beats=False) is not None


def test_where_one_push_may_take_long_nobody_is_restarted_in_the_middle_of_it() -> None:
    patience = Patience().beside(Loki(timeout_s=300.0, retry_wait_max_s=1_000.0))
    assert patience.progress_s > 3 * 300
    assert patience.reason_s > 3 * 300 + 1_000
    assert Patience().beside(Loki()) == Patience()


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
