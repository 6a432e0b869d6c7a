"""The laws of the offset tracker, against a model that knows every single record."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shipper.kafka.offsets import OffsetTracker
from shipper.records import Span, TopicPartition

PARTITIONS = [TopicPartition("logs", 0), TopicPartition("logs", 1), TopicPartition("audit", 0)]


def tracker_of(starts: Mapping[TopicPartition, int]) -> OffsetTracker:
    """A tracker that holds these partitions, each from its start."""
    tracker = OffsetTracker()
    for at, start in starts.items():
        tracker.assigned(at, start)
    return tracker


@dataclass
class Held:
    """One partition, from assignment to revocation: each existing offset, and whether it is settled."""

    generation: int
    start: int
    next_read: int
    committed: int
    records: dict[int, bool] = field(default_factory=dict)

    def prefix(self) -> int:
        """The first offset that is not settled, or where reading stands."""
        return min((offset for offset, settled in self.records.items() if not settled), default=self.next_read)


@dataclass
class Batch:
    offsets: dict[TopicPartition, tuple[int, list[int]]]  # generation, offsets
    settled: bool = False


class Tracking(RuleBasedStateMachine):
    """A consumer that is given and loses partitions, and workers that answer in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker = OffsetTracker()
        self.held: dict[TopicPartition, Held] = {}
        self.batches: dict[int, Batch] = {}
        self.generation = 0

    @initialize(start=st.integers(0, 50))
    def begin(self, start: int) -> None:
        self.give(PARTITIONS[0], start)

    @rule(at=st.sampled_from(PARTITIONS), start=st.integers(0, 50))
    def give(self, at: TopicPartition, start: int) -> None:
        if at not in self.held:
            self.generation += 1
            self.held[at] = Held(self.generation, start, next_read=start, committed=start)
            self.tracker.assigned(at, start)

    @rule(at=st.sampled_from(PARTITIONS))
    def take_away(self, at: TopicPartition) -> None:
        self.held.pop(at, None)
        self.tracker.drop([at])

    @rule(at=st.sampled_from(PARTITIONS))
    def take_away_and_give_back(self, at: TopicPartition) -> None:
        if at in self.held:
            start = self.held[at].prefix()
            self.take_away(at)
            self.give(at, start)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        ticket, spans, batch = len(self.batches), [], Batch({})
        for at in data.draw(st.lists(st.sampled_from(sorted(self.held)), min_size=1, unique=True)):
            held = self.held[at]
            # Gaps, as compaction and transaction markers leave them.
            gaps = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=5))
            offsets, offset = [], held.next_read
            for gap in gaps:
                offset += gap
                offsets.append(offset)
                offset += 1
            held.next_read = offset
            held.records |= dict.fromkeys(offsets, False)
            batch.offsets[at] = (held.generation, offsets)
            spans.append(Span(at, offsets[0], offset, len(offsets)))
        self.batches[ticket] = batch
        self.tracker.taken(ticket, spans)

    @rule(at=st.sampled_from(PARTITIONS), back=st.integers(1, 5))
    def take_what_is_not_due(self, at: TopicPartition, back: int) -> None:
        first = self.held[at].next_read - back if at in self.held else 0
        with pytest.raises(ValueError, match="went back" if at in self.held else "not held"):
            self.tracker.taken(-1, [Span(at, first, first + back + 1, back + 1)])

    @precondition(lambda self: any(not batch.settled for batch in self.batches.values()))
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from([ticket for ticket, batch in self.batches.items() if not batch.settled]))
        batch = self.batches[ticket]
        chosen = data.draw(st.lists(st.sampled_from(sorted(batch.offsets)), min_size=1, unique=True))
        ours = {}
        for at in chosen:
            generation, offsets = batch.offsets.pop(at)
            held = self.held.get(at)
            if held and held.generation == generation:
                held.records |= dict.fromkeys(offsets, True)
                ours[at] = len(offsets)
        batch.settled = not batch.offsets
        assert {span.at: span.records for span in self.tracker.settled(ticket, chosen)} == ours
        assert self.tracker.settled(ticket, chosen) == [], "settled twice"

    @rule()
    def commit(self) -> None:
        positions = self.tracker.committable()
        for at, position in positions.items():
            assert position > self.held[at].committed, "a position went back, or is committed again"
            self.held[at].committed = position
        self.tracker.committed(positions)
        assert not self.tracker.committable()

    @rule(at=st.sampled_from(PARTITIONS), position=st.integers(0, 10_000))
    def hear_of_a_late_commit(self, at: TopicPartition, position: int) -> None:
        if at not in self.held or position > self.held[at].prefix():
            self.tracker.committed({at: position})

    @invariant()
    def nothing_unsettled_is_committable(self) -> None:
        for at, position in self.tracker.committable().items():
            assert all(settled for offset, settled in self.held[at].records.items() if offset < position)

    @invariant()
    def what_moved_is_committable(self) -> None:
        committable = self.tracker.committable()
        for at, held in self.held.items():
            position = self.tracker.next_offset(at)
            if position is not None and position > held.committed:
                assert committable[at] == position
            else:
                assert at not in committable

    @invariant()
    def the_position_is_where_the_first_hole_is(self) -> None:
        for at, held in self.held.items():
            if not held.records:
                assert self.tracker.next_offset(at) == held.start
                continue
            position = self.tracker.next_offset(at)
            assert position is not None
            unsettled = [offset for offset, settled in held.records.items() if not settled]
            if unsettled:
                assert not [offset for offset in held.records if position <= offset < min(unsettled)]
            else:
                assert position == held.next_read

    @invariant()
    def in_flight_adds_up(self) -> None:
        unsettled = [settled for held in self.held.values() for settled in held.records.values()].count(False)
        assert self.tracker.in_flight == unsettled


TestTracking = Tracking.TestCase
TestTracking.settings = settings(stateful_step_count=30)


@given(st.permutations(range(8)), st.lists(st.integers(1, 5), min_size=8, max_size=8))
def test_any_order_of_acknowledgements_ends_at_the_last_offset(order: list[int], sizes: list[int]) -> None:
    at = PARTITIONS[0]
    tracker = tracker_of({at: 0})
    ends = [sum(sizes[: index + 1]) for index in range(8)]
    for ticket, (size, end) in enumerate(zip(sizes, ends, strict=True)):
        tracker.taken(ticket, [Span(at, end - size, end, size)])
    done: set[int] = set()
    for ticket in order:
        tracker.settled(ticket, PARTITIONS)
        done.add(ticket)
        prefix = next((index for index in range(8) if index not in done), 8)
        assert tracker.next_offset(at) == (ends[prefix - 1] if prefix else 0)
        oldest = tracker.oldest(at)
        assert oldest is None if prefix == 8 else oldest and oldest.next_offset == ends[prefix]
    assert tracker.committable() == {at: ends[-1]}
    assert tracker.in_flight == 0


def test_commit_never_passes_an_unacknowledged_batch() -> None:
    at = PARTITIONS[0]
    tracker = tracker_of({at: 100})
    tracker.taken(1, [Span(at, 100, 110, 10)])
    tracker.taken(2, [Span(at, 110, 120, 10)])
    tracker.settled(2, PARTITIONS)
    assert tracker.committable() == {}
    tracker.settled(1, PARTITIONS)
    assert tracker.committable() == {at: 120}


def test_an_old_batch_never_resurrects_a_partition_that_came_back() -> None:
    at = PARTITIONS[0]
    tracker = tracker_of({at: 100})
    tracker.taken(1, [Span(at, 100, 110, 10)])
    tracker.drop([at])
    tracker.assigned(at, 100)
    tracker.taken(2, [Span(at, 100, 105, 5)])
    assert tracker.settled(1, PARTITIONS) == []
    assert tracker.committable() == {}
    assert tracker.in_flight == 5


def test_an_old_batch_that_still_holds_another_partition_never_settles_the_one_that_came_back() -> None:
    kept, bounced, _ = PARTITIONS
    tracker = tracker_of({kept: 0, bounced: 0})
    tracker.taken(1, [Span(kept, 0, 3, 3), Span(bounced, 0, 2, 2)])
    tracker.drop([bounced])
    tracker.assigned(bounced, 0)
    tracker.taken(2, [Span(bounced, 0, 2, 2)])
    assert [span.at for span in tracker.settled(1, PARTITIONS)] == [kept]
    assert tracker.committable() == {kept: 3}
    assert tracker.in_flight == 2


def test_a_late_answer_to_an_old_commit_does_not_hold_up_the_next() -> None:
    at = PARTITIONS[0]
    tracker = tracker_of({at: 100})
    tracker.taken(1, [Span(at, 100, 110, 10)])
    tracker.settled(1, PARTITIONS)
    assert tracker.committed({at: 500}) == {}
    assert tracker.committable() == {at: 110}
    assert tracker.committed({at: 110}) == {at: 110}


def test_a_batch_of_which_one_partition_was_dropped_settles_the_other() -> None:
    kept, dropped, _ = PARTITIONS
    tracker = tracker_of({kept: 0, dropped: 7})
    spans = [Span(kept, 0, 3, 3), Span(dropped, 7, 9, 2)]
    tracker.taken(1, spans)
    tracker.drop([dropped])
    assert tracker.in_flight == 3
    assert tracker.settled(1, PARTITIONS) == spans[:1]
    assert tracker.committable() == {kept: 3}


def test_a_commit_that_failed_is_covered_by_the_next() -> None:
    at = PARTITIONS[0]
    tracker = tracker_of({at: 0})
    tracker.taken(1, [Span(at, 0, 3, 3)])
    tracker.settled(1, PARTITIONS)
    assert tracker.committable() == {at: 3}
    assert tracker.committable() == {at: 3}
    tracker.committed({at: 3})
    assert tracker.committable() == {}


def test_a_partition_that_goes_back_without_being_dropped_is_refused() -> None:
    at = PARTITIONS[0]
    tracker = tracker_of({at: 10})
    tracker.taken(1, [Span(at, 10, 20, 10)])
    with pytest.raises(ValueError, match=r"logs/0 went back from offset 20 to 15"):
        tracker.taken(2, [Span(at, 15, 25, 10)])
    assert tracker.in_flight == 10


def test_a_ticket_in_flight_is_not_taken_again() -> None:
    tracker = tracker_of({PARTITIONS[0]: 10, PARTITIONS[1]: 0})
    tracker.taken(1, [Span(PARTITIONS[0], 10, 20, 10)])
    with pytest.raises(ValueError, match="ticket 1 is in flight"):
        tracker.taken(1, [Span(PARTITIONS[1], 0, 1, 1)])


def test_a_partition_that_was_given_and_not_read_is_not_committable() -> None:
    at = PARTITIONS[0]
    tracker = tracker_of({at: 100})
    assert (tracker.committable(), tracker.next_offset(at)) == ({}, 100)


def test_a_batch_that_skips_what_exists_no_more_is_committed_from_the_start_on() -> None:
    at = PARTITIONS[0]
    tracker = tracker_of({at: 100})
    tracker.taken(1, [Span(at, 120, 130, 10)])
    assert tracker.next_offset(at) == 100
    tracker.settled(1, PARTITIONS)
    assert tracker.committable() == {at: 130}


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ([Span(PARTITIONS[0], 100, 110, 10), Span(PARTITIONS[1], 0, 5, 5)], "logs/1 is not held"),
        ([Span(PARTITIONS[0], 99, 110, 11)], "logs/0 went back from offset 100 to 99"),
    ],
)
def test_a_batch_that_nobody_asked_for_is_refused_whole(spans: list[Span], said: str) -> None:
    tracker = tracker_of({PARTITIONS[0]: 100})
    with pytest.raises(ValueError, match=said):
        tracker.taken(1, spans)
    assert (tracker.in_flight, tracker.settled(1, PARTITIONS), tracker.next_offset(PARTITIONS[0])) == (0, [], 100)


def test_a_partition_that_was_dropped_takes_nothing_until_it_is_assigned_again() -> None:
    at = PARTITIONS[0]
    tracker = tracker_of({at: 100})
    tracker.drop([at])
    assert tracker.next_offset(at) is None
    with pytest.raises(ValueError, match="not held"):
        tracker.taken(1, [Span(at, 100, 110, 10)])


def test_a_partition_that_is_held_is_not_assigned_again() -> None:
    tracker = tracker_of({PARTITIONS[0]: 100})
    with pytest.raises(ValueError, match="logs/0 is held already"):
        tracker.assigned(PARTITIONS[0], 50)
    assert tracker.next_offset(PARTITIONS[0]) == 100
