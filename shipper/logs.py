"""shipper's own log: one line of JSON each on stderr, in the format that docs/log-format.md asks of every service.

    {"timestamp": "2026-01-31T12:00:00.000Z", "level": "info", "service": "shipper", "message": "…", "context": {…}}

`SHIPPER_LOG=text` writes the same for people to read. A line goes out in one write, so that the lines of threads and of
worker processes never mix.
"""

import os
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import orjson

Level = Literal["debug", "info", "warn", "error", "fatal"]
Fields = dict[str, Any]

SERVICE = "shipper"


def _now() -> datetime:
    return datetime.now(UTC)


def _format_json(at: datetime, level: Level, message: str, context: Fields) -> str:
    line = {
        "timestamp": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z",
        "level": level,
        "service": SERVICE,
        "message": message,
        "context": context,
    }
    # A path or an exception in the context must not cost the line, nor what no JSON can hold, such as a lone surrogate.
    try:
        return orjson.dumps(line, default=str).decode()
    except orjson.JSONEncodeError:
        readable = message.encode("ascii", "backslashreplace").decode()
        return orjson.dumps({**line, "message": readable, "context": {"repr": ascii(context)}}).decode()


def _format_text(at: datetime, level: Level, message: str, context: Fields) -> str:
    details = "".join(f" {key}={value}" for key, value in context.items())
    return f"{at:%H:%M:%S} {level:<5} {message}{details}".replace("\n", " ")


class Log:
    """Writes lines; `bind` returns one that adds fields to each of them.

    Args:
        stream: where the lines go; None is `sys.stderr`, as it is at the time of each line.
        text: whether lines are for people; otherwise JSON.
        now: the clock, in UTC.
        fields: what every line's context holds.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        text: bool = False,
        now: Callable[[], datetime] = _now,
        fields: Fields | None = None,
    ) -> None:
        self._stream = stream
        self._text = text
        self._now = now
        self._fields = fields or {}
        self._lock = threading.Lock()

    def bind(self, **fields: Any) -> "Log":  # noqa: ANN401 - a context holds any value that JSON can
        """Return a log whose lines carry these fields too."""
        bound = Log(self._stream, text=self._text, now=self._now, fields={**self._fields, **fields})
        bound._lock = self._lock
        return bound

    def __call__(self, level: Level, message: str, **context: Any) -> None:  # noqa: ANN401 - as above
        """Write one line; a stream that is closed or broken loses it silently, since nobody is left to tell."""
        form = _format_text if self._text else _format_json
        line = form(self._now(), level, message, {**self._fields, **context}) + "\n"
        stream = self._stream or sys.stderr
        with self._lock:
            try:
                stream.write(line)
                stream.flush()
            except (OSError, ValueError):
                return


log = Log(text=os.environ.get("SHIPPER_LOG") == "text")
"""The process's log: `log("warn", "Loki is slow", seconds=3.2)`."""
