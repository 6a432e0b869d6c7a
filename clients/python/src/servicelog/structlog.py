"""structlog: `deliver` as the last processor hands the event over. What is before it in the chain goes on as it is."""

import sys
from collections.abc import MutableMapping
from typing import Any, NoReturn

from structlog import DropEvent

from servicelog.core import CURRENT
from servicelog.levels import written


def deliver(_: object, method: str, event: MutableMapping[str, Any]) -> NoReturn:
    """Write the event through what `configure` has set up, and end the chain.

    `event` is the message, `logger` or `logger_name` the context, `exc_info` the error; what else is bound are fields.

    Raises: DropEvent, by which structlog knows that there is nothing more to do.
    """
    fields = dict(event)
    message = fields.pop("event", None)
    fields.pop("timestamp", None)  # the library has its own, with the contract's form
    level = fields.pop("level", None) or ("error" if method == "exception" else method)
    name = fields.pop("logger", None) or fields.pop("logger_name", None)
    if name is not None:
        fields.setdefault("context", name)
    error = _error(fields.pop("exc_info", None) or (method == "exception"))
    core = CURRENT.core
    if core.is_enabled(written(level) or "info", str(name or "")):
        core.write(level, message, fields, error=error)
    raise DropEvent


def _error(given: object) -> BaseException | None:
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple):
        return given[1] if len(given) > 1 and isinstance(given[1], BaseException) else None
    return sys.exception() if given else None
