"""Bounded files of records that Kafka cannot take now. They are sent later, oldest first, by this process or the next.

A folder holds, for each process, a lock file that the living process locks, and numbered segments. A process takes over
the segments of those that are gone, by renaming them; what it took over is older than what it writes. A record is
4 bytes of length, 4 bytes of CRC-32, and itself; what a crash cut off at a segment's end is left out.
"""

import contextlib
import fcntl
import os
import re
import struct
import time
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HEAD: Final = struct.Struct(">II")
_FIRST: Final = 10**9  # segments that are taken over have smaller numbers
_STEP: Final = 2  # so that there is a number before each segment
_SEGMENT_BYTES: Final = 4 * 2**20


@dataclass(slots=True, eq=False)
class Segment:
    """A file of records."""

    path: Path
    number: int
    records: int
    size: int

    def read(self) -> Iterator[bytes]:
        """The records, up to what a crash has cut off."""
        data = self.path.read_bytes()
        at = 0
        while at + _HEAD.size <= len(data):
            length, checksum = _HEAD.unpack_from(data, at)
            record = data[at + _HEAD.size : at + _HEAD.size + length]
            if len(record) != length or zlib.crc32(record) != checksum:
                return
            yield record
            at += _HEAD.size + length


class Spill:
    """The segments of one process, oldest first. One thread uses it.

    Args:
        folder: made if it is not there; several services and processes may share it.
        service: whose records they are.
        bytes_max: bound on all segments together, those of earlier processes included.
    """

    def __init__(self, folder: Path, service: str, bytes_max: int) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._service = re.sub(r"[^A-Za-z0-9_-]", "_", service)
        self._bytes_max = bytes_max
        self._id = f"{time.time_ns():020}-{os.getpid()}"
        self._lock_path = self._path(self._id, "lock")
        self._lock = _lock(self._lock_path)
        self._waiting: deque[Segment] = deque()
        self._given: set[Segment] = set()
        self._file: int | None = None
        self._number = _FIRST
        self._take_over()

    @property
    def size(self) -> int:
        """Bytes in all segments."""
        return sum(one.size for one in (*self._waiting, *self._given))

    @property
    def records(self) -> int:
        """Records in segments that nobody has been given yet; other threads may ask for it, too."""
        return sum(one.records for one in self._waiting.copy())  # in one step: nothing comes or goes meanwhile

    def append(self, records: Sequence[bytes]) -> int:
        """Write the newest records; returns how many of them, from the first, are kept: for others there is no room."""
        kept, framed = self._frame(records)
        if not kept:
            return 0
        segment, file = self._newest()
        try:
            _write(file, framed)
        except OSError:
            os.ftruncate(file, segment.size)
            return 0
        segment.size += len(framed)
        segment.records += kept
        return kept

    def insert(self, records: Sequence[bytes]) -> int:
        """Write, once, records that are newer than what was taken, and older than the rest; returns as `append`."""
        kept, framed = self._frame(records)
        if not kept:
            return 0
        number = (self._waiting[0].number if self._waiting else self._number) - 1
        segment = Segment(self._path(self._id, f"{number:012}.spill"), number, kept, len(framed))
        try:
            segment.path.write_bytes(framed)
        except OSError:
            segment.path.unlink(missing_ok=True)
            return 0
        self._waiting.appendleft(segment)
        return kept

    def take(self) -> Segment | None:
        """The oldest segment; it stays on disk until `done`."""
        if not self._waiting:
            return None
        segment = self._waiting.popleft()
        if not self._waiting:
            self._close_file()
        self._given.add(segment)
        return segment

    def done(self, segment: Segment) -> None:
        """All records of a segment are in Kafka: delete it."""
        self._given.discard(segment)
        segment.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave what there is to the next process."""
        self._close_file()
        if not self._waiting and not self._given:
            self._lock_path.unlink(missing_ok=True)
        os.close(self._lock)

    def forget(self) -> None:
        """In the child of a fork: the files are the parent's. Closing the copies leaves the parent its lock."""
        self._close_file()
        os.close(self._lock)

    def _frame(self, records: Sequence[bytes]) -> tuple[int, bytes]:
        room = self._bytes_max - self.size
        framed = bytearray()
        for number, record in enumerate(records):
            if len(framed) + _HEAD.size + len(record) > room:
                return number, bytes(framed)
            framed += _HEAD.pack(len(record), zlib.crc32(record)) + record
        return len(records), bytes(framed)

    def _newest(self) -> tuple[Segment, int]:
        if self._file is not None and self._waiting[-1].size < _SEGMENT_BYTES:
            return self._waiting[-1], self._file
        self._close_file()
        path = self._path(self._id, f"{self._number:012}.spill")
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        segment = Segment(path, self._number, 0, 0)
        self._waiting.append(segment)
        self._number += _STEP
        return segment, self._file

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _take_over(self) -> None:
        found: list[Path] = []
        for path in sorted(self._folder.glob(f"{self._service}.*.lock")):
            if path == self._lock_path:
                continue
            with contextlib.suppress(OSError):  # its process lives, or another one takes it over
                lock = _lock(path)
                owner = path.name.split(".")[1]
                new = sorted(self._folder.glob(f"{self._service}.{owner}.*.spill"))
                found += [
                    self._rename(old, _FIRST - 10**6 + _STEP * (len(found) + index)) for index, old in enumerate(new)
                ]
                path.unlink(missing_ok=True)
                os.close(lock)
        for path in found:
            segment = Segment(path, int(path.name.split(".")[2]), 0, path.stat().st_size)
            segment.records = sum(1 for _ in segment.read())
            self._waiting.append(segment)

    def _rename(self, old: Path, number: int) -> Path:
        return old.rename(self._path(self._id, f"{number:012}.spill"))

    def _path(self, owner: str, rest: str) -> Path:
        return self._folder / f"{self._service}.{owner}.{rest}"


def _lock(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def _write(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
