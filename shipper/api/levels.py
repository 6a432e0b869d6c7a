"""Levels that were set for a service: which of its loggers write from which level on, until when, by whom and why.

What is stored is a row per service. What counts is a function of the row and of the time: a level whose time is over
is not there, whoever asks, and nobody needs to take it away.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from shipper.kafka.table import Row
from shipper.moments import rfc3339_ms

ROOT: Final = "*"
"""All loggers without a level of their own."""

MS: Final = 1_000_000
Level = Literal["trace", "debug", "info", "warn", "error", "fatal"]


class Setting(msgspec.Struct, frozen=True):
    """The level of one logger."""

    level: Level
    until_ms: int
    by: str
    why: str
    at_ms: int


class ServiceLevels(msgspec.Struct, frozen=True):
    """All levels that were set for one service, by logger; some may be over.

    Attributes:
        version: of the row; empty: there is none.
    """

    loggers: dict[str, Setting] = {}
    version: str = ""

    def in_force(self, now_ms: int) -> dict[str, Setting]:
        """Return what counts now, sorted by logger."""
        return {name: one for name, one in sorted(self.loggers.items()) if one.until_ms > now_ms}

    def etag(self, now_ms: int) -> str:
        """Return what changes with every write, and when a level's time is over."""
        found = self.in_force(now_ms)
        return f'"{self.version}.{len(found)}"' if found else '"none"'

    def changed(self, settings: Mapping[str, Setting | None], now_ms: int) -> dict[str, Setting]:
        """Return what counts with these set, and those that are None taken away."""
        merged = {**self.in_force(now_ms), **settings}
        return {name: one for name, one in merged.items() if one is not None}


def read(row: Row | None) -> ServiceLevels:
    """Return what a row says; one that cannot be read says nothing."""
    if row is None:
        return ServiceLevels()
    try:
        return ServiceLevels(msgspec.json.decode(row.value, type=dict[str, Setting]), row.version)
    except msgspec.DecodeError:
        return ServiceLevels({}, row.version)


def write(loggers: Mapping[str, Setting]) -> bytes | None:
    """Return a row's value; None, which deletes it, where nothing is set."""
    return msgspec.json.encode(loggers) if loggers else None


def document(service: str, found: Mapping[str, Setting]) -> dict[str, Any]:
    """Return what the libraries read (`levels`, `expiresAt`), and the story of each level for people.

    `expiresAt` is when the first of them is over: a library goes back to what is configured then, and asks again.
    """
    return {
        "service": service,
        "levels": {name: one.level for name, one in found.items()},
        "expiresAt": rfc3339_ms(min(one.until_ms for one in found.values())) if found else None,
        "set": [told(name, one) for name, one in found.items()],
    }


def told(logger: str, one: Setting) -> dict[str, str]:
    """Return the story of one level."""
    return {
        "logger": logger,
        "level": one.level,
        "expiresAt": rfc3339_ms(one.until_ms),
        "by": one.by,
        "why": one.why,
        "setAt": rfc3339_ms(one.at_ms),
    }


def deciding(found: Iterable[str], logger: str) -> str | None:
    """Return which of the loggers decides for this one: itself, else the nearest above it, else all."""
    names = set(found)
    while logger:
        if logger in names:
            return logger
        logger = logger.rpartition(".")[0]
    return ROOT if ROOT in names else None
