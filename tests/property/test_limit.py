"""The push limit: it grows by one, is halved, and never leaves its bounds, whatever Loki answers."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.process.limit import Pushes, PushLimit

WORKERS, LANES, TIMEOUT_S = 3, 4, 10.0
ALL = WORKERS * LANES


class Host:
    """A limit that is asked every second, and totals that grow."""

    def __init__(self) -> None:
        self.limit = PushLimit(WORKERS, LANES, TIMEOUT_S)
        self.totals, self.now_s = Pushes(), 50.0
        self.limit.decide(self.totals, self.now_s)

    def second(self, ended: int, pushed_back: int = 0, seconds: float = 0.0) -> int:
        self.now_s += 1.0
        self.totals = Pushes(
            self.totals.ended + ended, self.totals.pushed_back + pushed_back, self.totals.seconds + seconds
        )
        return sum(self.limit.decide(self.totals, self.now_s))


def test_it_begins_with_all_lanes_and_stays_there_while_loki_takes_what_it_is_sent() -> None:
    host = Host()
    assert [host.second(100) for _ in range(5)] == [ALL] * 5


def test_it_is_halved_each_second_that_pushes_are_sent_back_down_to_one_for_each_worker() -> None:
    host = Host()
    assert [host.second(100, 50) for _ in range(4)] == [6, 3, 3, 3]
    assert [host.second(100) for _ in range(12)] == [*range(4, 13), ALL, ALL, ALL]


def test_answers_that_take_half_of_the_time_that_they_may_are_a_sign_too() -> None:
    host = Host()
    assert host.second(10, seconds=10 * 4.9) == ALL
    assert host.second(10, seconds=10 * 5.1) == ALL // 2


def test_a_push_that_fails_for_ever_among_many_others_slows_nobody_down() -> None:
    host = Host()
    assert [host.second(20, 1) for _ in range(5)] == [ALL] * 5


def test_nothing_is_concluded_from_nothing() -> None:
    host = Host()
    host.second(100, 100)
    assert [host.second(0) for _ in range(5)] == [ALL // 2] * 5


def test_however_often_it_is_asked_a_step_takes_a_second() -> None:
    host = Host()
    host.second(100, 100)
    for _ in range(5):
        host.totals = replace(host.totals, ended=host.totals.ended + 1, pushed_back=host.totals.pushed_back + 1)
        assert sum(host.limit.decide(host.totals, host.now_s + 0.1)) == ALL // 2


@given(
    workers=st.integers(1, 9),
    lanes=st.integers(1, 9),
    steps=st.lists(st.tuples(st.integers(0, 50), st.floats(0, 1), st.floats(0, 20), st.floats(0, 3))),
)
def test_every_worker_has_at_least_one_push_and_never_more_than_it_has_lanes(
    workers: int, lanes: int, steps: list[tuple[int, float, float, float]]
) -> None:
    limit, totals, now_s = PushLimit(workers, lanes, TIMEOUT_S), Pushes(), 0.0
    before = workers * lanes
    for ended, share, seconds, passes_s in steps:
        now_s += passes_s
        totals = Pushes(totals.ended + ended, totals.pushed_back + int(share * ended), totals.seconds + ended * seconds)
        shares = limit.decide(totals, now_s)
        assert len(shares) == workers
        assert all(1 <= one <= lanes for one in shares)
        assert max(shares) - min(shares) <= 1
        assert sum(shares) == pytest.approx(before, abs=1) or sum(shares) == max(before // 2, workers)
        before = sum(shares)
