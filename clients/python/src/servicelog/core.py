"""What `configure` sets up: one writer, one sink, the levels; every logger comes here."""

import os
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

from servicelog import context
from servicelog.console import say
from servicelog.delivery import Delivery, Sink, Stderr
from servicelog.levels import NUMBERS, Levels
from servicelog.record import RecordWriter, stack_of
from servicelog.settings import Settings

# The errors that were written with their stack while a request was served: once is enough.
told: ContextVar[list[BaseException] | None] = ContextVar("servicelog_told", default=None)


class Core:
    """Writes records and hands them on."""

    def __init__(self, settings: Settings, sink: Sink | None = None) -> None:
        self.settings = settings
        self.levels = Levels(settings.level, settings.levels)
        self.sink: Sink = sink or (Delivery(settings) if settings.kafka else Stderr())
        self._writer = RecordWriter(
            settings.service, redact_names=settings.redact_names, redact_emails=settings.redact_emails
        )

    def is_enabled(self, level: str, logger: str) -> bool:
        """Whether a logger writes records of this level."""
        return NUMBERS[level] >= self.levels.threshold(logger)

    def write(
        self,
        level: object,
        message: object,
        fields: Mapping[str, object],
        *,
        error: BaseException | None = None,
        problem: str | None = None,
        timestamp_s: float | None = None,
    ) -> None:
        """Write a record of these fields and of what is bound here; never raises."""
        try:
            bound = context.current()
            now_ms = time.time_ns() // 1_000_000 if timestamp_s is None else int(timestamp_s * 1_000)
            record = self._writer.write(
                now_ms,
                level,
                message,
                {**bound, **fields} if bound else fields,
                error=error,
                stack_of=_stack_once if error is not None else stack_of,
                problem=problem,
            )
            self.sink.send(record)
        except Exception as mistake:  # noqa: BLE001 - whatever it is, the service goes on
            say(f"mistake in the library, a record is lost, please report it: {type(mistake).__name__}")
            self.mistakes += 1

    mistakes = 0
    """Records that were lost by a mistake of this library: always 0."""


def _stack_once(error: BaseException) -> str | None:
    known = told.get()
    if known is None:
        return stack_of(error)
    if any(one is error for one in known):
        return None
    known.append(error)
    return stack_of(error)


def _unconfigured() -> Core:
    return Core(Settings(service=os.environ.get("SERVICELOG_SERVICE") or "unknown"), Stderr())


class _Current:
    core: Core = _unconfigured()
    generation = 0


CURRENT: Final = _Current()


def use(core: Core) -> None:
    """Make a core the one that all loggers write to; the one before delivers what it has."""
    before, CURRENT.core = CURRENT.core, core
    CURRENT.generation += 1
    before.sink.close()
