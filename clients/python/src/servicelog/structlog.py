"""structlog: `deliver` as the last processor hands the event over. What is before it in the chain goes on as it is."""

import sys
from collections.abc import MutableMapping
from typing import Any, NoReturn

from structlog import DropEvent

from servicelog.core import CURRENT
from servicelog.levels import written
from servicelog.values import error_of


def deliver(_: object, method: str, event: MutableMapping[str, Any]) -> NoReturn:
    """Write the event through what `configure` has set up, and end the chain.

    `event` is the message, `logger` or `logger_name` the context, `exc_info` the error; what else is bound are fields.

    Raises: DropEvent, by which structlog knows that there is nothing more to do.
    """
    fields = dict(event)
    message = fields.pop("event", None)
    fields.pop("timestamp", None)  # the library has its own, with the contract's form
    level = fields.pop("level", None)
    if level is None:
        level = "error" if method == "exception" else method
    named, name = fields.pop("logger_name", None), fields.pop("logger", None)
    name = named if name is None else name
    if name is not None:
        fields.setdefault("context", name)
    error = _error(fields.pop("exc_info", method == "exception"))
    core = CURRENT.core
    if core.is_enabled(written(level) or "info", name if type(name) is str else ""):
        core.write(level, message, fields, error=error)
    raise DropEvent


def _error(given: object) -> BaseException | None:
    """What structlog takes as `exc_info`: an exception, what `sys.exc_info()` gives, or something true."""
    if type(given) is tuple:
        return next((one for one in map(error_of, given) if one is not None), None)
    return sys.exception() if type(given) in (bool, int, str) and given else error_of(given)
