"""Entries as protobuf, by columns; push requests as slices of them.

A varint may be padded with continuation bits, so lengths and times get a fixed width, and one byte matrix holds the
headers of all entries at once:

    12 LLLL │ 0A 0C 08 SSSSS 10 NNNNN │ 12 LLLL   ← entry length, Timestamp{seconds, nanos}, line length
    then the line, then the structured metadata

Source of the field numbers: pkg/push/push.proto of Grafana Loki.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, reduce
from operator import add

import numpy as np
import numpy.typing as npt
import polars as pl
import snappy

from shipper.errors import EntryTooLargeError
from shipper.records import Bools, Int32s, Int64s, PushRequest, StreamSet

Bytes = npt.NDArray[np.uint8]

Joiner = Callable[[Sequence[bytes], Int64s, Int64s, Int64s, pl.DataFrame, Int64s], tuple[bytes, Int64s]]
"""`join_entries`, or what does the same."""

_NS_PER_S = 1_000_000_000
_LENGTH_WIDTH = 4  # bytes of a padded varint for lengths: up to 256 MiB
_TIME_WIDTH = 5  # the same for seconds and nanoseconds: up to 2^35
_SECONDS_AT = 1 + _LENGTH_WIDTH + 3
_NANOS_AT = _SECONDS_AT + _TIME_WIDTH + 1
_HEADER_WIDTH = _NANOS_AT + _TIME_WIDTH + 1 + _LENGTH_WIDTH
_LOW_BITS = 0x7F  # of a varint's byte; the high bit says that more follow
_RADIX_STREAMS_MAX = 65_536
_STREAM_OVERHEAD = 16  # tags and lengths of a stream and its label string, at most


def build(
    labels: tuple[bytes, ...],
    lanes: Int64s,
    stream_of_entry: Int64s,
    partitions: Int32s,
    rows: Int64s,
    lines: Sequence[bytes],
    line_bytes: Int64s,
    timestamp_ns: Int64s,
    metadata: pl.DataFrame,
    join: Joiner,
) -> StreamSet:
    """Encode entries and group them by stream, and streams by lane; inside a stream they stay in the order given.

    Args:
        labels: label strings of the streams.
        lanes: int64 (streams); the lane of each.
        stream_of_entry: int64 (entries); index into `labels`.
        partitions: int32, one per row of the batch.
        rows: int64 (entries); where `lines` and `timestamp_ns` have the entry.
        lines: one per row of the batch.
        line_bytes: int64, the length of each line.
        timestamp_ns: int64, one per row of the batch; not negative.
        metadata: a String column per name, one row per *entry*; null where an entry has none.
        join: writes the entries: `join_entries`, or what does the same.
    """
    # numpy sorts 16 bits by radix, eight times as fast as more.
    narrow = np.uint16 if len(labels) <= _RADIX_STREAMS_MAX else np.int32
    by_lane = np.argsort(lanes, kind="stable")
    place_of_stream = np.empty(len(labels), narrow)
    place_of_stream[by_lane] = np.arange(len(labels))
    places = place_of_stream[stream_of_entry]
    order = np.argsort(places, kind="stable")
    places, rows = places[order], rows[order]
    entries, positions = join(lines, line_bytes, timestamp_ns, rows, metadata, order)
    return StreamSet(
        labels=tuple(map(labels.__getitem__, by_lane.tolist())),
        lanes=lanes[by_lane],
        bounds=np.append(0, np.cumsum(np.bincount(places, minlength=len(labels)))),
        entries=entries,
        positions=positions,
        rows=rows,
        partitions=partitions[rows],
    )


def join_entries(
    lines: Sequence[bytes],
    line_bytes: Int64s,
    timestamp_ns: Int64s,
    rows: Int64s,
    metadata: pl.DataFrame,
    order: Int64s,
) -> tuple[bytes, Int64s]:
    """Write entries as protobuf, one after the other.

    Args:
        lines: one per row of the batch.
        line_bytes: int64, the length of each line.
        timestamp_ns: int64, one per row of the batch; not negative.
        rows: int64 (entries), in the order in which they are written.
        metadata: a String column per name; null where an entry has none.
        order: int64 (entries); which row of `metadata` each one has.

    Returns: the entries, and where each begins and the last one ends.
    """
    line_bytes = line_bytes[rows]
    pairs = _pairs(metadata)
    metadata_bytes = np.zeros(len(rows), np.int64)
    parts = [b""] * (3 * len(rows))
    if pairs is not None:
        pairs = pairs.gather(order)
        metadata_bytes = pairs.bin.size().to_numpy().astype(np.int64)
        parts[2::3] = pairs.to_list()
    parts[0::3] = _headers(line_bytes, metadata_bytes, timestamp_ns[rows])
    parts[1::3] = map(lines.__getitem__, rows.tolist())
    positions = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(_HEADER_WIDTH + line_bytes + metadata_bytes, out=positions[1:])
    return b"".join(parts), positions


def plan(streams: StreamSet, request_bytes_max: int, doubtful: Bools) -> tuple[PushRequest, ...]:
    """Cut a stream set into push requests, none with entries of two lanes; every entry is in exactly one of them.

    A stream with an entry that Loki may refuse for its place in the stream is in requests of its own: of several
    streams, Loki answers for the last, and can drop entries of the others behind its 204.

    Args:
        streams: what to send.
        request_bytes_max: bound on a request's uncompressed protobuf, in bytes.
        doubtful: bool (entries); those that Loki may refuse so.

    Raises: EntryTooLargeError if one entry alone exceeds the bound.
    """
    header_bytes = np.fromiter(map(len, streams.labels), np.int64, len(streams.labels)) + _STREAM_OVERHEAD
    # What the entries before j cost, with the header of every stream that begins before j.
    cost = streams.positions.copy()
    begins = streams.bounds[:-1]
    present = begins < streams.bounds[1:]
    headers_at = np.zeros(len(cost), np.int64)
    headers_at[begins[present] + 1] = header_bytes[present]
    cost += np.cumsum(headers_at)
    stream_of_entry = np.repeat(np.arange(len(streams.labels)), np.diff(streams.bounds))
    alone = np.zeros(len(streams.labels), np.bool_)
    alone[stream_of_entry[doubtful]] = True
    begins_anew = (np.diff(streams.lanes) != 0) | alone[1:] | alone[:-1]
    groups = np.append(0, np.cumsum(begins_anew))[: len(alone)]
    group_ends = streams.bounds[np.searchsorted(groups, groups, side="right")]
    requests = []
    first = 0
    while first < len(streams):
        # A request that begins in the middle of a stream repeats that stream's header.
        stream = stream_of_entry[first]
        repeated = header_bytes[stream] if streams.bounds[stream] < first else 0
        last = int(np.searchsorted(cost, cost[first] + request_bytes_max - repeated, side="right")) - 1
        last = min(last, int(group_ends[stream]))
        if last <= first:
            size = int(streams.positions[first + 1] - streams.positions[first])
            raise EntryTooLargeError(
                f"an entry of {size} bytes does not fit into loki.request_bytes_max = {request_bytes_max}; "
                "raise that, or lower loki.limits.line_bytes_max"
            )
        requests.append(PushRequest(streams, first, last, int(streams.lanes[stream])))
        first = last
    return tuple(requests)


def encode(request: PushRequest) -> bytes:
    """Return a push request as uncompressed protobuf."""
    streams, first, last = request.streams, request.first, request.last
    begin = int(np.searchsorted(streams.bounds, first, side="right")) - 1
    end = int(np.searchsorted(streams.bounds, last, side="left"))
    cuts = streams.positions[np.clip(streams.bounds[begin : end + 1], first, last)].tolist()
    entries = memoryview(streams.entries)
    parts: list[bytes | memoryview] = []
    for labels, start, stop in zip(streams.labels[begin:end], cuts, cuts[1:], strict=False):
        if start < stop:
            label = b"\x0a" + _varint(len(labels)) + labels
            parts += (b"\x0a" + _varint(len(label) + stop - start) + label, entries[start:stop])
    return b"".join(parts)


def read_headers(streams: StreamSet) -> tuple[Int64s, Int64s, Int64s]:
    """Read back what stands before each line.

    Returns: each entry's timestamp in nanoseconds, where its line begins in `entries`, and where it ends: there its
        structured metadata begin.
    """
    at = streams.positions[:-1, None] + np.arange(_HEADER_WIDTH)
    matrix = np.frombuffer(streams.entries, np.uint8)[at].T.astype(np.int64)
    seconds, nanos = (_read_padded(matrix[first : first + _TIME_WIDTH]) for first in (_SECONDS_AT, _NANOS_AT))
    line_starts = streams.positions[:-1] + _HEADER_WIDTH
    return seconds * _NS_PER_S + nanos, line_starts, line_starts + _read_padded(matrix[-_LENGTH_WIDTH:])


def compress(body: bytes) -> bytes:
    """Return a body as one snappy block, which is what Loki's push takes (not the framed format)."""
    compressed: bytes = snappy.compress(body)
    return compressed


def _headers(line_bytes: Int64s, metadata_bytes: Int64s, timestamp_ns: Int64s) -> list[bytes]:
    """Return what stands before each line: a bytes object of _HEADER_WIDTH per entry."""
    seconds, nanos = np.divmod(timestamp_ns, _NS_PER_S)
    matrix = np.empty((_HEADER_WIDTH, len(line_bytes)), np.uint8)
    at = 0
    for tag, value, width in (
        (b"\x12", line_bytes + metadata_bytes + (_HEADER_WIDTH - 1 - _LENGTH_WIDTH), _LENGTH_WIDTH),
        (bytes((0x0A, 2 + 2 * _TIME_WIDTH, 0x08)), seconds, _TIME_WIDTH),
        (b"\x10", nanos, _TIME_WIDTH),
        (b"\x12", line_bytes, _LENGTH_WIDTH),
    ):
        matrix[at : at + len(tag)] = np.frombuffer(tag, np.uint8)[:, None]
        at += len(tag)
        _write_padded(value, matrix[at : at + width])
        at += width
    headers: list[bytes] = np.ascontiguousarray(matrix.T).view(f"V{_HEADER_WIDTH}").ravel().tolist()
    return headers


def _write_padded(values: Int64s, matrix: Bytes) -> None:
    """Write each value as a varint of `len(matrix)` bytes, least significant first, into a column of the matrix."""
    last = len(matrix) - 1
    for index in range(last + 1):
        matrix[index] = (values >> (7 * index)) & _LOW_BITS
        if index < last:
            matrix[index] |= 0x80


def _read_padded(matrix: Int64s) -> Int64s:
    """Return the number that each column of the matrix holds as a varint of `len(matrix)` bytes."""
    numbers: Int64s = sum(
        ((row & _LOW_BITS) << (7 * index) for index, row in enumerate(matrix)),
        start=np.zeros(matrix.shape[1], np.int64),
    )
    return numbers


def _pairs(metadata: pl.DataFrame) -> pl.Series | None:
    """Return the metadata of each entry (field 3 of EntryAdapter, repeated), Binary; None where no entry has any."""
    if not metadata.width:
        return None
    longest = metadata.select(pl.all().str.len_bytes().max()).row(0)
    pairs = []
    for name, size in zip(metadata.columns, longest, strict=True):
        value = pl.col(name).cast(pl.Binary)
        # A power of two, so that few tables are ever made.
        prefixes = pl.lit(_pair_prefixes(name, 1 << max(6, int(size or 0).bit_length())))
        pairs.append((prefixes.gather(value.bin.size()) + value).fill_null(b""))
    return metadata.select(reduce(add, pairs)).to_series()


@lru_cache(maxsize=256)
def _pair_prefixes(name: str, sizes: int) -> pl.Series:
    """Return what stands before a pair's value, for every size of the value below `sizes`."""
    label = b"\x0a" + _varint(len(name.encode())) + name.encode() + b"\x12"
    prefixes = []
    for size in range(sizes):
        value_length = _varint(size)
        prefixes.append(b"\x1a" + _varint(len(label) + len(value_length) + size) + label + value_length)
    return pl.Series(prefixes, dtype=pl.Binary)


def _varint(value: int) -> bytes:
    """Return a number as a protobuf varint of no more bytes than it needs."""
    out = bytearray()
    while value > _LOW_BITS:
        out.append(value & _LOW_BITS | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
