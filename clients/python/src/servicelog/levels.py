"""The six levels, and which of them a logger writes."""

from collections.abc import Mapping
from typing import Final

NUMBERS: Final = {"trace": 5, "debug": 10, "info": 20, "warn": 30, "error": 40, "fatal": 50}
"""Standard logging's numbers; it has no name for 5."""

_ALSO: Final = {
    "silly": "trace",
    "verbose": "debug",
    "warning": "warn",
    "critical": "fatal",
    "http": "info",
    "notice": "info",
}
_WRITTEN: Final = {name: name for name in NUMBERS} | _ALSO
_REMEMBERED: Final = 1_024
ROOT: Final = "*"
"""The name, in levels per logger, of all loggers that have no level of their own."""


def written(level: object) -> str | None:
    """How a level is written, or None if there is no such level."""
    return _WRITTEN.get(str.lower(level)) if issubclass(type(level), str) else None  # type: ignore[arg-type] # it is one


def number(level: str) -> int:
    """The number of a level.

    Raises: ValueError if there is no such level: name one of the six.
    """
    name = written(level)
    if name is None:
        raise ValueError(f"no level is called {level!r}: use one of {', '.join(NUMBERS)}")
    return NUMBERS[name]


def of_number(given: int) -> str:
    """The highest level that is not above a number of standard logging: 25 is `info`."""
    return next((name for name, least in reversed(NUMBERS.items()) if given >= least), "trace")


class Levels:
    """The lowest level that each logger writes: as configured, and as a level source says for a while.

    A logger's level is that of the longest dotted name that has one: `app.db` counts for `app.db.pool`. What the
    source says goes before what is configured, for the same name.
    """

    def __init__(self, default: str = "info", by_logger: Mapping[str, str] | None = None) -> None:
        self._configured = {ROOT: number(default)} | {name: number(one) for name, one in (by_logger or {}).items()}
        self._live: dict[str, int] = {}
        self._thresholds: dict[str, int] = {}
        self.generation = 0
        """Grows with each change; loggers keep their threshold until then."""

    def set_live(self, by_logger: Mapping[str, str]) -> None:
        """Take what a level source says; an empty mapping is the end of it."""
        live = {name: number(one) for name, one in by_logger.items()}
        if live != self._live:
            self._live = live
            self._thresholds = {}
            self.generation += 1

    def threshold(self, logger: str) -> int:
        """The number of the lowest level that a logger writes."""
        known = self._thresholds
        threshold = known.get(logger)
        if threshold is None:
            levels, name = self.named(), logger
            while name not in levels and name:
                name = name.rpartition(".")[0]
            threshold = levels[name or ROOT]
            if len(known) < _REMEMBERED:
                known[logger] = threshold
        return threshold

    def named(self) -> dict[str, int]:
        """Every name that has a level of its own, with `*` for the rest."""
        return self._configured | self._live
