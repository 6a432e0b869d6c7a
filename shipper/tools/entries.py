"""Fingerprints of entries: of those that would be pushed, read from the very bytes; and of those that Loki gives back.

    labels │ timestamp, 8 bytes │ length of the line, 8 bytes │ line │ structured metadata as protobuf, sorted by name

Both sides come to this form by ways of their own: what they share is the form, and how labels are written.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from struct import Struct

import numpy as np

from shipper.loki import encode
from shipper.loki.query import StreamEntry
from shipper.records import Int64s, StreamSet
from shipper.settings import Settings
from shipper.tools.ledger import fingerprint
from shipper.transform.label import label_string

_ADDED_LABELS = frozenset({"service_name", "__stream_shard__"})
"""Labels that Loki adds by itself: where none is configured, and to the streams that it shards."""
_ADDED_METADATA = frozenset({"detected_level"})
_HEAD = Struct("<qq")
_LOW_BITS = 0x7F
_LABELS_KEPT = 10_000


def of_streams(streams: StreamSet) -> tuple[list[bytes], Int64s]:
    """Return the fingerprint and the timestamp of each entry, in the order of the stream set."""
    timestamp_ns, line_starts, line_ends = encode.read_headers(streams)
    heads = np.column_stack((timestamp_ns, line_ends - line_starts)).astype("<i8").tobytes()
    body = memoryview(streams.entries)
    starts, ends = line_starts.tolist(), streams.positions[1:].tolist()
    return [
        fingerprint(labels, heads[16 * entry : 16 * entry + 16], body[starts[entry] : ends[entry]])
        for labels, first, last in zip(
            streams.labels, streams.bounds[:-1].tolist(), streams.bounds[1:].tolist(), strict=True
        )
        for entry in range(first, last)
    ], timestamp_ns


class Read:
    """Fingerprints of what Loki gives back, without what it adds.

    Args:
        settings: say which names are our own.
    """

    def __init__(self, settings: Settings) -> None:
        own = settings.labels.fields.keys() | settings.labels.static.keys()
        self._added_labels = _ADDED_LABELS - own
        self._added_metadata = _ADDED_METADATA - settings.structured_metadata.keys()
        self._label_strings: dict[int, tuple[dict[str, str], bytes]] = {}

    def fingerprints(self, entries: Sequence[StreamEntry]) -> list[bytes]:
        """Return the fingerprint of each entry."""
        return [self._fingerprint(entry) for entry in entries]

    def labels(self, entry: StreamEntry) -> dict[str, str]:
        """Return an entry's labels without those that Loki added."""
        return {name: value for name, value in entry.labels.items() if name not in self._added_labels}

    def _fingerprint(self, entry: StreamEntry) -> bytes:
        line = entry.line.encode()
        parts = [self._label_string(entry), _HEAD.pack(entry.timestamp_ns, len(line)), line]
        for name in sorted(entry.metadata):
            if name not in self._added_metadata:
                label, value = _label(name), entry.metadata[name].encode()
                size = _varint(len(value))
                parts += (b"\x1a", _varint(len(label) + len(size) + len(value)), label, size, value)
        return fingerprint(*parts)

    def _label_string(self, entry: StreamEntry) -> bytes:
        """Write labels once for the entries that share them; what is kept of them here keeps their identity."""
        kept = self._label_strings.get(id(entry.labels))
        if kept is None:
            if len(self._label_strings) >= _LABELS_KEPT:
                self._label_strings.clear()
            kept = self._label_strings[id(entry.labels)] = (entry.labels, label_string(self.labels(entry)))
        return kept[1]


@lru_cache
def _label(name: str) -> bytes:
    """Return the name of a pair: field 3 of EntryAdapter up to its value (pkg/push/push.proto of Grafana Loki)."""
    return b"\x0a" + _varint(len(name.encode())) + name.encode() + b"\x12"


@lru_cache(1024)
def _varint(value: int) -> bytes:
    parts = []
    while value > _LOW_BITS:
        parts.append(value & _LOW_BITS | 0x80)
        value >>= 7
    return bytes([*parts, value])


def matching(settings: Settings) -> str:
    """Return the selector of all streams that this configuration can write to."""
    # Without the flag, a dot matches no line break.
    fixed = [f"{name}={_quoted(value)}" for name, value in settings.labels.static.items()]
    return "{" + ", ".join(sorted([*fixed, *(f'{name}=~"(?s:.+)"' for name in settings.labels.fields)])) + "}"


def _quoted(value: str) -> str:
    return label_string({"_": value}).decode()[len("{_=") : -1]


def spans(days: Iterable[tuple[int, int]], *, apart_ns: int) -> list[tuple[int, int]]:
    """Join spans of time that are not farther apart than that.

    Args:
        days: (first, last) nanosecond, both included, in any order.
        apart_ns: gaps up to so many nanoseconds are read over.
    """
    joined: list[tuple[int, int]] = []
    for first, last in sorted(days):
        if joined and first - joined[-1][1] <= apart_ns:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined
