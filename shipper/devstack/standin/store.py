"""What the stand-in keeps: per tenant, streams of entries in columns. What Loki adds is computed when it is read."""

import codecs
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np

from shipper.devstack.standin import levels

_NO_METADATA = b""


def _replace_each(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\ufffd" * (error.end - error.start), error.end


codecs.register_error("replace_each", _replace_each)


def as_text(stored: bytes) -> str:
    """Decode as Go does: every single byte that belongs to no character becomes U+FFFD."""
    return stored.decode(errors="replace_each")


class Entry(NamedTuple):
    """One entry as a query sees it: text in which every byte that is no UTF-8 is U+FFFD."""

    timestamp_ns: int
    line: str
    metadata: dict[str, str]


@dataclass(slots=True)
class Bucket:
    """A token bucket as golang.org/x/time/rate has it: full at the start, refilled steadily, never above its burst."""

    rate_bytes_per_s: float
    burst_bytes: float
    _tokens: float = field(init=False)
    _at_ns: int = field(init=False)

    def __post_init__(self) -> None:
        self._tokens, self._at_ns = self.burst_bytes, 0

    def take(self, size: int, now_ns: int) -> bool:
        """Take so many bytes, all or none; a rate of 0 means that nothing is limited."""
        if not self.rate_bytes_per_s:
            return True
        elapsed_s = (now_ns - self._at_ns) / 10**9
        self._tokens = min(self.burst_bytes, self._tokens + elapsed_s * self.rate_bytes_per_s)
        self._at_ns = now_ns
        if size > self._tokens:
            return False
        self._tokens -= size
        return True


@dataclass(slots=True)
class Stream:
    """One stream: entries in columns, put in order and freed of duplicates before they are read, not when they come.

    Attributes:
        labels: its labels, `service_name` included.
        bucket: its rate limit.
        highest_ns: the newest timestamp that it ever took; None at first.
    """

    labels: dict[str, str]
    bucket: Bucket
    highest_ns: int | None = None
    _timestamps_ns: "array[int]" = field(default_factory=lambda: array("q"))
    _lines: list[bytes] = field(default_factory=list)
    _metadata: list[bytes] = field(default_factory=list)
    _settled: int = 0

    def add(self, timestamps_ns: Iterable[int], lines: Iterable[bytes], metadata: Iterable[Mapping[str, str]]) -> None:
        """Take entries that passed every check; the names of the metadata are normalized."""
        self._timestamps_ns.extend(timestamps_ns)
        self._lines.extend(lines)
        # A dict would take ten times the memory.
        self._metadata.extend(msgspec.json.encode(one, order="sorted") if one else _NO_METADATA for one in metadata)

    def count(self, start_ns: int, end_ns: int) -> int:
        """Count the entries from `start_ns` up to, not including, `end_ns`."""
        first, last = self._between(start_ns, end_ns)
        return last - first

    def entries(
        self, start_ns: int, end_ns: int, *, keep: Callable[[str], bool], newest_first: bool = False
    ) -> Iterator[Entry]:
        """Yield the entries from `start_ns` up to, not including, `end_ns` whose line is to be kept."""
        first, last = self._between(start_ns, end_ns)
        for index in range(last - 1, first - 1, -1) if newest_first else range(first, last):
            line = as_text(self._lines[index])
            if keep(line):
                yield Entry(self._timestamps_ns[index], line, self._read_metadata(index, line))

    def _read_metadata(self, index: int, line: str) -> dict[str, str]:
        stored = self._metadata[index]
        metadata = msgspec.json.decode(stored, type=dict[str, str]) if stored else {}
        if levels.NAME in metadata:
            metadata[levels.NAME] = levels.normalize(metadata[levels.NAME])
        elif level := levels.detect(self.labels, metadata, line):
            metadata[levels.NAME] = level
        # Where a label has the name already, Loki shows the metadata under another.
        return {f"{name}_extracted" if name in self.labels else name: value for name, value in metadata.items()}

    def _between(self, start_ns: int, end_ns: int) -> tuple[int, int]:
        self._settle()
        return bisect_left(self._timestamps_ns, start_ns), bisect_left(self._timestamps_ns, end_ns)

    def _settle(self) -> None:
        """Sort by time, in the order of arrival within a nanosecond, and drop what is there already.

        Equal in timestamp, line and structured metadata is a duplicate; the first to come stays.
        """
        if self._settled == len(self._timestamps_ns):
            return
        times = np.array(self._timestamps_ns)
        order = np.argsort(times, kind="stable")
        times = times[order]
        tied = np.flatnonzero(times[1:] == times[:-1]) + 1
        kept = np.ones(len(times), dtype=bool)
        seen: set[tuple[int, bytes, bytes]] = set()
        for place in tied.tolist():
            for neighbour in (place - 1, place):
                index = int(order[neighbour])
                key = int(times[neighbour]), self._lines[index], self._metadata[index]
                if neighbour == place and key in seen:
                    kept[place] = False
                seen.add(key)
        order = order[kept]
        self._timestamps_ns = array("q", times[kept].tobytes())
        self._lines = [self._lines[index] for index in order.tolist()]
        self._metadata = [self._metadata[index] for index in order.tolist()]
        self._settled = len(self._lines)


@dataclass(slots=True)
class Tenant:
    """One tenant: its streams by their canonical label string, and its rate limit."""

    name: str
    bucket: Bucket
    streams: dict[str, Stream] = field(default_factory=dict)
