"""Batches on their way: what is still open in each, what waits to be pushed, and how many bytes it all holds."""

from collections import Counter, deque
from dataclasses import dataclass

from shipper.records import Prepared, PushRequest, Reason, RecordBatch, Rejected

_RECORD_BYTES = 512
"""What a record takes beside its value and its entry: the client's object, its key, its places in columns."""
_LETTER_BYTES = 1_536
"""What a letter takes beside its record: headers with the reason, a place in the producer's queue."""


@dataclass(slots=True)
class Flight:
    """One batch, from Kafka until every record of it is settled."""

    batch: RecordBatch
    requests_left: int
    bytes_held: int
    letters: Counter[Reason]
    """Letters that the dead letter topic has not confirmed."""

    @property
    def is_settled(self) -> bool:
        """Whether every record is delivered, filtered, or confirmed in the dead letter topic."""
        return self.requests_left == 0 and not self.letters


class Flights:
    """All batches on their way, by ticket. Pure bookkeeping: no clock, no socket.

    Args:
        bytes_max: bound on what they hold, in bytes; one batch more than that may be taken.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._flights: dict[int, Flight] = {}
        self._tickets = 0
        self.waiting: deque[tuple[int, PushRequest]] = deque()
        """Requests that were not handed to a push thread yet."""
        self.bytes_held = 0

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be taken: the bound on bytes is reached, or pushing does not keep up."""
        return bool(self.waiting) or self.bytes_held >= self._bytes_max

    def __len__(self) -> int:
        return len(self._flights)

    def __getitem__(self, ticket: int) -> Flight:
        return self._flights[ticket]

    def start(self, prepared: Prepared) -> int:
        """Take a batch in; returns its ticket. Its requests are waiting then, its letters are the caller's to send."""
        self._tickets += 1
        batch, letters = prepared.batch, Counter(rejected.reason for rejected in prepared.rejected)
        bytes_held = batch.bytes_in + len(prepared.streams.entries) + _RECORD_BYTES * len(batch)
        bytes_held += _LETTER_BYTES * letters.total()
        self._flights[self._tickets] = Flight(batch, len(prepared.requests), bytes_held, letters)
        self.bytes_held += bytes_held
        self.waiting.extend((self._tickets, request) for request in prepared.requests)
        return self._tickets

    def pushed(self, ticket: int, refused: tuple[Rejected, ...]) -> None:
        """A request of the batch is done with; what Loki refused becomes letters that the caller sends."""
        flight = self._flights[ticket]
        flight.requests_left -= 1
        flight.letters.update(rejected.reason for rejected in refused)

    def confirmed(self, ticket: int) -> Counter[Reason]:
        """All letters of the batch are confirmed; returns them by reason."""
        flight = self._flights[ticket]
        letters, flight.letters = flight.letters, Counter()
        return letters

    def finish(self, ticket: int) -> bool:
        """Forget the batch if every record of it is settled, and say whether it is."""
        if not self._flights[ticket].is_settled:
            return False
        self.bytes_held -= self._flights.pop(ticket).bytes_held
        return True
