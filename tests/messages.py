"""A Kafka record that a test made: what `records.Message` asks for, without a broker."""

from dataclasses import dataclass

from shipper.records import Headers

NO_TIMESTAMP = 0
CREATE_TIME = 1
"""Types of a record's timestamp, as confluent_kafka numbers them."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One Kafka record at its place in a partition.

    Attributes:
        body: the value; None is a tombstone.
        place: (topic, partition, offset).
        pairs: the headers; None when the record has none.
        timestamp_ms: milliseconds since the epoch; -1 when the record has no timestamp.
    """

    body: bytes | None
    place: tuple[str, int, int] = ("logs", 0, 0)
    key_bytes: bytes | None = None
    pairs: Headers | None = None
    timestamp_ms: int = -1

    def topic(self) -> str:
        return self.place[0]

    def partition(self) -> int:
        return self.place[1]

    def offset(self) -> int:
        return self.place[2]

    def key(self) -> bytes | None:
        return self.key_bytes

    def value(self) -> bytes | None:
        return self.body

    def headers(self) -> Headers | None:
        return self.pairs

    def timestamp(self) -> tuple[int, int]:
        return (NO_TIMESTAMP, -1) if self.timestamp_ms == -1 else (CREATE_TIME, self.timestamp_ms)

    def error(self) -> None:
        """Say that this is a record, not an event of the consumer."""
