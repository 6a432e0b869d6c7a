"""`GET /v1/logs/context`: the lines before and after one line."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from shipper.api.answers import answer
from shipper.api.asking import Asked, Asking
from shipper.api.cursors import Position
from shipper.api.entries import Line, digest, parse_id, shown
from shipper.api.problems import bad_parameter
from shipper.api.scope import SERVICE
from shipper.api.walk import Numbered, walk
from shipper.loki.logql import matcher, selector
from shipper.moments import EARLIEST_NS, LATEST_NS, NS, duration_ns, rfc3339

router = APIRouter(tags=["Logs"])


class ContextAsked(BaseModel):
    """What `GET /v1/logs/context` takes."""

    model_config = ConfigDict(extra="forbid")

    line: str = Field(max_length=60, description="`id` of the line.", examples=["1763974800123000007-9f86d081884c7d65"])
    before: int = Field(20, ge=0, le=500, description="So many lines before it at most.")
    after: int = Field(20, ge=0, le=500, description="So many lines after it at most.")
    everywhere: bool = Field(
        default=False, description="Of all services that the caller may see, not of the line's alone."
    )
    within: str = Field("1h", max_length=20, description="No further away than this.", examples=["15m"])


class Context(BaseModel):
    """A line and its neighbours, all in order of time."""

    before: list[Line]
    line: Line
    after: list[Line]


@router.get("/v1/logs/context", summary="The lines before and after one line", response_model=Context)
async def context(request: Request, asking: Asked, asked: Annotated[ContextAsked, Query()]) -> Response:
    """The neighbours of a line, of the same service or of all of them, oldest first."""
    try:
        at_ns, key = parse_id(asked.line)
    except ValueError as error:
        raise bad_parameter("line", str(error)) from None
    try:
        within_ns = duration_ns(asked.within)
    except ValueError:
        raise bad_parameter("within", f"{asked.within!r} is no duration: give 15m, 1h") from None
    if within_ns > asking.settings.api.range_max_s * NS:
        raise bad_parameter("within", "this is longer than any range may be")
    line = await _line(asking, at_ns, key)
    services = [line[0].labels[SERVICE]] if SERVICE in line[0].labels and not asked.everywhere else []
    query = selector([*asking.matchers, *(matcher(SERVICE, [one]) for one in services)], anything=SERVICE)
    position = Position(max(EARLIEST_NS, at_ns - within_ns), min(at_ns + within_ns + 1, LATEST_NS), at_ns, key)
    asking.note(query=query, **{"from": rfc3339(position.from_ns), "to": rfc3339(position.to_ns)})
    before = await _neighbours(asking, query, position, asked.before, backward=True)
    after = await _neighbours(asking, query, position, asked.after, backward=False)
    asking.note(lines=len(before) + 1 + len(after))
    document: dict[str, Any] = {
        "before": [shown(*one) for one in reversed(before)],
        "line": shown(*line),
        "after": [shown(*one) for one in after],
    }
    return answer(request, document)


async def _line(asking: Asking, at_ns: int, key: bytes) -> Numbered:
    query = selector(asking.matchers, anything=SERVICE)
    page = asking.settings.api.page_entries
    async for entries in asking.reader().pages(query, at_ns, at_ns + 1, page=page):
        for entry in entries:
            if digest(entry) == key:
                return entry, key
    raise bad_parameter("line", "there is no such line, or none that you may see", status=404)


async def _neighbours(asking: Asking, query: str, position: Position, most: int, *, backward: bool) -> list[Numbered]:
    if not most:
        return []
    found: list[Numbered] = []
    tie = asking.settings.api.page_entries
    async for lines in walk(asking.reader(), query, position, page=most + 2, tie=tie, backward=backward, anew=False):
        found += lines
        if len(found) >= most:
            break
    return found[:most]
