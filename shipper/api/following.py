"""Following a query live: what is new in Loki, polled, and held for a reader in bounded memory.

Polled, and not through Loki's own tail: that is a WebSocket to the ingesters, of which a tenant may have ten, it begins
anew where it breaks, and what it leaves out it says only in part. A poll is a query like any other, with the same
scope, bounds and errors, and what it has seen already is known by digest. It asks for the last seconds again each time,
since lines arrive late: those that are later still are not seen.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

import msgspec

from shipper.api.entries import digest
from shipper.api.problems import Problem, of_loki
from shipper.api.walk import Numbered
from shipper.loki.async_reader import AsyncLokiReader
from shipper.loki.query_errors import LokiQueryError
from shipper.moments import NS

_AHEAD_NS = 60 * NS  # clocks of services run ahead
_PAGE = 1_000
_BYTES_MAX = 8 << 20
_SEEN_MAX = 50_000
_BATCH = 200
_WAIT_MAX_S = 10.0


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


Happening = Numbered | Missed | Problem
"""A line, what was missed before the next one, or why nothing comes at present."""


class Following:
    """Polls one query, and holds what is new until it is taken.

    Args:
        reader: of the caller's tenant.
        query: a log query.
        start_ns: where it begins.
        after: the digest of the last line of that nanosecond that the reader has already; empty: none.
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
        after: bytes = b"",
        poll_s: float,
        lateness_s: float,
        lines_max: int,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._reader, self._query = reader, query
        self._floor_ns = start_ns
        self._after = (start_ns, after)
        self._poll_s, self._lines_max, self._now_ns = poll_s, lines_max, now_ns
        self._lateness_ns = int(lateness_s * NS)
        self._seen: dict[bytes, int] = {}
        self._held: deque[Numbered] = deque()
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
            found = [(entry, digest(entry)) for entry in entries]
            found.sort(key=lambda one: (one[0].timestamp_ns, one[1]))
            for one in found:
                if one[1] in self._seen or (one[0].timestamp_ns, one[1]) <= self._after:
                    continue
                self._seen[one[1]] = one[0].timestamp_ns
                while patient and self._is_full():
                    self._room.clear()
                    await self._room.wait()
                self._hold(one)
            self._forget()
        self._floor_ns = max(self._floor_ns, now_ns - self._lateness_ns)
        self._forget()

    def _is_full(self) -> bool:
        return len(self._held) >= self._lines_max or self._held_bytes >= _BYTES_MAX

    def _hold(self, one: Numbered) -> None:
        while self._held and self._is_full():
            at_ns = self._let_go()[0].timestamp_ns
            missed = self._missed or Missed(0, at_ns, at_ns)
            self._missed = Missed(missed.lines + 1, min(missed.from_ns, at_ns), max(missed.to_ns, at_ns))
        self._held.append(one)
        self._held_bytes += len(one[0].line)
        self._news.set()

    def _let_go(self) -> Numbered:
        one = self._held.popleft()
        self._held_bytes -= len(one[0].line)
        return one

    def _forget(self) -> None:
        """Forget the lines that no poll will find again; where too many would have to be known, look back less far."""
        if len(self._seen) > _SEEN_MAX:
            self._floor_ns = max(self._floor_ns, sorted(self._seen.values())[len(self._seen) // 2])
        self._seen = {key: at_ns for key, at_ns in self._seen.items() if at_ns >= self._floor_ns}
