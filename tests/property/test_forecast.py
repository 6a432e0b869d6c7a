"""When data will be lost: the formula against records that are written, shipped and deleted one by one."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.process.forecast import Backlog, Bound, Forecast, Loss, Retention
from shipper.process.snapshot import PartitionLook

rates = st.one_of(st.just(0.0), st.floats(5.0, 500.0))
backlogs = st.builds(
    Backlog,
    records=st.integers(100, 5_000),
    age_s=st.floats(0.0, 900.0),
    shipped_per_s=rates,
    written_per_s=rates,
)
bounds_s = st.floats(1.0, 1_000.0)


def first_lost_s(backlog: Backlog, age_max_s: float) -> tuple[bool, float]:
    """Ship record after record: whether one is too old at its turn, and when it is; else up to when none is."""
    record = 0
    while True:
        if record < backlog.records:
            written_s = -backlog.age_s * (1 - record / backlog.records)
        elif backlog.written_per_s:
            written_s = (record - backlog.records) / backlog.written_per_s
        else:
            return False, math.inf
        end_s = max(written_s + age_max_s, 0.0)
        if not backlog.shipped_per_s or record / backlog.shipped_per_s > written_s + age_max_s:
            return True, end_s
        if record > 20_000:
            return False, end_s
        record += 1


@pytest.mark.parametrize(
    ("backlog", "age_max_s", "in_s"),
    [
        (Backlog(1_000, 60.0, 0.0, 50.0), 200.0, 140.0),
        (Backlog(1_000, 100.0, 1.0, 1.0), 200.0, 1_000 / 9),
        (Backlog(1_000, 10.0, 10.0, 20.0), 200.0, 300.0),
        (Backlog(1_000, 10.0, 20.0, 20.0), 200.0, None),
        (Backlog(1_000, 201.0, 1_000.0, 0.0), 200.0, 0.0),
    ],
    ids=["standing still", "in the backlog", "behind it", "keeping up", "too old already"],
)
def test_some_cases_worked_out_by_hand(backlog: Backlog, age_max_s: float, in_s: float | None) -> None:
    assert backlog.loss_by_age(age_max_s) == (in_s if in_s is None else pytest.approx(in_s))


@given(backlogs, bounds_s)
def test_the_formula_says_what_happens_record_by_record(backlog: Backlog, age_max_s: float) -> None:
    is_lost, happens_s = first_lost_s(backlog, age_max_s)
    # A formula knows no single records: it may be off by what one of them takes.
    step_s = sum(1 / rate for rate in (backlog.shipped_per_s, backlog.written_per_s) if rate)
    step_s += backlog.age_s / backlog.records + 1e-6
    later_s = backlog.loss_by_age(age_max_s + step_s)
    assert later_s is None or later_s >= happens_s - step_s
    if is_lost:
        sooner_s = backlog.loss_by_age(max(age_max_s - step_s, 0.0))
        assert sooner_s is not None
        assert sooner_s <= happens_s + step_s


@given(backlogs, bounds_s, rates)
def test_shipping_faster_never_loses_sooner(backlog: Backlog, age_max_s: float, more: float) -> None:
    slower = backlog.loss_by_age(age_max_s)
    faster = replace(backlog, shipped_per_s=backlog.shipped_per_s + more).loss_by_age(age_max_s)
    assert faster is None or (slower is not None and faster >= slower * (1 - 1e-9))


@given(backlogs, bounds_s, st.floats(0.0, 500.0))
def test_a_longer_bound_never_loses_sooner(backlog: Backlog, age_max_s: float, more: float) -> None:
    shorter, longer = backlog.loss_by_age(age_max_s), backlog.loss_by_age(age_max_s + more)
    assert longer is None or (shorter is not None and longer >= shorter * (1 - 1e-9))


@given(backlogs, bounds_s)
def test_what_stands_still_is_lost_when_its_oldest_record_is_too_old(backlog: Backlog, age_max_s: float) -> None:
    stopped = replace(backlog, shipped_per_s=0.0)
    assert stopped.loss_by_age(age_max_s) == max(0.0, age_max_s - backlog.age_s)


@given(backlogs, st.floats(-1_000.0, 100_000.0))
def test_a_bound_in_bytes_is_reached_by_what_is_written_beyond_what_is_shipped(backlog: Backlog, left: float) -> None:
    in_s = backlog.loss_by_size(left)
    if backlog.written_per_s <= backlog.shipped_per_s:
        assert in_s is None
    else:
        assert in_s is not None
        grown = in_s * (backlog.written_per_s - backlog.shipped_per_s)
        assert grown == pytest.approx(max(left, 0.0), rel=1e-6, abs=1e-6)


DAY_S = 86_400.0
NOW_MS = 1_800_000_000_000


class Watched:
    """A partition that is looked at every five seconds."""

    def __init__(self, retention: Retention, *, age_s: float, record_bytes: float = 300.0) -> None:
        self.forecast = Forecast()
        self.retention, self.age_s, self.record_bytes = retention, age_s, record_bytes
        self.now_s = 0.0
        self.look = PartitionLook(
            0,
            7,
            owned=True,
            committed=1_000_000,
            high_watermark=1_000_000,
            last_settled_timestamp_ms=NOW_MS,
            paused=False,
            target=-1,
            low_watermark=900_000,
            oldest_timestamp_ms=-1,
        )

    def goes_on(self, seconds: int, *, written_per_s: int, shipped_per_s: int, next_age_s: float) -> Loss | None:
        found: dict[tuple[str, int], Loss] = {}
        for _ in range(0, seconds, 5):
            self.now_s += 5
            now_ms = NOW_MS + int(self.now_s * 1_000)
            self.look = replace(
                self.look,
                committed=self.look.committed + 5 * shipped_per_s,
                high_watermark=self.look.high_watermark + 5 * written_per_s,
                oldest_timestamp_ms=now_ms - int(next_age_s * 1_000),
            )
            found = self.forecast.losses(
                [("logs", self.look)],
                now_s=self.now_s,
                now_ms=now_ms,
                entry_age_max_s=self.age_s,
                retentions={"logs": self.retention},
                record_bytes=self.record_bytes,
            )
        return found.get(("logs", 7))


def test_nothing_is_in_sight_where_shipping_keeps_up_or_has_nothing_to_do() -> None:
    watched = Watched(Retention(7 * DAY_S, 10**9), age_s=7 * DAY_S)
    assert watched.goes_on(300, written_per_s=0, shipped_per_s=0, next_age_s=0) is None
    assert watched.goes_on(300, written_per_s=1_000, shipped_per_s=1_000, next_age_s=0.5) is None
    watched.look = replace(watched.look, high_watermark=watched.look.high_watermark + 500_000)
    assert watched.goes_on(300, written_per_s=1_000, shipped_per_s=1_500, next_age_s=500) is None


def test_with_loki_away_it_is_what_is_left_of_the_shorter_bound() -> None:
    watched = Watched(Retention(7 * DAY_S), age_s=8 * DAY_S)
    loss = watched.goes_on(300, written_per_s=1_000, shipped_per_s=0, next_age_s=6.5 * DAY_S)
    assert loss
    assert loss.in_s == pytest.approx(0.5 * DAY_S, rel=0.01)
    assert loss.bound is Bound.RETENTION_MS
    watched = Watched(Retention(None), age_s=7 * DAY_S)
    loss = watched.goes_on(300, written_per_s=1_000, shipped_per_s=0, next_age_s=6.5 * DAY_S)
    assert loss
    assert loss.in_s == pytest.approx(0.5 * DAY_S, rel=0.01)
    assert loss.bound is Bound.ENTRY_AGE


def test_a_bound_in_bytes_counts_with_what_is_kept_before_the_committed_offset() -> None:
    watched = Watched(Retention(None, 30 * 10**6), age_s=7 * DAY_S)
    loss = watched.goes_on(120, written_per_s=100, shipped_per_s=0, next_age_s=120)
    # 30 MB are 100,000 records of 300 bytes; as many are kept before it. 12,000 of them are used up already.
    assert loss
    assert loss.in_s == pytest.approx(1_000, rel=0.01)
    assert loss.bound is Bound.RETENTION_BYTES
    assert watched.goes_on(240, written_per_s=100, shipped_per_s=100, next_age_s=120) is None


def test_what_kafka_has_deleted_already_is_being_lost_now() -> None:
    watched = Watched(Retention(None, 10**6), age_s=7 * DAY_S)
    watched.look = replace(watched.look, low_watermark=1_000_500, high_watermark=1_001_000)
    assert watched.goes_on(5, written_per_s=0, shipped_per_s=0, next_age_s=5) == Loss(0.0, Bound.RETENTION_BYTES)


def test_a_topic_made_anew_begins_anew_with_its_rates() -> None:
    watched = Watched(Retention(None), age_s=DAY_S)
    watched.goes_on(120, written_per_s=1_000, shipped_per_s=0, next_age_s=60)
    watched.look = replace(watched.look, committed=0, high_watermark=5, low_watermark=0)
    assert watched.goes_on(5, written_per_s=0, shipped_per_s=0, next_age_s=1) is None, "no rate is known yet"


def test_loss_that_is_further_away_than_the_bound_is_out_of_sight() -> None:
    watched = Watched(Retention(None), age_s=3_600)
    watched.look = replace(watched.look, high_watermark=watched.look.high_watermark + 100)
    assert watched.goes_on(300, written_per_s=1_000, shipped_per_s=990, next_age_s=1) is None
