"""`GET /v1/traces/{request_id}`: one request across services, as JSON or as text for a terminal."""

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from shipper.api.answers import answer
from shipper.api.asking import Asked
from shipper.api.cursors import Position
from shipper.api.entries import Line
from shipper.api.filters import Window, check_text
from shipper.api.problems import bad_parameter
from shipper.api.scope import SERVICE
from shipper.api.traces import document, text, trace_of
from shipper.api.walk import Numbered, walk
from shipper.loki.logql import quoted, selector

router = APIRouter(tags=["Logs"])


class TraceAsked(Window):
    """What `GET /v1/traces/{request_id}` takes beside the id."""

    format: Literal["json", "text"] | None = Field(
        None, description="text: for a terminal; else what the header Accept prefers."
    )


class TraceStep(Line):
    """A line of the request, and what it says."""

    offset_ms: float = Field(alias="offsetMs", description="Since the request's first line.", examples=[12.5])
    service: str = Field(examples=["chat-service"])
    level: str = Field(examples=["info"])
    message: str = Field(examples=["Message stored"])
    duration_ms: float | None = Field(alias="durationMs", description="As the line says it.", examples=[4.0])
    error: str | None = Field(description="The type of the error that the line tells of.", examples=["TimeoutError"])


class TraceService(BaseModel):
    """What a service had to do with the request."""

    name: str = Field(examples=["chat-service"])
    lines: int = Field(examples=[3])
    offset_ms: float = Field(alias="offsetMs", examples=[3.5])
    duration_ms: float = Field(alias="durationMs", description="From its first line to its last.", examples=[9.0])
    errors: int = Field(examples=[0])


class TraceFound(BaseModel):
    """All lines of a request, oldest first."""

    request_id: str = Field(alias="requestId", examples=["0e32a00a-2024-498f-a4ed-51ee263ed0f2"])
    from_: str = Field(alias="from", examples=["2026-11-24T09:00:00.123000007Z"])
    to: str = Field(examples=["2026-11-24T09:00:00.305000011Z"])
    duration_ms: float = Field(alias="durationMs", examples=[182.0])
    complete: bool = Field(description="Whether these are all lines.")
    services: list[TraceService]
    first_error: TraceStep | None = Field(alias="firstError")
    steps: list[TraceStep]


@router.get(
    "/v1/traces/{request_id}",
    summary="One request across services",
    response_model=TraceFound,
    responses={200: {"content": {"text/plain": {"example": "request 0e32a00a: 12 lines of 4 services in 182.0 ms\n"}}}},
)
async def trace(
    request: Request,
    asking: Asked,
    request_id: Annotated[str, Path(min_length=1, max_length=200, description="Or a trace id.")],
    asked: Annotated[TraceAsked, Query()],
) -> Response:
    """Lines of a request in all services that the caller may see: in order, with durations and the first error."""
    try:
        check_text(request_id)
    except ValueError as error:
        raise bad_parameter("request_id", str(error)) from None
    from_ns, to_ns = asked.range_ns(asking, time.time_ns())
    wanted = quoted(request_id)
    query = f"{selector(asking.matchers, anything=SERVICE)} | request_id={wanted} or trace_id={wanted}"
    asking.note(query=query)
    most = asking.settings.api.lines_max
    lines: list[Numbered] = []
    position, tie = Position(from_ns, to_ns, from_ns, b""), asking.settings.api.page_entries
    async for some in walk(asking.reader(), query, position, page=most + 2, tie=tie, backward=False, anew=True):
        lines += some
        if len(lines) > most:
            break
    if not lines:
        reason = "no line of this request is in the range; it may be older: give `from`, as from=1d"
        raise bad_parameter("request_id", reason, status=404)
    found = trace_of(request_id, lines[:most], complete=len(lines) <= most)
    asking.note(lines=len(found.steps))
    if _as_text(request, asked):
        return answer(request, text(found), media_type="text/plain")
    return answer(request, document(found))


def _as_text(request: Request, asked: TraceAsked) -> bool:
    if asked.format:
        return asked.format == "text"
    accepted = request.headers.get("Accept", "")
    return "text/plain" in accepted and "json" not in accepted
