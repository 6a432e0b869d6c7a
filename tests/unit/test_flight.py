"""What is in flight: a partition is settled when all of it in a batch is; until then the batch holds its bytes."""

from collections.abc import Sequence

import pytest

from messages import StoredMessage
from shipper.pipeline import Rules, prepare
from shipper.process.flight import Flights
from shipper.records import Prepared, Reason, RecordBatch, Rejected, TopicPartition
from shipper.settings import Malformed, Settings

TIMELESS = b'{"service":"auth-service","level":"info"}'
P0, P1, P2 = (TopicPartition("logs", partition) for partition in range(3))


def prepared(
    values: Sequence[bytes | None], settings: Settings | None = None, partitions: Sequence[int] = (0,)
) -> Prepared:
    """A batch of these values, dealt to the partitions in turn."""
    records = [
        StoredMessage(value, ("logs", partitions[row % len(partitions)], row)) for row, value in enumerate(values)
    ]
    return prepare(RecordBatch("logs", records), Rules.compile(settings or Settings()), now_ns=0)


def deliver(flights: Flights, ticket: int, batch: Prepared) -> None:
    for request in batch.requests:
        flights.delivered(ticket, request)


def test_a_batch_is_settled_when_its_entries_and_its_letters_are() -> None:
    flights = Flights(1_000_000)
    batch = prepared([TIMELESS] * 3)
    ticket = flights.start(batch)
    (request,) = batch.requests
    first, rest = request.halves()
    flights.delivered(ticket, rest)
    assert flights.finish(ticket) == []
    flights.refused(ticket, [Rejected(int(batch.streams.rows[first.first]), Reason.REFUSED_BY_LOKI, "no")])
    assert flights.finish(ticket) == [], "a letter is not confirmed"
    assert flights.confirmed(ticket) == {Reason.REFUSED_BY_LOKI: 1}
    assert flights.finish(ticket) == [P0]
    assert flights.bytes_held == 0
    assert len(flights) == 0


def test_a_partition_is_settled_without_waiting_for_the_others_of_its_batch() -> None:
    flights = Flights(1_000_000)
    to_the_dead = Settings(malformed=Malformed(policy="dead_letter"))
    # Partition 0 is dead-lettered, 1 is shipped, 2 is filtered.
    batch = prepared([b"no json", TIMELESS, None] * 2, to_the_dead, partitions=(0, 1, 2))
    ticket = flights.start(batch)
    held = flights.bytes_held
    assert flights.finish(ticket) == [P2]
    deliver(flights, ticket, batch)
    assert flights.finish(ticket) == [P1]
    assert flights.finish(ticket) == []
    assert flights.bytes_held == held, "what is open holds the whole batch"
    flights.confirmed(ticket)
    assert flights.finish(ticket) == [P0]
    assert flights.bytes_held == 0


def test_a_batch_that_is_filtered_whole_is_settled_at_once() -> None:
    flights = Flights(1_000_000)
    assert flights.finish(flights.start(prepared([None, b""]))) == [P0]
    assert len(flights) == 0


def test_a_partition_alone_fills_half_of_the_bound() -> None:
    flights = Flights(100_000)
    while flights.may_take(P0):
        flights.start(prepared([TIMELESS]))
    assert 50_000 <= flights.bytes_held < 52_000
    assert flights.may_take(P1)


@pytest.mark.parametrize("stuck", [1, 2, 5])
def test_however_many_partitions_are_stuck_another_is_taken_and_settled(stuck: int) -> None:
    flights = Flights(100_000)
    partitions = [TopicPartition("logs", partition) for partition in range(stuck)]
    while took := [at for at in partitions if flights.may_take(at)]:
        for at in took:
            flights.start(prepared([TIMELESS], partitions=(at.partition,)))
    moves = TopicPartition("logs", stuck)
    for _ in range(3):
        assert flights.may_take(moves)
        batch = prepared([TIMELESS], partitions=(stuck,))
        ticket = flights.start(batch)
        deliver(flights, ticket, batch)
        assert flights.finish(ticket) == [moves]
    assert not any(map(flights.may_take, partitions))


def test_partitions_that_are_stuck_in_the_same_batches_leave_half_to_the_others() -> None:
    flights = Flights(100_000)
    while flights.may_take(P0) or flights.may_take(P1):
        batch = prepared([TIMELESS] * 3, partitions=(0, 1, 2))
        ticket = flights.start(batch)
    assert 50_000 <= flights.bytes_held < 60_000
    assert not flights.may_take(P2), "it is open in all of them too"
    deliver(flights, ticket, batch)
    assert set(flights.finish(ticket)) == {P0, P1, P2}


def test_letters_that_are_not_confirmed_count_against_the_bound() -> None:
    flights = Flights(1_000_000)
    to_the_dead = Settings(malformed=Malformed(policy="dead_letter"))
    while flights.may_take(P0):
        ticket = flights.start(prepared([b"no json"] * 100, to_the_dead))
        assert ticket < 20, "a record without a line still takes memory"


def test_nothing_is_taken_beyond_the_bound() -> None:
    flights = Flights(5_000)
    assert flights.bytes_free == 5_000
    flights.start(prepared([TIMELESS * 100]))
    assert flights.bytes_free == 0
    assert not flights.may_take(P0)
    assert not flights.may_take(P1)
