"""Which offsets may be committed: the contiguous prefix of settled records, partition by partition.

    taken:      [ticket 1: 0…9][ticket 2: 10…19][ticket 3: 20…24]
    settled:     ticket 1       -                ticket 3            → committable: 10

A later success never carries an earlier failure with it: this is how the best-known shippers lose data. Pure: no
clock, socket, thread or logger; a commit itself is the source's affair.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence

from shipper.records import Span, TopicPartition


class _Run:
    """A span on its way; `settled` turns true once."""

    __slots__ = ("settled", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.settled = False


class _Holding:
    """One partition from the moment it was given to us until it is taken away: its runs, in consumption order.

    A partition that comes back is a *new* holding, so what an old batch still settles cannot reach it.
    """

    __slots__ = ("committed", "position", "runs", "start", "taken_to")

    def __init__(self, start: int) -> None:
        self.runs: deque[_Run] = deque()
        self.start = self.position = self.committed = self.taken_to = start

    def advance(self) -> None:
        """Move the position over the settled runs at the front."""
        while self.runs and self.runs[0].settled:
            self.position = self.runs.popleft().span.next_offset


class OffsetTracker:
    """Follows batches from Kafka until they are settled, and says what may be committed.

    A ticket names one batch and is never used twice.
    """

    def __init__(self) -> None:
        self._holdings: dict[TopicPartition, _Holding] = {}
        self._batches: dict[int, list[tuple[_Holding, _Run]]] = {}
        self._in_flight = 0

    def assigned(self, at: TopicPartition, start: int) -> None:
        """Hold a partition from now on, until it is dropped.

        Args:
            at: the partition.
            start: the offset that is read first; all before it counts as committed.

        Raises: ValueError if the partition is held already: its position would be lost.
        """
        if at in self._holdings:
            raise ValueError(f"{at.topic}/{at.partition} is held already; drop it before it is read from {start}")
        self._holdings[at] = _Holding(start)

    def taken(self, ticket: int, spans: Sequence[Span]) -> None:
        """Note that a batch was taken from Kafka.

        Args:
            ticket: the batch's number.
            spans: one per partition, each following the partition's earlier ones; offsets between two spans need
                not exist (compaction, transaction markers).

        Raises: ValueError if the ticket is in flight already, a partition is not held, or a span begins before its
            partition's start or the end of the one before: the position would go back. Nothing is noted then.
        """
        if ticket in self._batches:
            raise ValueError(f"ticket {ticket} is in flight already")
        for span in spans:
            holding = self._holdings.get(span.at)
            if holding is None:
                raise ValueError(f"{span.at.topic}/{span.at.partition} is not held; it must be assigned first")
            if span.first < holding.taken_to:
                raise ValueError(
                    f"{span.at.topic}/{span.at.partition} went back from offset {holding.taken_to} to {span.first}; "
                    "drop the partition before it is read again"
                )
        self._batches[ticket] = [self._add(span) for span in spans]

    def _add(self, span: Span) -> tuple[_Holding, _Run]:
        holding = self._holdings[span.at]
        run = _Run(span)
        holding.runs.append(run)
        holding.taken_to = span.next_offset
        self._in_flight += span.records
        return holding, run

    def settled(self, ticket: int, partitions: Collection[TopicPartition]) -> list[Span]:
        """Note that every record of the batch in these partitions is delivered, filtered, or a confirmed dead letter.

        Returns: the batch's spans in those of them that are still ours, and were not settled before; none if the
            ticket is not in flight.
        """
        runs = self._batches.pop(ticket, [])
        if left := [entry for entry in runs if entry[1].span.at not in partitions]:
            self._batches[ticket] = left
        ours = [(holding, run) for holding, run in runs if run.span.at in partitions and self._holds(holding, run)]
        for holding, run in ours:
            run.settled = True
            self._in_flight -= run.span.records
            holding.advance()
        return [run.span for _, run in ours]

    def _holds(self, holding: _Holding, run: _Run) -> bool:
        return self._holdings.get(run.span.at) is holding

    def committable(self) -> dict[TopicPartition, int]:
        """Return the offset to go on with, for each partition whose position moved since it was last committed."""
        return {at: holding.position for at, holding in self._holdings.items() if holding.position > holding.committed}

    def committed(self, positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Note that Kafka holds these positions now.

        What does not belong to the present holding of a partition (an answer that comes late) is passed over.

        Returns: those that do belong to it.
        """
        ours = {}
        for at, position in positions.items():
            holding = self._holdings.get(at)
            if holding and holding.start <= position <= holding.position:
                ours[at] = holding.committed = max(holding.committed, position)
        return ours

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions that were taken away; what their batches settle later counts no more."""
        for at in partitions:
            holding = self._holdings.pop(at, None)
            if holding:
                self._in_flight -= sum(run.span.records for run in holding.runs if not run.settled)
        self._batches = {
            ticket: runs for ticket, runs in self._batches.items() if any(self._holds(*entry) for entry in runs)
        }

    def next_offset(self, at: TopicPartition) -> int | None:
        """Return the position up to which all that was taken is settled, the start at first; None if it is not held."""
        holding = self._holdings.get(at)
        return holding.position if holding else None

    def oldest(self, at: TopicPartition) -> Span | None:
        """Return the first span of a partition that is taken and not settled; None if there is none."""
        holding = self._holdings.get(at)
        return holding.runs[0].span if holding and holding.runs else None

    @property
    def in_flight(self) -> int:
        """Records taken and not yet settled, in partitions that are ours."""
        return self._in_flight
