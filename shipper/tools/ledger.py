"""The ledger of a comparison: a row for each record and for each entry, and no text. It may outgrow memory.

A row holds a fingerprint of 128 bits, so that what is equal meets: rows are dealt to buckets by it, and compared bucket
by bucket; the order in which they come does not matter. Beyond `rows_max` rows, buckets lie in temporary files.
"""

import tempfile
from collections.abc import Iterator, Sequence
from enum import IntEnum
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from shipper.errors import ShipperError
from shipper.records import Int64s

FINGERPRINT_BYTES = 16
ROW = np.dtype([("high", "<u8"), ("low", "<u8"), ("where", "<i8"), ("partition", "<i4"), ("kind", "<i4")])
"""`where` is an offset, or of an entry its timestamp; `partition` is an index, and 0 of an entry. 32 bytes."""
Rows = npt.NDArray[np.void]

_BUCKETS = 256
_BUCKET_SHIFT = np.uint64(56)
_ROWS_MAX = 1_000_000


class Kind(IntEnum):
    """What a row stands for."""

    DUE = 0
    """A record whose entry Loki must hold."""
    BURIED = 1
    """A record that has a dead letter; Loki may hold its entry as well."""
    FADED = 2
    """A record whose entry Loki may have deleted by now."""
    OTHER = 3
    """A record that is not judged; it explains an entry."""
    FOUND = 4
    """An entry that Loki holds."""


class Place(NamedTuple):
    """A record: the index of its partition, and its offset."""

    partition: int
    offset: int


class LedgerFullError(ShipperError):
    """The temporary files do not fit on the disk."""


def fingerprint(*parts: bytes | memoryview) -> bytes:
    """Return what stands for these bytes: that other bytes have the same is not to be expected."""
    return blake2b(b"".join(parts), digest_size=FINGERPRINT_BYTES).digest()


def rows_of(fingerprints: Sequence[bytes], where: Int64s, partitions: Int64s, kinds: Int64s) -> Rows:
    """Return a row for each fingerprint."""
    rows = np.empty(len(fingerprints), ROW)
    halves = np.frombuffer(b"".join(fingerprints), "<u8").reshape(-1, 2)
    rows["high"], rows["low"] = halves[:, 0], halves[:, 1]
    rows["where"], rows["partition"], rows["kind"] = where, partitions, kinds
    return rows


def row_fingerprint(row: np.void) -> bytes:
    """Return the fingerprint of a row."""
    return int(row["high"]).to_bytes(8, "little") + int(row["low"]).to_bytes(8, "little")


class Ledger:
    """Takes rows in any order, and gives them back in groups; to be used with `with`.

    Args:
        rows_max: how many rows are kept in memory before all are written out.
    """

    def __init__(self, rows_max: int = _ROWS_MAX) -> None:
        self._rows_max = rows_max
        self._held: list[Rows] = []
        self._held_rows = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder:
            self._folder.cleanup()

    def add(self, rows: Rows) -> None:
        """Take rows. Raises LedgerFullError."""
        self._held.append(rows)
        self._held_rows += len(rows)
        if self._held_rows >= self._rows_max:
            self._write_out()

    def groups(self) -> Iterator[Rows]:
        """Yield all rows; those of the same fingerprint come in the same group."""
        if self._folder is None:
            yield np.concatenate([np.empty(0, ROW), *self._held])
            return
        self._write_out()
        for bucket in range(_BUCKETS):
            file = self._file(bucket)
            if file.exists():
                yield np.fromfile(file, ROW)

    def _write_out(self) -> None:
        rows = np.concatenate([np.empty(0, ROW), *self._held])
        self._held, self._held_rows = [], 0
        buckets = (rows["high"] >> _BUCKET_SHIFT).astype(np.uint8)
        order = np.argsort(buckets, kind="stable")
        bounds = np.searchsorted(buckets[order], np.arange(_BUCKETS + 1))
        rows = rows[order]
        try:
            self._folder = self._folder or tempfile.TemporaryDirectory(prefix="shipper-verify-")
            for bucket in range(_BUCKETS):
                with self._file(bucket).open("ab") as file:
                    file.write(rows[bounds[bucket] : bounds[bucket + 1]].tobytes())
        except OSError as error:
            raise LedgerFullError(
                f"cannot write temporary files to {tempfile.gettempdir()} ({error.strerror}): a record and its entry "
                f"take {2 * ROW.itemsize} bytes there; set TMPDIR to a folder with room, or verify a shorter range"
            ) from error

    def _file(self, bucket: int) -> Path:
        assert self._folder is not None  # noqa: S101 - for the type checker: nothing is written before there is one
        return Path(self._folder.name) / f"{bucket:02x}"
