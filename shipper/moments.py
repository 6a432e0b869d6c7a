"""A moment as people write it, in nanoseconds since the epoch, and back."""

import re
from datetime import UTC, datetime
from functools import lru_cache

NS = 10**9
_AGO = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_UNIT_NS = {"ms": 10**6, "s": NS, "m": 60 * NS, "h": 3_600 * NS, "d": 86_400 * NS}
_FRACTION = re.compile(r"(?<=[0-9])[.,]([0-9]{1,9})[0-9]*")
EARLIEST_NS, LATEST_NS = 10 * NS, 2**63 - 1
"""Loki takes a number of up to ten digits for seconds, and keeps nanoseconds in 63 bits."""


def duration_ns(text: str) -> int:
    """Return how many nanoseconds `500ms`, `90s`, `15m`, `2h` or `7d` are. Raises ValueError if it is none."""
    if not (found := _AGO.fullmatch(text.strip())):
        raise ValueError(f"{text!r} is no duration")
    return int(found[1]) * _UNIT_NS[found[2]]


def moment_ns(text: str, now_ns: int) -> int:
    """Return a moment: RFC 3339 to the nanosecond (UTC unless it says otherwise), or so long ago: `90s`, `15m`, `2h`.

    Raises: ValueError if it is neither, or beyond what Loki can hold.
    """
    if _AGO.fullmatch(text.strip()):
        found = now_ns - duration_ns(text)
    else:
        fraction = _FRACTION.search(text)
        moment = datetime.fromisoformat(_FRACTION.sub("", text, count=1).strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        found = int(moment.timestamp()) * NS + int((fraction[1] if fraction else "0").ljust(9, "0"))
    if not EARLIEST_NS <= found <= LATEST_NS:
        raise ValueError(f"{text!r} lies outside of 1970 to 2262")
    return found


def rfc3339(at_ns: int) -> str:
    """Return a moment as RFC 3339 in UTC, with nine digits of the second."""
    seconds, ns = divmod(at_ns, NS)
    return f"{_to_the_second(seconds)}.{ns:09d}Z"


@lru_cache(maxsize=1_024)  # lines of one second are shown together
def _to_the_second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def rfc3339_ms(ms: int) -> str:
    """Return milliseconds since the epoch as RFC 3339 in UTC, with three digits of the second."""
    return datetime.fromtimestamp(ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def show_ms(ms: int) -> str | None:
    """Return `rfc3339_ms`; None where there is no such time."""
    try:
        return rfc3339_ms(ms)
    except (ValueError, OverflowError, OSError):
        return None
