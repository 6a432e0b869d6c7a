"""What a route rests on: who asks, what they may see, and a reader of Loki on their behalf.

A route takes `Asked` and can read nothing but through it. Who asks was decided at the door (`access`).
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
import msgspec
from fastapi import Depends, Request
from prometheus_client import Gauge

from shipper.api import access, scope
from shipper.api.principal import Principal, Role
from shipper.api.problems import RETRY_AFTER_S, Problem
from shipper.loki.async_reader import AsyncLokiReader
from shipper.settings import Settings

_PATIENCE_S = 60.0
_OWN_MIN = 4  # places of one caller, however few there are


class Places:
    """A bound on how many of something are under way at once in this process.

    Args:
        what: their name, for people.
        most: how many there may be.
        gauge: what shows how many there are.
    """

    def __init__(self, what: str, most: int, gauge: Gauge) -> None:
        self._what, self._most, self._gauge = what, most, gauge
        self._taken: Counter[str] = Counter()

    @asynccontextmanager
    async def place(self, who: str) -> AsyncIterator[None]:
        """Hold a place for somebody; raises Problem where all are taken, or a quarter of them by themselves."""
        total, own = self._taken.total(), self._taken[who]
        if total >= self._most or own >= max(_OWN_MIN, self._most // 4):
            detail = f"{total} {self._what} are under way, {own} of them yours, and that is how many may be"
            raise Problem(503, "busy", f"{detail}; try again in a moment", headers={"Retry-After": str(RETRY_AFTER_S)})
        self._taken[who] += 1
        self._gauge.inc()
        try:
            yield
        finally:
            self._taken[who] -= 1
            if not self._taken[who]:
                del self._taken[who]
            self._gauge.dec()


class Service(msgspec.Struct):
    """What all calls of one process share; `app.state.service`.

    Attributes:
        settings: the configuration.
        client: of Loki.
        shippers: of the hosts that ship.
        streams: the places of tails and exports.
        files: the places of Parquet files.
    """

    settings: Settings
    client: httpx.AsyncClient
    shippers: httpx.AsyncClient
    streams: Places
    files: Places


class Asking(msgspec.Struct):
    """One call: who makes it, and how Loki is read for them.

    Attributes:
        principal: who asks.
        service: what all calls share.
        visit: what the audit is told when the answer is complete.
        timeout_s: how long one question to Loki may take; a route may lower it.
    """

    principal: Principal
    service: Service
    visit: access.Visit
    timeout_s: float

    @property
    def settings(self) -> Settings:
        """The configuration."""
        return self.service.settings

    @property
    def matchers(self) -> list[str]:
        """What every selector of this call must have."""
        return scope.matchers(self.principal)

    def note(self, **facts: object) -> None:
        """Tell the audit and the metrics what was read: `query`, `from`, `to`, `lines`."""
        self.visit.facts.update(facts)

    async def check(self) -> None:
        """Raise Problem 401 where whoever asks may ask no longer: a long answer calls it again and again."""
        if self.visit.why_over and (why := await self.visit.why_over()):
            self.note(over=why)
            raise access.unauthenticated(why)

    def reader(self, *, patient: bool = False) -> AsyncLokiReader:
        """Return the reader of the caller's tenant; `patient`: it tries for a minute, as a long stream should."""
        return AsyncLokiReader(
            self.service.client,
            tenant=self.principal.tenant or self.settings.loki.tenant,
            timeout_s=self.timeout_s,
            retry_deadline_s=_PATIENCE_S if patient else 0,
        )


def service_of(request: Request) -> Service:
    """Return what all calls share."""
    service: Service = request.app.state.service
    return service


def _asking(role: Role) -> Callable[..., Awaitable[Asking]]:
    async def asking(request: Request, principal: Annotated[Principal, Depends(access.require(role))]) -> Asking:
        service = service_of(request)
        return Asking(principal, service, access.visit_of(request), service.settings.api.timeout_s)

    return asking


Asked = Annotated[Asking, Depends(_asking(Role.VIEWER))]
"""The call of somebody who may read logs."""

AskedByOperator = Annotated[Asking, Depends(_asking(Role.OPERATOR))]
"""The call of an operator."""
