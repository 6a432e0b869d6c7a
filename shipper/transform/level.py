"""Levels: one word for one severity, whatever the library that wrote it called it."""

import polars as pl

RANKS = {"trace": 10, "debug": 20, "info": 30, "warn": 40, "error": 50, "fatal": 60}
"""Levels from least to most severe, with the numbers that pino and bunyan write for them."""

ALIASES = {
    **{str(number): level for level, number in RANKS.items()},
    "silly": "trace",
    "verbose": "debug",
    "information": "info",
    "notice": "info",
    "warning": "warn",
    "err": "error",
    "critical": "fatal",
    "crit": "fatal",
    "emerg": "fatal",
    "alert": "fatal",
    "panic": "fatal",
}

LABELS = frozenset({"level", "detected_level"})
"""The labels whose value is a level; Loki's own name for it is the second."""


def normalise(text: str) -> str:
    """Return the level's one name; a level of no known name, lower-cased."""
    lower = text.lower()
    return ALIASES.get(lower, lower)


def normalised(text: pl.Expr) -> pl.Expr:
    """The same for a column."""
    return text.str.to_lowercase().replace(ALIASES)


def below(name: str) -> list[str]:
    """Return the known levels that are less severe than the given one."""
    return [other for other, rank in RANKS.items() if rank < RANKS[name]]
