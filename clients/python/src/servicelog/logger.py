"""The library's own loggers: `log.info("Message stored", roomId="room-375", durationMs=4)`."""

import functools
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, cast

from servicelog.core import CURRENT
from servicelog.levels import written
from servicelog.values import error_of

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class Logger:
    """Writes records with a name, which is their `context`, and with fields of its own.

    Args:
        name: a dotted name; levels are set by it.
        fields: of every record that this logger writes.
    """

    __slots__ = ("_fields", "name")

    def __init__(self, name: str = "", fields: Mapping[str, object] | None = None) -> None:
        self.name = name
        self._fields: dict[str, object] = {**({"context": name} if name else {}), **(fields or {})}

    def child(self, **fields: object) -> "Logger":
        """A logger of the same name with more fields."""
        return Logger(self.name, {**self._fields, **fields})

    def is_enabled(self, level: str) -> bool:
        """Whether records of this level are written."""
        return CURRENT.core.is_enabled(level, self.name)

    def trace(self, message: object, /, **fields: object) -> None:
        """Write a record of level trace; `error=` takes an exception, all else are fields."""
        if self.is_enabled("trace"):
            self._write("trace", message, fields)

    def debug(self, message: object, /, **fields: object) -> None:
        """Write a record of level debug."""
        if self.is_enabled("debug"):
            self._write("debug", message, fields)

    def info(self, message: object, /, **fields: object) -> None:
        """Write a record of level info."""
        if self.is_enabled("info"):
            self._write("info", message, fields)

    def warn(self, message: object, /, **fields: object) -> None:
        """Write a record of level warn."""
        if self.is_enabled("warn"):
            self._write("warn", message, fields)

    warning = warn

    def error(self, message: object, /, **fields: object) -> None:
        """Write a record of level error."""
        if self.is_enabled("error"):
            self._write("error", message, fields)

    def exception(self, message: object, /, **fields: object) -> None:
        """Write a record of level error with the exception that is handled here."""
        if self.is_enabled("error"):
            self._write("error", message, {"error": sys.exception(), **fields})

    def fatal(self, message: object, /, **fields: object) -> None:
        """Write a record of level fatal."""
        if self.is_enabled("fatal"):
            self._write("fatal", message, fields)

    critical = fatal

    def log(self, level: object, message: object, /, **fields: object) -> None:
        """Write a record of a level by its name; one that does not exist is info, and the record says so."""
        if self.is_enabled(written(level) or "info"):
            self._write(level, message, fields)

    def _write(self, level: object, message: object, fields: dict[str, object]) -> None:
        error = fields.get("error")
        own = error_of(error)
        if own is not None or error is None:
            fields.pop("error", None)
        CURRENT.core.write(level, message, {**self._fields, **fields}, error=own)

    @contextmanager
    def timed(self, message: str, /, level: str = "info", **fields: object) -> Iterator[dict[str, object]]:
        """Write a record after a block, with `durationMs` and `outcome`; an exception is told, and goes on.

        Yields: a dictionary for more fields of the record.
        """
        more: dict[str, object] = {}
        began_s = time.perf_counter()
        try:
            yield more
        except BaseException as error:
            self._timed("error", message, began_s, {**fields, **more, "outcome": "failure", "error": error})
            raise
        self._timed(level, message, began_s, {**fields, **more, "outcome": "success"})

    def _timed(self, level: str, message: str, began_s: float, fields: dict[str, object]) -> None:
        if self.is_enabled(level):
            self._write(level, message, {**fields, "durationMs": round((time.perf_counter() - began_s) * 1_000, 3)})

    def timing(
        self, message: str, level: str = "info"
    ) -> Callable[[Callable[_Parameters, _Result]], Callable[_Parameters, _Result]]:
        """Decorate a function, or a coroutine function: `timed` around each call."""

        def decorate(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
            import inspect  # noqa: PLC0415 - a service's start need not wait for it

            if inspect.iscoroutinefunction(function):

                @functools.wraps(function)
                async def awaited(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the function has it
                    with self.timed(message, level):
                        return await function(*args, **kwargs)

                return cast("Callable[_Parameters, _Result]", awaited)

            @functools.wraps(function)
            def called(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
                with self.timed(message, level):
                    return function(*args, **kwargs)

            return called

        return decorate


@functools.lru_cache(maxsize=1_024)
def get_logger(name: str = "") -> Logger:
    """The logger of this name; it may be asked for before `configure`."""
    return Logger(name)
