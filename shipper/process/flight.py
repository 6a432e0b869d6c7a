"""Batches on their way: what is still open in each, by partition, and how many bytes it all holds."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from shipper.records import Int32s, Prepared, PushRequest, Reason, RecordBatch, Rejected, TopicPartition

_RECORD_BYTES = 512
"""What a record takes beside its value and its entry: the client's object, its key, its places in columns."""
_LETTER_BYTES = 1_536
"""What a letter takes beside its record: headers with the reason, a place in the producer's queue."""


@dataclass(slots=True)
class Flight:
    """One batch, from Kafka until every record of it is settled."""

    batch: RecordBatch
    bytes_held: int
    open: Counter[int]
    """Records that are not settled, by partition; a partition without any leaves with `Flights.finish`."""
    letters: list[Rejected]
    """Letters that the dead letter topic has not confirmed."""


class Flights:
    """All batches on their way, by ticket. Pure bookkeeping: no clock, no socket.

    What a batch holds counts for each partition that is open in it. A partition may hold as much as is free: alone it
    fills half of the bound; what others leave open cannot fill it, so there is always room for one that moves.

    Args:
        bytes_max: bound on what they hold, in bytes; one batch more than that may be taken.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._flights: dict[int, Flight] = {}
        self._tickets = 0
        self._held: Counter[TopicPartition] = Counter()
        self.bytes_held = 0

    @property
    def bytes_free(self) -> int:
        """How many more bytes may be held."""
        return max(self._bytes_max - self.bytes_held, 0)

    def may_take(self, at: TopicPartition) -> bool:
        """Whether more of a partition may be taken."""
        return self._held[at] < self.bytes_free

    def __len__(self) -> int:
        return len(self._flights)

    def __getitem__(self, ticket: int) -> Flight:
        return self._flights[ticket]

    def start(self, prepared: Prepared) -> int:
        """Take a batch in; returns its ticket. Its requests are the caller's to push, its letters to send."""
        self._tickets += 1
        batch, letters = prepared.batch, list(prepared.rejected)
        bytes_held = prepared.bytes_in + len(prepared.streams.entries) + _RECORD_BYTES * len(batch)
        bytes_held += _LETTER_BYTES * len(letters)
        opened = Counter(dict.fromkeys((span.at.partition for span in batch.spans), 0))
        flight = self._flights[self._tickets] = Flight(batch, bytes_held, opened, letters)
        opened.update(_counted(prepared.streams.partitions))
        opened.update(_counted(_partitions(batch, letters)))
        self.bytes_held += bytes_held
        self._held.update(dict.fromkeys(_places(flight, opened), bytes_held))
        return self._tickets

    def delivered(self, ticket: int, request: PushRequest) -> None:
        """Loki took these entries of the batch, for good."""
        self._flights[ticket].open.subtract(_counted(request.streams.partitions[request.first : request.last]))

    def refused(self, ticket: int, refused: Iterable[Rejected]) -> None:
        """Loki refused these for good: they become letters that the caller sends."""
        self._flights[ticket].letters.extend(refused)

    def confirmed(self, ticket: int) -> Counter[Reason]:
        """All letters of the batch are confirmed; returns them by reason."""
        flight = self._flights[ticket]
        letters, flight.letters = flight.letters, []
        flight.open.subtract(_counted(_partitions(flight.batch, letters)))
        return Counter(letter.reason for letter in letters)

    def finish(self, ticket: int) -> list[TopicPartition]:
        """Return the partitions of which every record in the batch is settled now; forget the batch if all are."""
        flight = self._flights[ticket]
        done = [partition for partition, records in flight.open.items() if records == 0]
        for partition in done:
            del flight.open[partition]
        places = _places(flight, done)
        self._held.subtract(dict.fromkeys(places, flight.bytes_held))
        if not flight.open:
            del self._flights[ticket]
            self.bytes_held -= flight.bytes_held
        return places


def _places(flight: Flight, partitions: Iterable[int]) -> list[TopicPartition]:
    return [TopicPartition(flight.batch.topic, partition) for partition in partitions]


def _partitions(batch: RecordBatch, letters: Sequence[Rejected]) -> Int32s:
    return batch.partitions[[letter.row for letter in letters]]


def _counted(partitions: Int32s) -> dict[int, int]:
    """Count records by partition."""
    records = np.bincount(partitions)
    present = np.flatnonzero(records)
    return dict(zip(present.tolist(), records[present].tolist(), strict=True))
