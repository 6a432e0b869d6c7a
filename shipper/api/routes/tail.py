"""`GET /v1/tail`: new lines as they come, as Server-Sent Events."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Header, Query, Request
from pydantic import Field
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import Response

from shipper.api import metrics
from shipper.api.access import principal_of
from shipper.api.asking import Asked, Asking, service_of
from shipper.api.entries import id_of, parse_id, shown
from shipper.api.filters import Filters, Moment
from shipper.api.following import Following, Found, Happening, Mark, Missed
from shipper.api.principal import Principal
from shipper.api.problems import Problem, bad_parameter
from shipper.moments import NS, rfc3339

router = APIRouter(tags=["Logs"])
_STUCK_S = 120  # a reader who takes nothing for so long is gone
_CHECK_EVERY_S = 3
_EXAMPLE = """id: 1763974800123000007-9f86d081884c7d65
event: line
data: {"id":"1763974800123000007-9f86d081884c7d65","timestamp":"2026-11-24T09:00:00.123000007Z","labels":{},"line":"…"}

event: missed
data: {"lines":1200,"from":"2026-11-24T09:00:01.000000000Z","to":"2026-11-24T09:00:02.000000000Z"}

: ping
"""


class TailAsked(Filters):
    """What `GET /v1/tail` takes."""

    from_: Moment | None = Field(None, alias="from", description="Begin with the lines since then. Now by default.")
    to: None = Field(None, description="A tail has no end.")


async def _place(request: Request, who: Annotated[Principal, Depends(principal_of)]) -> AsyncIterator[None]:
    """Hold a place until the answer is complete: a dependency."""
    async with service_of(request).streams.place(who.identity):
        yield


@router.get(
    "/v1/tail",
    summary="New lines as they come",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {"example": _EXAMPLE}}}},
    dependencies=[Depends(_place)],
)
async def tail(
    asking: Asked,
    asked: Annotated[TailAsked, Query()],
    last_event_id: Annotated[str | None, Header(max_length=60, description="Go on behind this event.")] = None,
) -> Response:
    """Lines that meet the conditions, as Server-Sent Events, until the caller goes away.

    It ends with its token, after a `problem` that says so.

    Events: `line`; `missed`, when the reader is too slow: so many lines before the next one were left out; `problem`,
    when Loki does not answer: it is tried again. A comment is sent when nothing else is. With Last-Event-ID it goes on
    where it broke; lines that arrive late would be lost there, so those of the last seconds before come again.
    """
    start_ns, mark = _start(asking, asked, last_event_id)
    api = asking.settings.api
    following = Following(
        asking.reader(),
        await asked.query(asking),
        start_ns,
        mark=mark,
        poll_s=api.tail_poll_s,
        lateness_s=api.tail_lateness_s,
        lines_max=api.tail_lines_max,
    )
    asking.visit.is_stream = True
    return EventSourceResponse(
        _events(asking, following),
        ping=api.tail_heartbeat_s,
        send_timeout=_STUCK_S,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def _start(asking: Asking, asked: TailAsked, last_event_id: str | None) -> tuple[int, Mark | None]:
    now_ns = time.time_ns()
    if last_event_id:
        try:
            mark = parse_id(last_event_id)
        except ValueError as error:
            raise bad_parameter("Last-Event-ID", str(error)) from None
        start_ns = mark[0] - int(asking.settings.api.tail_lateness_s * NS)
        asked = asked.model_copy(update={"from_": rfc3339(start_ns)})
        return asked.range_ns(asking, max(now_ns, mark[0] + 1))[0], mark
    if asked.from_:
        return asked.range_ns(asking, now_ns)[0], None
    asking.note(**{"from": rfc3339(now_ns)})
    return now_ns, None


async def _events(asking: Asking, following: Following) -> AsyncIterator[ServerSentEvent]:
    lines = 0
    poller, checker = asyncio.create_task(following.run()), asyncio.create_task(_checked(asking))
    taking: asyncio.Task[list[Happening]] | None = None
    try:
        # Says at once that the tail is there: some proxies hold an answer back until its first bytes.
        yield ServerSentEvent(comment="following")
        while not poller.done() and not checker.done():
            taking = asyncio.create_task(following.take())
            await asyncio.wait({taking, poller, checker}, return_when=asyncio.FIRST_COMPLETED)
            if not taking.done() or checker.done():
                break
            for happening in taking.result():
                lines += isinstance(happening, Found)
                asking.note(lines=lines)
                yield _event(happening)
        if checker.done():
            yield _event(checker.result())
            return
        await poller  # it never ends but by a mistake, which is to be seen
    finally:
        poller.cancel()
        checker.cancel()
        if taking:
            taking.cancel()


async def _checked(asking: Asking) -> Problem:
    """Return why, as soon as whoever asks may ask no longer."""
    while True:
        try:
            await asking.check()
        except Problem as over:
            return over
        await asyncio.sleep(_CHECK_EVERY_S)


def _event(happening: Happening) -> ServerSentEvent:
    match happening:
        case Missed(lines, from_ns, to_ns):
            metrics.MISSED.inc(lines)
            return _named("missed", {"lines": lines, "from": rfc3339(from_ns), "to": rfc3339(to_ns)})
        case Problem():
            return _named("problem", happening.document("/v1/tail"))
    return _named("line", shown(happening.entry, happening.digest), id_of(*happening.mark))


def _named(name: str, document: dict[str, Any], event_id: str | None = None) -> ServerSentEvent:
    return ServerSentEvent(msgspec.json.encode(document).decode(), event=name, id=event_id)
