"""The nouns: what flows from Kafka to Loki, in the order in which it flows.

    RecordBatch ─▶ StreamSet ─▶ PushRequest ─▶ Delivery
         └──────▶ Rejected (to the dead letter topic)

Row: position in a `RecordBatch`. Every later noun keeps the row of each entry, so that a refused entry leads back to
its Kafka record. All of it is immutable once made.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Headers = Sequence[tuple[str, bytes | None]]


class Message(Protocol):
    """One Kafka record, as `confluent_kafka.Message` gives it; tests and `verify` bring their own."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> Headers | None: ...
    def timestamp(self) -> tuple[int, int]:
        """(type, milliseconds since the epoch); type 0 means that the record has none."""
        ...


class TopicPartition(NamedTuple):
    """Names one partition; hashable, unlike confluent_kafka's own class of that name."""

    topic: str
    partition: int


class Reason(StrEnum):
    """Why a record was dead-lettered, or shipped as malformed. A closed list: docs/log-format.md explains each."""

    NOT_JSON = "not_json"
    NOT_OBJECT = "not_object"
    INVALID_UTF8 = "invalid_utf8"
    TOO_DEEP = "too_deep"
    LINE_TOO_LONG = "line_too_long"
    METADATA_TOO_LARGE = "metadata_too_large"
    TOO_OLD = "too_old"
    TOO_NEW = "too_new"
    REFUSED_BY_LOKI = "refused_by_loki"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True)
class Span:
    """A run of one partition's records inside a batch: everything from `first` up to, not including, `next_offset`."""

    at: TopicPartition
    first: int
    next_offset: int
    records: int
    last_timestamp_ms: int = -1
    """Kafka's timestamp of the last record, for lag in seconds; -1 where it has none."""
    first_timestamp_ms: int = -1
    """That of the first record, for how long Kafka will keep it."""


@dataclass(frozen=True)
class RecordBatch:
    """Records of one `consume()`, whole runs of one or more partitions.

    Columns are lists in row order; an accessor that nobody asks for costs nothing (each is 0.04 µs per record).

    Attributes:
        topic: the topic that all of the messages come from.
        messages: the records; those of one partition stand in offset order.
    """

    topic: str
    messages: Sequence[Message]
    _headers: dict[int, Headers] = field(default_factory=dict, repr=False, compare=False)

    def headers(self, row: int) -> Headers:
        """Return a record's headers as they came; none if a name among them is no UTF-8: the client cannot give them.

        A message is asked once only: confluent_kafka raises SystemError for such a name, and asked again it hands out
        memory that is not its own.
        """
        if row not in self._headers:
            try:
                self._headers[row] = self.messages[row].headers() or ()
            except (SystemError, UnicodeDecodeError):
                self._headers[row] = ()
        return self._headers[row]

    @cached_property
    def values(self) -> list[bytes | None]:
        """The records' values, as they came."""
        return self._column("value")

    @cached_property
    def partitions(self) -> Int32s:
        """Partition of each row, int32."""
        return np.array(self._column("partition"), np.int32)

    @cached_property
    def offsets(self) -> Int64s:
        """Offset of each row, int64."""
        return np.array(self._column("offset"), np.int64)

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """One span per partition in the batch, by partition: what is settled once the whole batch is."""
        if not self.messages:
            return ()
        order = np.argsort(self.partitions, kind="stable")
        partitions = self.partitions[order]
        ends = np.append(np.flatnonzero(np.diff(partitions)) + 1, len(order))
        starts = np.append(0, ends[:-1])
        lasts = order[ends - 1]
        return tuple(
            Span(TopicPartition(self.topic, partition), first, last + 1, records, last_ms, first_ms)
            for partition, first, last, records, last_ms, first_ms in zip(
                partitions[starts].tolist(),
                self.offsets[order[starts]].tolist(),
                self.offsets[lasts].tolist(),
                (ends - starts).tolist(),
                self.timestamps_ms(lasts.tolist()),
                self.timestamps_ms(order[starts].tolist()),
                strict=True,
            )
        )

    def timestamps_ms(self, rows: Sequence[int]) -> list[int]:
        """Kafka's own timestamp of the given rows, in milliseconds since the epoch; -1 where a record has none."""
        return [self.messages[row].timestamp()[1] for row in rows]

    def place(self, row: int) -> str:
        """Name a record for people: topic/partition/offset."""
        return f"{self.topic}/{self.partitions[row]}/{self.offsets[row]}"

    def halves(self) -> tuple["RecordBatch", "RecordBatch"]:
        """Two batches that carry the same records in the same order; only for batches of two or more."""
        middle = len(self) // 2
        return RecordBatch(self.topic, self.messages[:middle]), RecordBatch(self.topic, self.messages[middle:])

    def _column(self, accessor: str) -> list[Any]:
        """Call an accessor on every message; looked up once, in their class, it costs a fifth of what it does else."""
        return list(map(getattr(type(self.messages[0]), accessor), self.messages)) if self.messages else []

    def __len__(self) -> int:
        return len(self.messages)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that must go to the dead letter topic, and why."""

    row: int
    reason: Reason
    detail: str


@dataclass(frozen=True)
class StreamSet:
    """Entries grouped by stream, already in protobuf: a push request is a slice of it with a header per stream.

    Attributes:
        labels: one label string per stream, `{a="b", c="d"}`, sorted by name, byte-identical every time, UTF-8.
        lanes: int64 (streams), ascending; the lane of each stream, so that a lane's entries stand together.
        bounds: int64 (streams + 1); stream i owns the entries bounds[i] up to bounds[i + 1].
        entries: the entries' protobuf (field 2 of StreamAdapter, tag and length included), one after the other.
        positions: int64 (entries + 1); entry j is entries[positions[j]:positions[j + 1]].
        rows: int64 (entries); the row of each entry in the batch.
        partitions: int32 (entries); the partition of each entry's record.
    """

    labels: tuple[bytes, ...]
    lanes: Int64s
    bounds: Int64s
    entries: bytes
    positions: Int64s
    rows: Int64s
    partitions: Int32s

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class PushRequest:
    """The entries first … last-1 of a stream set, of one lane: the unit of pushing, and of narrowing down."""

    streams: StreamSet
    first: int
    last: int
    lane: int

    def __len__(self) -> int:
        return self.last - self.first

    def halves(self) -> tuple["PushRequest", "PushRequest"]:
        """Two requests that carry the same entries; only for requests of two entries or more."""
        middle = (self.first + self.last) // 2
        return replace(self, last=middle), replace(self, first=middle)

    def by_partition(self) -> tuple["PushRequest", "PushRequest"] | None:
        """Two requests that carry the same entries, those of some partitions and those of the others; None of one."""
        partitions = self.streams.partitions[self.first : self.last]
        present, entries = np.unique(partitions, return_counts=True)
        if len(present) == 1:
            return None
        nearest_the_middle = np.argmin(np.abs(2 * np.cumsum(entries[:-1]) - len(self)))
        are_first = partitions <= present[nearest_the_middle]
        return self._only(are_first), self._only(~are_first)

    def _only(self, chosen: Bools) -> "PushRequest":
        """Return a request of the chosen ones of its entries, with a copy of their bytes."""
        streams, entries = self.streams, self.first + np.flatnonzero(chosen)
        begins = np.flatnonzero(np.diff(entries, prepend=-2) != 1)  # of runs of neighbours
        firsts, lasts = entries[begins], entries[np.append(begins[1:], len(entries)) - 1]
        slices = zip(streams.positions[firsts].tolist(), streams.positions[lasts + 1].tolist(), strict=True)
        picked = StreamSet(
            labels=streams.labels,
            lanes=streams.lanes,
            bounds=np.searchsorted(entries, streams.bounds),
            entries=b"".join(streams.entries[first:last] for first, last in slices),
            positions=np.append(0, np.cumsum(np.diff(streams.positions)[entries])),
            rows=streams.rows[entries],
            partitions=streams.partitions[entries],
        )
        return PushRequest(picked, 0, len(entries), self.lane)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a push request, once every entry of it is settled: delivered, or refused for good."""

    request: PushRequest
    refused: tuple[Rejected, ...] = ()
    bytes_out: int = 0
    """Compressed bytes sent, re-sent ones included."""


class Demoted(NamedTuple):
    """Label values that went to structured metadata."""

    records: int
    example: str


@dataclass(frozen=True)
class Prepared:
    """All that the pure function makes of one batch: every row is in exactly one of streams, rejected, filtered."""

    batch: RecordBatch
    bytes_in: int
    """Sum of the values' lengths, in bytes."""
    streams: StreamSet
    requests: tuple[PushRequest, ...]
    rejected: tuple[Rejected, ...] = ()
    filtered: dict[str, int] = field(default_factory=dict)
    """Rule name → records dropped by it; `empty` is the built-in rule for records without a value."""
    malformed: dict[Reason, int] = field(default_factory=dict)
    """Records shipped raw because they could not be parsed, by reason."""
    demoted: dict[str, Demoted] = field(default_factory=dict)
    """Label → records whose value of it went to structured metadata."""
    label_values: dict[str, frozenset[str]] = field(default_factory=dict)
    """Label → the distinct values that the batch has of it."""
