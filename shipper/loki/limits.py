"""Loki's limits on a single entry, checked before the push: Loki would refuse the entry, and might say so to nobody."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import numpy as np

from shipper.records import Bools, Int64s, Reason, Rejected
from shipper.settings import Limits

_NS_PER_S = 1_000_000_000

_Check = tuple[Reason, Bools, Callable[[int], str]]
"""The reason, the rows that exceed the limit, and by how much a row does."""


def exceeding(
    line_bytes: Int64s, metadata_bytes: Int64s, timestamp_ns: Int64s, going: Bools, limits: Limits, *, now_ns: int
) -> list[Rejected]:
    """Find the entries that Loki would refuse.

    Args:
        line_bytes: length of each row's line, in bytes.
        metadata_bytes: sum of the lengths of each row's metadata names and values, in bytes.
        timestamp_ns: each row's timestamp.
        going: the rows to look at.
        limits: what the Loki in question accepts.
        now_ns: the time against which age is measured; passed in, so that the result depends on arguments alone.

    Returns: one `Rejected` per guilty row, with the first limit that it exceeds.
    """
    oldest_ns = now_ns - int(limits.entry_age_max_s * _NS_PER_S)
    newest_ns = now_ns + int(limits.entry_ahead_max_s * _NS_PER_S)
    line_max, metadata_max = limits.line_bytes_max, limits.structured_metadata_bytes_max
    checks: tuple[_Check, ...] = (
        (Reason.LINE_TOO_LONG, line_bytes > line_max, lambda row: f"{line_bytes[row]} bytes, over {line_max}"),
        (
            Reason.METADATA_TOO_LARGE,
            metadata_bytes > metadata_max,
            lambda row: f"{metadata_bytes[row]} bytes, over {metadata_max}",
        ),
        (
            Reason.TOO_OLD,
            timestamp_ns < oldest_ns,
            lambda row: f"{_time(timestamp_ns[row])}, over {limits.entry_age_max_s:g} s ago",
        ),
        (
            Reason.TOO_NEW,
            timestamp_ns > newest_ns,
            lambda row: f"{_time(timestamp_ns[row])}, over {limits.entry_ahead_max_s:g} s ahead",
        ),
    )
    return list(_first_of_each(going.copy(), checks))


def may_be_behind(timestamp_ns: Int64s, limits: Limits, *, now_ns: int) -> Bools:
    """Say which entries Loki may refuse for being too far behind the newest of their stream.

    How new that is, only Loki knows: others may write to the stream, and we may have been started anew. But it never
    lies further ahead than entries may.
    """
    return timestamp_ns < now_ns + int((limits.entry_ahead_max_s - limits.entry_behind_max_s) * _NS_PER_S)


def _first_of_each(going: Bools, checks: tuple[_Check, ...]) -> Iterator[Rejected]:
    for reason, exceeds, describe in checks:
        for row in np.flatnonzero(exceeds & going).tolist():
            yield Rejected(row, reason, describe(row))
        going &= ~exceeds


def _time(timestamp_ns: np.int64) -> str:
    """Write a time as RFC 3339, to the second."""
    return f"{datetime.fromtimestamp(int(timestamp_ns) // _NS_PER_S, UTC):%Y-%m-%dT%H:%M:%SZ}"
