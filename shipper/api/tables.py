"""What the log API keeps: levels, saved queries and tokens, each a table in a compacted Kafka topic.

Reading is from memory, and goes on while Kafka is away; writing is confirmed by Kafka, or it is a problem.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from fastapi import Request

from shipper.api.problems import RETRY_AFTER_S, Problem
from shipper.errors import KafkaUnavailableError
from shipper.kafka.table import Row, Table
from shipper.kafka.table_writer import ANY, ConflictError, TableWriter
from shipper.logs import log
from shipper.settings import Settings

_WAITING_MAX: Final = 256
_WRITES_MAX: Final = 16


class Stored:
    """One table, for coroutines."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._table = Table(settings.kafka, topic)
        self._writer = TableWriter(settings.kafka, self._table)
        self._thread = ThreadPoolExecutor(
            1, f"writes-{topic}"
        )  # of its own: who waits for Kafka holds up no other work
        self._writes = 0
        self._changed = asyncio.Event()
        self._waiting = 0

    async def start(self) -> None:
        """Read the whole topic. Raises KafkaUnavailableError, CannotStartError."""
        loop = asyncio.get_running_loop()
        self._table.listen(lambda _: _call_soon(loop, self._wake))
        await asyncio.to_thread(self._table.start)

    async def stop(self) -> None:
        """Follow the topic no more."""
        await asyncio.to_thread(self._table.stop)
        self._thread.shutdown(wait=False)

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self._table.topic

    @property
    def is_followed(self) -> bool:
        """Say whether what others write is still read."""
        return self._table.is_followed

    @property
    def behind_s(self) -> float:
        """So long ago, in seconds, it was last seen to hold all that is in the topic."""
        return self._table.behind_s

    def get(self, key: str) -> Row | None:
        """Return a row."""
        return self._table.get(key)

    def items(self) -> Iterator[tuple[str, Row]]:
        """Return all rows, sorted by key."""
        return self._table.items()

    async def put(self, key: str, value: bytes | None, *, expected: str | None = ANY) -> Row | None:
        """Write a row, or delete it; returns when Kafka has it. Raises Problem 503, or ConflictError."""
        if self._writes >= _WRITES_MAX:
            detail = f"{_WRITES_MAX} changes wait for Kafka already: try again in a moment"
            raise Problem(503, "busy", detail, headers={"Retry-After": str(RETRY_AFTER_S)})
        deadline = time.monotonic() + self._writer.timeout_s
        work = partial(self._writer.put, key, value, expected=expected, deadline=deadline)
        self._writes += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except KafkaUnavailableError as error:
            log("warn", "A change could not be written", key=key, error=str(error))
            raise Problem(
                503,
                "kafka-away",
                "Kafka did not confirm the change in time: read it again to see whether it is there",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            ) from error
        finally:
            self._writes -= 1

    async def wait(self, change: asyncio.Event, seconds: float) -> bool:
        """Wait for a change, for so long at most; False, and at once, where too many wait already."""
        if self._waiting >= _WAITING_MAX:
            return False
        self._waiting += 1
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(change.wait(), seconds)
        finally:
            self._waiting -= 1
        return True

    @property
    def next_change(self) -> asyncio.Event:
        """What will be set by the next change; take it before you look, and nothing is missed in between."""
        return self._changed

    def _wake(self) -> None:
        self._changed, changed = asyncio.Event(), self._changed
        changed.set()


def _call_soon(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended, and the table is about to
        loop.call_soon_threadsafe(what)


class Tables:
    """All tables of the log API.

    Args:
        settings: names Kafka and the topics.

    Raises: ConfigError if librdkafka refuses `[kafka.client]`.
    """

    def __init__(self, settings: Settings) -> None:
        topics = settings.api.topics
        self.levels = Stored(settings, topics.levels)
        self.queries = Stored(settings, topics.queries)
        self.tokens = Stored(settings, topics.tokens)
        self.all = (self.levels, self.queries, self.tokens)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read all topics, which exist, and follow them.

        Raises: KafkaUnavailableError, CannotStartError with the way out.
        """
        async with contextlib.AsyncExitStack() as started:
            for each in self.all:
                await each.start()
                started.push_async_callback(each.stop)
            yield


def tables_of(request: Request) -> Tables:
    """Return the tables. Raises Problem where this process has none."""
    found = getattr(request.app.state, "tables", None)
    if not isinstance(found, Tables):
        raise Problem(503, "kafka-away", "this log API was started without Kafka, which keeps what is asked for")
    return found


__all__ = ["ANY", "ConflictError", "Row", "Stored", "Tables", "tables_of"]
