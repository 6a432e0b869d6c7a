"""Loki's limits on a single entry, checked before the push: Loki would refuse the entry, and might say so to nobody."""

from collections.abc import Iterator

import numpy as np

from shipper.records import Bools, Int64s, Reason, Rejected
from shipper.settings import Limits

_NS_PER_S = 1_000_000_000


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
    checks = (
        (line_bytes > limits.line_bytes_max, Reason.LINE_TOO_LONG, line_bytes, f"bytes, over {limits.line_bytes_max}"),
        (
            metadata_bytes > limits.structured_metadata_bytes_max,
            Reason.METADATA_TOO_LARGE,
            metadata_bytes,
            f"bytes, over {limits.structured_metadata_bytes_max}",
        ),
        (timestamp_ns < oldest_ns, Reason.TOO_OLD, timestamp_ns, f"ns, older than {oldest_ns}"),
        (timestamp_ns > newest_ns, Reason.TOO_NEW, timestamp_ns, f"ns, newer than {newest_ns}"),
    )
    return list(_first_of_each(going.copy(), checks))


def _first_of_each(going: Bools, checks: tuple[tuple[Bools, Reason, Int64s, str], ...]) -> Iterator[Rejected]:
    for exceeds, reason, measure, limit in checks:
        for row in np.flatnonzero(exceeds & going).tolist():
            yield Rejected(row, reason, f"{measure[row]} {limit}")
        going &= ~exceeds
