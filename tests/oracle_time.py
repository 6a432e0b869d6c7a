"""The oracle's reading of timestamps: calendar arithmetic of the standard library, one at a time."""

import re
from datetime import UTC, datetime

from shipper.records import Message
from shipper.settings import Timestamp

_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_INTEGER = re.compile(r"-?[0-9]+")
_DECIMAL = re.compile(r"-?[0-9]+\.[0-9]+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NS_BELOW = 9_223_372_036 * 10**9
"""2262-04-11T23:47:16Z: the last whole second that, filled up, still fits 64 bits."""

_KAFKA_MS_MAX = 9_223_372_035_999
_S_BELOW, _MS_BELOW, _US_BELOW = 1e11, 1e14, 1e17

Known = tuple[int, int]
"""Nanoseconds since the epoch, and how many decimal digits of the second the record gave."""


def timestamp_ns(value: object, settings: Timestamp, record: Message) -> int:
    """Nanoseconds since the epoch of a record whose timestamp field holds `value`."""
    known = None
    if isinstance(value, str) and "rfc3339" in settings.formats:
        known = _rfc3339(value)
    if known is None and "epoch" in settings.formats:
        known = _epoch(value)
    if known is None or not 0 <= known[0] < _NS_BELOW:
        return kafka_timestamp_ns(record)
    return _filled(known, record)


def kafka_timestamp_ns(record: Message) -> int:
    """Nanoseconds since the epoch that Kafka gives; 0 for a record without a timestamp, the nearest one that fits."""
    return _filled((min(max(record.timestamp()[1], 0), _KAFKA_MS_MAX) * 10**6, 3), record)


def _filled(known: Known, record: Message) -> int:
    ns, digits = known
    return ns + record.offset() % int(10 ** (9 - digits))


def _rfc3339(text: str) -> Known | None:
    found = _RFC3339.fullmatch(text)
    if found is None:
        return None
    try:
        moment = datetime(*map(int, found.groups()[:6]), tzinfo=UTC)  # type: ignore[arg-type,misc]  # six integers
    except ValueError:
        return None
    fraction = (found[7] or "")[:9]
    hours, minutes = int(found[9] or 0), int(found[10] or 0)
    if hours > 23 or minutes > 59:
        return None
    since = moment - _EPOCH
    ahead_s = (hours * 3600 + minutes * 60) * (-1 if found[8] == "-" else 1)
    return (since.days * 86_400 + since.seconds - ahead_s) * 10**9 + int(fraction.ljust(9, "0")), len(fraction)


def _epoch(value: object) -> Known | None:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return _epoch_integer(int(value)) if len(value) < 40 else None
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return _epoch_float(float(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return _epoch_integer(value)
    return _epoch_float(value) if isinstance(value, float) else None


def _epoch_integer(value: int) -> Known:
    for below, digits in ((_S_BELOW, 0), (_MS_BELOW, 3), (_US_BELOW, 6)):
        if abs(value) < below:
            return value * int(10 ** (9 - digits)), digits
    return value, 9


def _epoch_float(value: float) -> Known | None:
    if value < 0 or value >= _NS_BELOW:
        return None
    if value < _S_BELOW:
        return round(value * 1e6) * 1000, 6
    if value < _MS_BELOW:
        return round(value * 1e3) * 1000, 6
    return (int(value) * 1000, 6) if value < _US_BELOW else (int(value), 9)
