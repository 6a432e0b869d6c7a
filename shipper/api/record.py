"""What the API itself reads in a line: the members of docs/log-format.md, and nothing it could stumble over. Pure."""

from typing import Any

import msgspec

from shipper.api.scope import LEVEL, SERVICE
from shipper.loki.paging import StreamEntry

_LINE_CHARS_MAX = 1_000


class Record(msgspec.Struct):
    """What a line says; a line that is no record is its own message.

    Attributes:
        service: who wrote it.
        level: how serious it is.
        message: for people.
        duration_ms: how long what it tells of took; None where it does not say.
        error: the type of the error that it tells of.
        context: which part of the service wrote it.
    """

    service: str
    level: str
    message: str
    duration_ms: float | None = None
    error: str = ""
    context: str = ""


def record_of(entry: StreamEntry) -> Record:
    """Return what an entry says."""
    record = Record(
        entry.labels.get(SERVICE, "unknown"), entry.labels.get(LEVEL, "unknown"), entry.line[:_LINE_CHARS_MAX]
    )
    try:
        value: Any = msgspec.json.decode(entry.line)
    except (msgspec.DecodeError, RecursionError):
        return record
    if not isinstance(value, dict):
        return record
    message, context, duration, error = (value.get(name) for name in ("message", "context", "durationMs", "error"))
    if isinstance(message, str):
        record.message = message
    if isinstance(context, str):
        record.context = context
    if isinstance(duration, int | float) and not isinstance(duration, bool):
        record.duration_ms = float(duration)
    if isinstance(error, dict) and isinstance(error.get("type"), str):
        record.error = error["type"]
    return record
