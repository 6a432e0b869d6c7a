"""The laws of lanes: whatever Loki answers, no stream is pushed to twice at once, and every request is settled."""

import random
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shipper.loki.lanes import Lanes
from shipper.loki.narrowing import HALVED_AFTER, Push
from shipper.loki.schedule import Schedule
from shipper.loki.verdict import Action, Outcome, Verdict
from shipper.records import PushRequest, Reason, StreamSet

WAIT_MIN_S, WAIT_MAX_S = 0.25, 30.0
OK = Verdict(Action.DELIVERED, Outcome.DELIVERED)
REFUSED = Verdict(Action.NARROW, Outcome.REFUSED_ENTRIES, "HTTP 400: too old", reason=Reason.TOO_OLD)
FAILED = Verdict(Action.RETRY, Outcome.SERVER_ERROR, "HTTP 500:")
BUSY = Verdict(Action.RETRY, Outcome.RATE_LIMITED, "HTTP 429:", retry_after_s=7.0)
AWAY = Verdict(Action.RETRY, Outcome.CONNECTION, "refused")

LABELS = st.binary(min_size=1, max_size=2)


def request_of(entries: int, partitions: list[int] | None = None) -> PushRequest:
    """A request of as many entries, in two streams, whose rows are their positions."""
    texts = [entry_of(row) for row in range(entries)]
    streams = StreamSet(
        labels=(b'{a="1"}', b'{a="2"}'),
        lanes=np.zeros(2, np.int64),
        bounds=np.array([0, entries // 2, entries]),
        entries=b"".join(texts),
        positions=np.cumsum([0, *map(len, texts)]),
        rows=np.arange(entries),
        partitions=np.array(partitions or [0] * entries, np.int32),
    )
    return PushRequest(streams, 0, entries, 0)


def entry_of(row: int) -> bytes:
    return b"<%d>" % row


def rows_of(request: PushRequest) -> list[int]:
    rows: list[int] = request.streams.rows[request.first : request.last].tolist()
    return rows


def schedule() -> Schedule:
    return Schedule(WAIT_MIN_S, WAIT_MAX_S, random.Random(1))  # noqa: S311 - no secret


@given(batches=st.lists(st.dictionaries(LABELS, st.integers(0, 1_000))), count=st.integers(1, 5))
def test_a_stream_never_changes_its_lane(batches: list[dict[bytes, int]], count: int) -> None:
    lanes, seen = Lanes(count), dict[bytes, int]()
    for batch in batches:
        for labels, lane in zip(batch, lanes.of(list(batch), list(batch.values())), strict=True):
            assert 0 <= lane < count
            assert seen.setdefault(labels, lane) == lane


@given(weights=st.lists(st.integers(1, 100), min_size=4, max_size=30), count=st.integers(2, 6))
def test_no_lane_is_given_more_than_its_share_and_one_stream(weights: list[int], count: int) -> None:
    given_bytes = Counter[int]()
    labels = [str(stream).encode() for stream in range(len(weights))]
    for lane, weight in zip(Lanes(count).of(labels, weights), weights, strict=True):
        given_bytes[lane] += weight
    assert max(given_bytes.values()) <= sum(weights) / count + max(weights)


@dataclass
class World:
    """A lane, a Loki that answers as a test draws, and what became of every entry."""

    schedule: Schedule = field(default_factory=schedule)
    now_s: float = 100.0
    pushes: list[Push] = field(default_factory=list)
    delivered: Counter[tuple[int, int]] = field(default_factory=Counter)
    settled: Counter[int] = field(default_factory=Counter)

    def submit(self, entries: int, partitions: list[int] | None = None) -> None:
        push = Push(len(self.pushes), request_of(entries, partitions))
        self.pushes.append(push)
        self.schedule.add(push, self.now_s)

    def pass_time(self) -> None:
        wait_s = self.schedule.wait_s(self.now_s)
        assert wait_s is not None, "nothing is under way, and yet nothing will ever be due"
        assert wait_s <= max(WAIT_MAX_S, 7.0 + WAIT_MIN_S) + 1e-6
        self.now_s += max(wait_s, 0.0)

    def take(self) -> Push:
        """The request that is pushed now; time passes until one is due."""
        if not (push := self.schedule.take(self.now_s)):
            self.pass_time()
            push = self.schedule.take(self.now_s + 1e-6)
        assert push
        assert self.schedule.take(self.now_s + 1_000) is None, "two at once"
        return push

    def answer(self, push: Push, verdict: Verdict) -> None:
        part = push.parts.popleft()
        final = push.apply(verdict, part)
        assert not push.hold(random.Random(1))  # noqa: S311 - no secret
        if final and verdict.action is Action.DELIVERED:
            self.delivered.update((push.ticket, row) for row in rows_of(part.request))
        self.schedule.tried(push, verdict, self.now_s)
        self.settled[push.ticket] += not push.parts


@given(data=st.data())
def test_every_request_of_a_lane_is_settled_once_whatever_is_answered(data: st.DataObject) -> None:
    world = World()
    for step in data.draw(st.lists(st.sampled_from([None, OK, REFUSED, FAILED, BUSY, AWAY]), max_size=60)):
        open_ones = [push for push in world.pushes if push.parts]
        if step is None or not open_ones:
            partitions = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=6))
            world.submit(len(partitions), partitions)
        else:
            world.answer(world.take(), step)
    while any(push.parts for push in world.pushes):
        world.answer(world.take(), OK)
    assert world.settled == Counter(range(len(world.pushes)))
    for push in world.pushes:
        refused = [one.row for one in push.delivery().refused]
        rows = [row for ticket, row in world.delivered.elements() if ticket == push.ticket]
        assert sorted(rows + refused) == list(range(len(push.request)))
    assert world.schedule.take(world.now_s + 1_000) is None


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=8), data=st.data())
def test_requests_that_do_not_fail_are_pushed_in_the_order_in_which_they_came(
    sizes: list[int], data: st.DataObject
) -> None:
    world, order = World(), []
    for entries in sizes:
        world.submit(entries)
    while any(push.parts for push in world.pushes):
        push = world.take()
        order.append(push.ticket)
        world.answer(push, data.draw(st.sampled_from([OK, REFUSED])))
    assert order == sorted(order)


def test_a_request_that_fails_for_ever_waits_longer_and_longer_and_holds_up_nobody() -> None:
    world = World()
    world.submit(1)
    poison, tries, gaps = world.pushes[0], 0, list[float]()
    last_s = world.now_s
    for _ in range(400):
        world.submit(1)
        while (push := world.schedule.take(world.now_s)) is poison:
            tries += 1
            gaps.append(world.now_s - last_s)
            last_s = world.now_s
            world.answer(push, FAILED)
        assert push, "a fresh request waits for one that fails"
        world.answer(push, OK)
        world.now_s += 0.5
    assert world.settled == Counter(range(1, 401))
    assert tries < 30, "200 s, and it is tried every 15 s on the average in the end"
    assert max(gaps[:3]) < min(2.0, max(gaps[-3:]))
    world.now_s += WAIT_MAX_S
    assert world.take() is poison


def test_an_outage_is_no_storm() -> None:
    world = World()
    tries, began_s = 0, world.now_s
    while world.now_s < began_s + 600:
        world.submit(1)  # as many as time passes
        push = world.take()
        world.answer(push, AWAY)
        tries += 1
        assert tries < 80, "about one in 15 s, not one for every request that waits"


def test_after_an_outage_all_that_waits_is_pushed_without_another_wait_of_the_lane() -> None:
    world = World()
    for _ in range(50):
        world.submit(1)
    for _ in range(30):
        world.answer(world.take(), AWAY)
    world.answer(world.take(), OK)
    began_s = world.now_s
    fresh = 0
    while push := world.schedule.take(world.now_s):
        world.answer(push, OK)
        fresh += 1
    assert fresh >= 10
    while any(push.parts for push in world.pushes):
        world.answer(world.take(), OK)
    assert world.now_s - began_s <= WAIT_MAX_S + 1


def test_who_asks_to_be_left_alone_is_left_alone_by_the_whole_lane() -> None:
    world = World()
    world.submit(1)
    world.submit(1)
    world.answer(world.take(), BUSY)
    assert world.schedule.take(world.now_s + 6.9) is None
    assert world.schedule.take(world.now_s + 7.3)


def test_a_request_that_is_new_is_not_delayed_by_several_that_fail_for_ever() -> None:
    world = World()
    for _ in range(3):
        world.submit(1)
    poisons = list(world.pushes)
    for _ in range(3 * (HALVED_AFTER + 3)):
        world.answer(world.take(), FAILED)
    world.submit(1)
    while (first := world.take()) in poisons:
        world.answer(first, FAILED)
    world.answer(first, OK)
    # From now on none of the three counts as Loki's own failure.
    for _ in range(50):
        world.now_s += 5.0
        world.submit(1)
        while (push := world.schedule.take(world.now_s)) and push in poisons:
            world.answer(push, FAILED)
        assert push, "a fresh request waits"
        world.answer(push, OK)


def test_a_part_that_fails_is_divided_by_partition_before_it_is_halved() -> None:
    push = Push(1, request_of(8, partitions=[0, 1, 2, 3, 3, 2, 1, 0]))

    def parts() -> list[list[int]]:
        return [rows_of(part.request) for part in push.parts]

    for _ in range(2):
        push.apply(FAILED, push.parts.popleft())
    assert parts() == [[0, 1, 6, 7], [2, 3, 4, 5]]
    push.apply(FAILED, push.parts.popleft())
    assert parts() == [[2, 3, 4, 5], [0, 1, 6, 7]], "what was not tried yet goes first"
    push.apply(OK, push.parts.popleft())
    push.apply(FAILED, push.parts.popleft())
    assert parts() == [[0, 7], [1, 6]]
    push.parts.pop()
    for _ in range(HALVED_AFTER):
        assert parts() == [[0, 7]]
        push.apply(FAILED, push.parts.popleft())
    assert parts() == [[0], [7]]


@given(partitions=st.lists(st.integers(0, 5), min_size=1, max_size=40), data=st.data())
def test_a_request_divided_by_partition_carries_the_same_entries(partitions: list[int], data: st.DataObject) -> None:
    whole = request_of(len(partitions), partitions)
    first = data.draw(st.integers(0, len(partitions) - 1))
    last = data.draw(st.integers(first + 1, len(partitions)))
    request = replace(whole, first=first, last=last)
    pieces = request.by_partition()
    if pieces is None:
        assert len(set(partitions[first:last])) == 1
        return
    assert sorted(rows_of(pieces[0]) + rows_of(pieces[1])) == rows_of(request)
    of_the_first, of_the_second = ({partitions[row] for row in rows_of(piece)} for piece in pieces)
    assert not of_the_first & of_the_second
    for piece in pieces:
        streams = piece.streams
        assert piece.lane == request.lane
        assert rows_of(piece) == sorted(rows_of(piece)), "entries of a stream stay in order"
        assert streams.entries == b"".join(entry_of(row) for row in rows_of(piece))
        bounds = streams.bounds.tolist()
        for row, place in zip(rows_of(piece), range(len(piece)), strict=True):
            stream = next(index for index in range(2) if bounds[index] <= place < bounds[index + 1])
            assert stream == (row >= len(partitions) // 2)
            start, end = streams.positions[place : place + 2].tolist()
            assert streams.entries[start:end] == entry_of(row)


def test_a_partition_that_fails_for_ever_is_soon_alone_though_it_is_in_every_request() -> None:
    world = World()
    for _ in range(3):
        world.submit(400, [entry // 10 % 4 for entry in range(400)])
    good = {(ticket, row) for ticket in range(3) for row in range(400) if row // 10 % 4}
    began_s = world.now_s
    while good - world.delivered.keys():
        push = world.take()
        partitions = {row // 10 % 4 for row in rows_of(push.parts[0].request)}
        world.answer(push, FAILED if 0 in partitions else OK)
        assert world.now_s < began_s + 10, "with waits of up to 30 s"
    tries = 0
    while world.now_s < began_s + 1_000:
        world.answer(world.take(), FAILED)
        tries += 1
        assert tries < 300, "three requests, each of them every 15 s on the average"
