"""`GET /v1/logs`: the lines of a range, page by page."""

import time
from bisect import bisect_right
from itertools import accumulate
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from shipper.api import cursors
from shipper.api.answers import answer
from shipper.api.asking import Asked, Asking
from shipper.api.cursors import Position
from shipper.api.entries import Line, shown
from shipper.api.filters import Filters, Limit, limit_of
from shipper.api.vocabulary import check_services
from shipper.api.walk import Numbered, after, walk
from shipper.moments import rfc3339

router = APIRouter(tags=["Logs"])
_PAGE_BYTES_MAX = 16 << 20  # then a page ends early, with a cursor


class LogsAsked(Filters):
    """What `GET /v1/logs` takes."""

    limit: Limit = None
    direction: Literal["backward", "forward"] = Field("backward", description="Newest first, or oldest first.")
    cursor: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="`cursor` of the page before; the other parameters stay as they were."
    )


class LogsPage(BaseModel):
    """A page of lines."""

    lines: list[Line]
    cursor: str | None = Field(description="For the next page; null: there is none.")
    from_: str = Field(alias="from", examples=["2026-11-24T08:00:00.000000000Z"])
    to: str = Field(examples=["2026-11-24T09:00:00.000000000Z"])
    query: str = Field(description="What Loki was asked, in LogQL.", examples=['{service="chat-service"} |= "timeout"'])


@router.get("/v1/logs", summary="Lines of a range, page by page", response_model=LogsPage)
async def logs(request: Request, asking: Asked, asked: Annotated[LogsAsked, Query()]) -> Response:
    """Lines that meet all the conditions, newest first; `cursor` leads to the next page.

    Walking all pages gives each line once, however many share a nanosecond and whatever arrives meanwhile.
    """
    limit = limit_of(asked.limit, asking)
    position, anew = _position(asking, asked)
    query = await asked.query(asking)
    backward = asked.direction == "backward"
    found: list[Numbered] = []
    held_bytes = 0
    # One more than asked for tells whether there are more; one was delivered already, where there is a cursor.
    tie = asking.settings.api.page_entries
    reading = walk(asking.reader(), query, position, page=limit + 2, tie=tie, backward=backward, anew=anew)
    async for lines in reading:
        found += lines
        held_bytes += sum(len(entry.line) for entry, _ in lines)
        if len(found) > limit or held_bytes > _PAGE_BYTES_MAX:
            break
    if not found and anew:
        await check_services(asking, (position.from_ns, position.to_ns), asked.service)
    page = _page(found, limit)
    more = len(page) < len(found)
    asking.note(lines=len(page))
    return answer(request, _document(page, asking, asked, query, position, more=more))


def _page(found: list[Numbered], limit: int) -> list[Numbered]:
    """Return what fits into a page: one line, and more as long as they are not too large."""
    sizes = accumulate(len(entry.line) for entry, _ in found[:limit])
    return found[: max(1, bisect_right(list(sizes), _PAGE_BYTES_MAX))]


def _position(asking: Asking, asked: LogsAsked) -> tuple[Position, bool]:
    if asked.cursor is None:
        from_ns, to_ns = asked.range_ns(asking, time.time_ns())
        return Position(from_ns, to_ns, from_ns, bytes(8)), True
    position = cursors.read(asked.cursor, asking.principal, asked.asked_for())
    fixed = asked.model_copy(update={"from_": rfc3339(position.from_ns), "to": rfc3339(position.to_ns)})
    fixed.range_ns(asking, position.to_ns)
    return position, False


def _document(
    page: list[Numbered], asking: Asking, asked: LogsAsked, query: str, position: Position, *, more: bool
) -> dict[str, Any]:
    cursor = cursors.write(after(position, page[-1]), asking.principal, asked.asked_for()) if more else None
    return {
        "lines": [shown(*one) for one in page],
        "cursor": cursor,
        "from": rfc3339(position.from_ns),
        "to": rfc3339(position.to_ns),
        "query": query,
    }
