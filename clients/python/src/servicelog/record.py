"""One call becomes one record: docs/log-format.md, "What the libraries write". Nothing here has a clock or a socket."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from servicelog import levels
from servicelog.redact import REDACTED, Redaction
from servicelog.values import MEMBER_CHARS_MAX, TEXT_CHARS_MAX, Json, StackOf, Values, cut

RECORD_BYTES_MAX: Final = 131_072
_LEVEL_CHARS_MAX: Final = 64

_TEXT, _NUMBER = "text", "number"
_MEMBERS: Final = {
    **dict.fromkeys(("context", "requestId", "traceId", "userId", "conversationId"), _TEXT),
    **dict.fromkeys(("event", "outcome", "reason", "method", "route"), _TEXT),
    **dict.fromkeys(("status", "durationMs"), _NUMBER),
}


def stack_of(error: BaseException) -> str | None:
    """An error's stack without those of its causes, which have their own; None if it was never raised."""
    if error.__traceback__ is None:
        return None
    import traceback  # noqa: PLC0415 - a service's start need not wait for it

    return "".join(traceback.format_exception(type(error), error, error.__traceback__, chain=False)).rstrip("\n")


class RecordWriter:
    """Writes the records of one service."""

    def __init__(self, service: str, *, redact_names: Iterable[str] = (), redact_emails: bool = False) -> None:
        self._redaction = Redaction(redact_names, emails=redact_emails)
        self._service = service
        self._second = (-1, "")

    def write(
        self,
        timestamp_ms: int,
        level: object,
        message: object,
        fields: Mapping[str, object],
        *,
        error: BaseException | None = None,
        stack_of: StackOf = stack_of,
        problem: str | None = None,
    ) -> bytes:
        """Write a record.

        Args:
            timestamp_ms: when the call was made, in milliseconds of Unix time.
            level: its name, as the call has it.
            message: of any kind.
            fields: what is bound, and then what the call has; a name of both stands where it came first.
            error: what went wrong.
            stack_of: an error's stack.
            problem: what was wrong with the call already.

        Returns: JSON in UTF-8, of at most 512 KB.
        """
        values = Values(self._redaction, stack_of)
        known_level = levels.written(level)
        record: dict[str, Json] = {
            "timestamp": self._timestamp(timestamp_ms),
            "level": known_level or "info",
            "service": self._service,
            "message": "" if message is None else values.as_text("message", message, TEXT_CHARS_MAX),
        }
        metadata = self._fields(fields, values, record)
        if error is not None:
            record["error"] = values.error(error)
        if metadata:
            record["metadata"] = metadata
        if known_level is None or values.problem or problem:
            unknown = None if known_level else f'unknown level "{_level_text(level, values)}"'
            said = "; ".join(filter(None, (unknown, problem, values.problem)))
            record["logProblem"] = values.text(said, MEMBER_CHARS_MAX)
        written = orjson.dumps(record)
        return written if len(written) <= RECORD_BYTES_MAX else _smaller(record)

    def _fields(self, fields: Mapping[str, object], values: Values, record: dict[str, Json]) -> dict[str, Json]:
        """Put the fields that are members into the record, in the contract's order; return the others."""
        found: dict[str, Json] = {}
        others: dict[str, object] = {}
        for name, value in fields.items():
            kind = _MEMBERS.get(name)
            if kind is None:
                others[name] = value
            elif value is None:
                continue
            elif kind is _TEXT:
                secret = self._redaction.is_secret(name)
                found[name] = REDACTED if secret else values.as_text(name, value, MEMBER_CHARS_MAX)
            elif (number := values.number(value)) is not None and not self._redaction.is_secret(name):
                found[name] = number
            else:
                others[name] = value
        for name in _MEMBERS if len(found) > 1 else found:
            if name in found:
                record[name] = found[name]
        return values.members(others.items(), len(others), ("metadata", None)) if others else {}

    def _timestamp(self, timestamp_ms: int) -> str:
        second, ms = divmod(timestamp_ms, 1_000)
        known, text = self._second
        if second != known:
            text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
            self._second = (second, text)
        return f"{text}{ms:03}Z"


def _level_text(level: object, values: Values) -> str:
    return cut(values.as_text("level", level, TEXT_CHARS_MAX), _LEVEL_CHARS_MAX)


def _smaller(record: dict[str, Any]) -> bytes:
    if "metadata" in record:
        record["metadata"] = {"…": f"[{len(orjson.dumps(record['metadata']))} bytes]"}
    written = orjson.dumps(record)
    if len(written) > RECORD_BYTES_MAX and "error" in record:
        record["error"].pop("causes", None)
        written = orjson.dumps(record)
    return written
