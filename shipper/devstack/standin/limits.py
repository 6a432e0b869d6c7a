"""What the stand-in refuses: Loki's `limits_config` under Loki's own names, and what Loki fixes elsewhere."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

BODY_BYTES_MAX = 100 << 20
"""`distributor.max_recv_msg_size`: a longer body is answered 413."""
WRITE_BYTES_MAX = 4 << 20
"""gRPC's bound between distributor and ingester: what is longer, decoded, is answered 500, for ever."""
WINDOW_NS = 3600 * 10**9
"""Half of `ingester.max_chunk_age`: how far an entry may be behind the newest one of its stream."""
ERRORS_LISTED_MAX = 10
"""`ingester.max_returned_stream_errors`."""

_SIZE_UNITS = {"": 1, "B": 1, "K": 1 << 10, "KB": 1 << 10, "M": 1 << 20, "MB": 1 << 20, "G": 1 << 30, "GB": 1 << 30}
_DURATION_UNITS_NS = {
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 24 * 3600 * 10**9,
    "w": 7 * 24 * 3600 * 10**9,
    "y": 365 * 24 * 3600 * 10**9,
}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w|y)")


def size_bytes(text: str) -> int:
    """Bytes of a size in Loki's notation (`256KB`, powers of 1024); raises ValueError."""
    match = re.fullmatch(r"(\d+)\s*([A-Z]*)", text.strip().upper())
    if not match or match[2] not in _SIZE_UNITS:
        raise ValueError(f"{text!r} is no size; write it like 256KB")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def size_text(size: int) -> str:
    """Write a size as Loki does in its messages: in the largest unit that divides it, `3MB`, `1536KB`, `1000B`."""
    for unit in ("GB", "MB", "KB"):
        if size and size % _SIZE_UNITS[unit] == 0:
            return f"{size // _SIZE_UNITS[unit]}{unit}"
    return f"{size}B"


def duration_ns(text: str) -> int:
    """Nanoseconds of a duration in Loki's notation (`7d`, `1h30m`, no unit below `ms`); raises ValueError."""
    parts = list(_DURATION_PART.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        raise ValueError(f"{text!r} is no duration; write it like 1h30m")
    return sum(round(float(part[1]) * _DURATION_UNITS_NS[part[2]]) for part in parts)


def limit_text(duration: int) -> str:
    """Write nanoseconds as Prometheus prints a duration, `30d1h`: weeks and years only where nothing is left over."""
    parts, rest = [], duration
    for unit in ("y", "w", "d", "h", "m", "s", "ms"):
        size = _DURATION_UNITS_NS[unit]
        if rest >= size and (unit not in ("y", "w") or rest % size == 0):
            parts.append(f"{rest // size}{unit}")
            rest %= size
    return "".join(parts) or "0s"


def duration_text(duration: int) -> str:
    """Write nanoseconds as Go prints a duration, `750h0m0s`, whole seconds and up (what the messages need)."""
    seconds = duration // 10**9
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{seconds % 60}s"


@dataclass(frozen=True, slots=True)
class Limits:
    """Loki's `limits_config`, as far as the stand-in obeys it; sizes in bytes, durations in nanoseconds.

    The defaults are Loki's, but for the rates and the number of streams: 0 switches these off, and they are off.
    """

    max_line_size: int = 256 << 10
    max_label_names_per_series: int = 15
    max_label_name_length: int = 1024
    max_label_value_length: int = 2048
    max_structured_metadata_size: int = 64 << 10
    max_structured_metadata_entries_count: int = 128
    reject_old_samples: bool = True
    reject_old_samples_max_age: int = 7 * 24 * 3600 * 10**9
    creation_grace_period: int = 600 * 10**9
    ingestion_rate_mb: float = 0
    ingestion_burst_size_mb: float = 0
    per_stream_rate_limit: int = 0
    per_stream_rate_limit_burst: int = 0
    max_global_streams_per_user: int = 0
    max_entries_limit_per_query: int = 5000
    max_query_length: int = 721 * 3600 * 10**9
    max_query_series: int = 500

    @classmethod
    def from_loki(cls, limits: Mapping[str, object]) -> Self:
        """Take limits as a Loki configuration has them: numbers, `"256KB"`, `"7d"`.

        Raises: ValueError that names the key, for one that the stand-in does not know or a value that it cannot read.
        """
        known = {one.name for one in fields(cls)}
        unknown = sorted(set(limits) - known)
        if unknown:
            raise ValueError(
                f"the Loki stand-in knows no limit {', '.join(unknown)}; it knows {', '.join(sorted(known))}"
            )
        numbers: dict[str, Any] = {name: _number(name, value) for name, value in limits.items()}
        return cls(**numbers)


_DURATIONS = {"reject_old_samples_max_age", "creation_grace_period", "max_query_length"}


def _number(name: str, value: object) -> float:
    if isinstance(value, int | float):
        return value
    try:
        return (duration_ns if name in _DURATIONS else size_bytes)(str(value))
    except ValueError as error:
        raise ValueError(f"limit {name}: {error}") from None
