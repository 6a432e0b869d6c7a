"""Mistakes on demand, so that whoever drives traffic knows what there was: `X-Fault: user:stuck*1, chat:slow`.

Each is `service:kind`, and `*n`: only the first n attempts. The header goes on to the services behind, over HTTP and
Kafka. Without CHAT_FAULTS=1 in the environment it does nothing.

| kind | of | does |
|---|---|---|
| slow | auth, user, chat | answers late, but in time |
| stuck | auth, user, chat | answers too late for the gateway |
| unavailable | auth, user, chat | 503 |
| exception | gateway, user, chat | raises what nobody expects |
| provider_timeout, provider_throttled, provider_rejected | notification | what the provider answers |
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from http import HTTPStatus
from typing import Final

from fastapi import HTTPException, Request

HEADER: Final = "x-fault"
ATTEMPT: Final = "x-attempt"
UPSTREAM_TIMEOUT_S: Final = float(os.environ.get("UPSTREAM_TIMEOUT_S", "2"))
SLOW_S: Final = 0.25
_TOO_LATE_S: Final = 0.5

_given: ContextVar[str] = ContextVar("chat_faults", default="")
_attempt: ContextVar[int] = ContextVar("chat_attempt", default=1)


def header() -> str:
    """Return the mistakes that were asked for, to be handed on; empty where there are none."""
    return _given.get()


def wanted(service: str, *, given: str | None = None, attempt: int | None = None) -> str:
    """Say which mistake this service shall make now; empty for none.

    Args:
        service: its short name, as `chat`.
        given: the header; that of the request at hand by default.
        attempt: which attempt this is, from 1; that of the request at hand by default.
    """
    if not _are_on():
        return ""
    number = _attempt.get() if attempt is None else attempt
    for one in (_given.get() if given is None else given).split(","):
        name, _, what = one.strip().partition(":")
        kind, _, times = what.partition("*")
        if name == service and (not times or number <= int(times)):
            return kind
    return ""


def acting_for(service: str) -> Callable[[Request], Awaitable[None]]:
    """Return a dependency that takes the header over for the request, and is slow, stuck or away if it says so."""

    async def act(request: Request) -> None:
        if not _are_on():
            return
        _given.set(request.headers.get(HEADER, ""))
        attempt = request.headers.get(ATTEMPT, "")
        _attempt.set(int(attempt) if attempt.isdecimal() else 1)
        kind = wanted(service)
        if kind == "slow":
            await asyncio.sleep(SLOW_S)
        elif kind == "stuck":
            await asyncio.sleep(UPSTREAM_TIMEOUT_S + _TOO_LATE_S)
        elif kind == "unavailable":
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, "out of order")

    return act


def _are_on() -> bool:
    return os.environ.get("CHAT_FAULTS") == "1"
