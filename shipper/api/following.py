"""Following a query live: what is new in Loki, polled, and held for a reader in bounded memory.

Polled, and not through Loki's own tail: that is a WebSocket to the ingesters, of which a tenant may have ten, it begins
anew where it breaks, and what it leaves out it says only in part. A poll is a query like any other, with the same
scope, bounds and errors, and what it has seen already is known by time and digest. It asks for the last seconds again
each time, since lines arrive late: those that are later still are not seen. A tail that goes on after a break does the
same: what it was sent of those seconds nobody knows any more, so it comes again; a line that was not sent must not be
lost.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from shipper.api.entries import digest
from shipper.api.problems import Problem, of_loki
from shipper.loki.async_reader import AsyncLokiReader
from shipper.loki.paging import StreamEntry
from shipper.loki.query_errors import LokiQueryError
from shipper.moments import NS

_AHEAD_NS = 60 * NS  # clocks of services run ahead
_PAGE = 1_000
_BYTES_MAX = 8 << 20
_SEEN_MAX = 50_000
_BATCH = 200
_WAIT_MAX_S = 10.0


Mark = tuple[int, bytes]
"""How far a reader is: the newest line's time, but not after the poll that found it, and its digest."""


class Found(NamedTuple):
    """A line.

    Attributes:
        entry: what Loki has.
        digest: of it.
        mark: where a reader is who has got it.
    """

    entry: StreamEntry
    digest: bytes
    mark: Mark


class Missed(msgspec.Struct):
    """What a reader who was too slow did not get.

    Attributes:
        lines: how many.
        from_ns: the oldest of them.
        to_ns: the newest of them.
    """

    lines: int
    from_ns: int
    to_ns: int


Happening = Found | Missed | Problem
"""A line, what was missed before the next one, or why nothing comes at present."""


class Following:
    """Polls one query, and holds what is new until it is taken.

    Args:
        reader: of the caller's tenant.
        query: a log query.
        start_ns: where it begins.
        mark: where the reader was when they went away; it begins `lateness_s` before then.
        poll_s: pause between two polls.
        lateness_s: how far each poll looks back.
        lines_max: so many lines are held at most; the oldest are left out for newer ones.
        now_ns: the clock.
    """

    def __init__(
        self,
        reader: AsyncLokiReader,
        query: str,
        start_ns: int,
        *,
        mark: Mark | None = None,
        poll_s: float,
        lateness_s: float,
        lines_max: int,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._reader, self._query = reader, query
        self._floor_ns = start_ns
        self._mark = mark or (start_ns, b"")
        self._poll_s, self._lines_max, self._now_ns = poll_s, lines_max, now_ns
        self._lateness_ns = int(lateness_s * NS)
        self._seen = {self._mark}
        self._held: deque[Found] = deque()
        self._held_bytes = 0
        self._missed: Missed | None = None
        self._trouble: Problem | None = None
        self._news, self._room = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Poll until it is cancelled."""
        await self._try(patient=True)
        while True:
            await self._try(patient=False)
            await asyncio.sleep(self._poll_s)

    async def take(self) -> list[Happening]:
        """Wait for something, and return what happened since the last time, in order, in part where it is much."""
        await self._news.wait()
        found: list[Happening] = []
        if self._trouble:
            found.append(self._trouble)
            self._trouble = None
        if self._missed:
            found.append(self._missed)
            self._missed = None
        found += [self._let_go() for _ in range(min(_BATCH, len(self._held)))]
        self._room.set()
        if not self._held:
            self._news.clear()
        return found

    async def _try(self, *, patient: bool) -> None:
        """Poll once; Loki's troubles are told to the reader, and tried again."""
        wait_s, told = self._poll_s, False
        while True:
            try:
                await self._poll(patient=patient)
            except LokiQueryError as error:
                if not told:
                    self._trouble, told = of_loki(error), True
                    self._news.set()
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _WAIT_MAX_S)
            else:
                return

    async def _poll(self, *, patient: bool) -> None:
        """Read what is new; `patient`: wait for the reader, as long as it is about what was there before they came."""
        now_ns = self._now_ns()
        async for entries in self._reader.pages(self._query, self._floor_ns, now_ns + _AHEAD_NS, page=_PAGE):
            numbered = [(it.timestamp_ns, digest(it), it) for it in entries]
            for at_ns, key, entry in sorted(numbered, key=lambda one: one[:2]):
                if (at_ns, key) in self._seen:
                    continue
                self._seen.add((at_ns, key))
                while patient and self._is_full():
                    self._room.clear()
                    await self._room.wait()
                self._mark = max(self._mark, (min(at_ns, now_ns), key))
                self._hold(Found(entry, key, self._mark))
            self._forget()
        self._floor_ns = max(self._floor_ns, now_ns - self._lateness_ns)
        self._forget()

    def _is_full(self) -> bool:
        return len(self._held) >= self._lines_max or self._held_bytes >= _BYTES_MAX

    def _hold(self, one: Found) -> None:
        while self._held and self._is_full():
            at_ns = self._let_go().entry.timestamp_ns
            missed = self._missed or Missed(0, at_ns, at_ns)
            self._missed = Missed(missed.lines + 1, min(missed.from_ns, at_ns), max(missed.to_ns, at_ns))
        self._held.append(one)
        self._held_bytes += _bytes(one.entry)
        self._news.set()

    def _let_go(self) -> Found:
        one = self._held.popleft()
        self._held_bytes -= _bytes(one.entry)
        return one

    def _forget(self) -> None:
        """Forget the lines that no poll will find again; where too many would have to be known, look back less far."""
        if len(self._seen) > _SEEN_MAX:
            self._floor_ns = max(self._floor_ns, sorted(self._seen)[len(self._seen) // 2][0])
        self._seen = {seen for seen in self._seen if seen[0] >= self._floor_ns}


def _bytes(entry: StreamEntry) -> int:
    return len(entry.line.encode()) + sum(len(key) + len(value.encode()) for key, value in entry.metadata.items())
