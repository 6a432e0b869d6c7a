"""Standard logging: a handler that delivers, a formatter that writes the same JSON. Existing calls go on unchanged."""

import contextlib
import logging
from typing import Final

from servicelog import context
from servicelog.core import CURRENT
from servicelog.levels import ROOT, of_number
from servicelog.record import RecordWriter

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Whoever serves a request has its exception from the middleware, which has written it.
_SERVERS: Final = ("uvicorn", "hypercorn", "gunicorn")
TOLD: Final = "_servicelog_told"


class ServiceLogHandler(logging.Handler):
    """Writes the records of standard logging through what `configure` has set up."""

    def emit(self, record: logging.LogRecord) -> None:
        level, message, fields, error, problem = _taken_apart(record)
        if error is not None and record.name.startswith(_SERVERS) and _is_told(error):
            return
        CURRENT.core.write(level, message, fields, error=error, problem=problem, timestamp_s=record.created)


class ServiceLogFormatter(logging.Formatter):
    """Formats records as the library writes them: for services whose standard output is collected.

    Args:
        service: who writes.
        redact_names, redact_emails: as in the settings.
    """

    def __init__(self, service: str, *, redact_names: tuple[str, ...] = (), redact_emails: bool = False) -> None:
        super().__init__()
        self._writer = RecordWriter(service, redact_names=redact_names, redact_emails=redact_emails)

    def format(self, record: logging.LogRecord) -> str:
        level, message, fields, error, problem = _taken_apart(record)
        fields = {**context.current(), **fields}
        now_ms = int(record.created * 1_000)
        return self._writer.write(now_ms, level, message, fields, error=error, problem=problem).decode()


def _is_told(error: BaseException) -> bool:
    with contextlib.suppress(Exception):  # an exception of others may allow no question: it is told twice
        return bool(getattr(error, TOLD, False))
    return False


def _taken_apart(
    record: logging.LogRecord,
) -> tuple[str, object, dict[str, object], BaseException | None, str | None]:
    problem = None
    try:
        message: object = record.getMessage() if record.args or isinstance(record.msg, str) else record.msg
    except Exception:  # noqa: BLE001 - the arguments do not fit, or cannot be made a text
        message, problem = record.msg, "the message's arguments do not fit"
    fields: dict[str, object] = {"context": record.name}
    fields |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
    error = record.exc_info[1] if record.exc_info else None
    return of_number(record.levelno), message, fields, error, problem


def install() -> None:
    """Put the handler onto the root logger, once, and set the levels."""
    root = logging.getLogger()
    if not any(isinstance(one, ServiceLogHandler) for one in root.handlers):
        root.addHandler(ServiceLogHandler())
    apply_levels()


def apply_levels() -> None:
    """Set standard logging's levels to those in force; a name that had one and has none any more has its parent's."""
    named = CURRENT.core.levels.named()
    for name in _SET.keys() - named.keys():
        logging.getLogger(name).setLevel(_SET.pop(name))
    for name, number in named.items():
        logger = logging.getLogger(None if name == ROOT else name)
        if name != ROOT:
            _SET.setdefault(name, logger.level)
        logger.setLevel(number)


_SET: Final[dict[str, int]] = {}  # the loggers whose level was set here, and what it was before
