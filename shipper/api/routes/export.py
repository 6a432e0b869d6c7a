"""`GET /v1/export`: all lines of a range, oldest first, as NDJSON, CSV or Parquet, while they are read."""

import csv
import io
import time
from collections.abc import AsyncIterator
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from shipper.api import parquet
from shipper.api.access import principal_of
from shipper.api.asking import Asked, Asking, service_of
from shipper.api.cursors import Position
from shipper.api.entries import parse_id, shown
from shipper.api.filters import Filters
from shipper.api.principal import Principal
from shipper.api.problems import Problem, bad_parameter
from shipper.api.scope import LEVEL, SERVICE
from shipper.api.vocabulary import check_services
from shipper.api.walk import Numbered, walk
from shipper.logs import log
from shipper.loki.query_errors import LokiQueryError
from shipper.moments import rfc3339

router = APIRouter(tags=["Logs"])
_PAGE = 2_500  # lines in memory at a time; more are hardly faster
_MEDIA_TYPES = {"ndjson": "application/x-ndjson", "csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
_CSV_CHARS_HELD = 1 << 18  # StringIO has four bytes for each
_CSV_HEAD = ("id", "timestamp", "service", "level", "request_id", "line", "labels", "metadata")
Pages = AsyncIterator[list[Numbered]]


async def _place(request: Request, who: Annotated[Principal, Depends(principal_of)]) -> AsyncIterator[None]:
    """Hold the places that the answer needs until it is complete: a dependency."""
    service = service_of(request)
    async with service.streams.place(who.identity):
        if request.query_params.get("format") == "parquet":
            async with service.files.place(who.identity):
                yield
        else:
            yield


class ExportAsked(Filters):
    """What `GET /v1/export` takes."""

    format: Literal["ndjson", "csv", "parquet"] = Field("ndjson", description="Of what is sent.")
    limit: int | None = Field(None, ge=1, description="So many lines at most; all of them by default.")
    after: str | None = Field(
        None,
        max_length=60,
        description="Go on behind the line with this `id`, the last one that came whole; the other parameters stay.",
    )


@router.get(
    "/v1/export",
    summary="All lines of a range, streamed",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {
                _MEDIA_TYPES["ndjson"]: {
                    "example": '{"id":"…","timestamp":"…","labels":{},"metadata":{},"line":"…"}\n'
                },
                _MEDIA_TYPES["csv"]: {"example": ",".join(_CSV_HEAD) + "\r\n"},
                _MEDIA_TYPES["parquet"]: {},
            }
        }
    },
    dependencies=[Depends(_place)],
)
async def export(asking: Asked, asked: Annotated[ExportAsked, Query()]) -> Response:
    """All lines that meet the conditions, oldest first, of a range as long as you like.

    An answer that is whole ends as HTTP says it must (curl: exit code 0). One that broke is gone on with by `after`: of
    NDJSON and CSV no line comes twice. A Parquet file is whole or nothing: take a large range in parts, with `limit`
    and `after`.
    """
    asking.visit.is_stream = True
    from_ns, to_ns = asked.range_ns(asking, time.time_ns(), bounded=False)
    position = _position(asked, from_ns, to_ns)
    query = await asked.query(asking)
    pages = _limited(asking, asked, query, position)
    first: list[Numbered] = await anext(pages, [])  # what is wrong with the query is said before the answer begins
    if not first and asked.after is None:
        await check_services(asking, (from_ns, to_ns), asked.service)
    name = f"logs-{rfc3339(from_ns)[:19].replace(':', '')}.{asked.format}"
    return Streamed(
        _body(asked.format, _chained(first, pages)),
        media_type=_MEDIA_TYPES[asked.format],
        headers={
            "Cache-Control": "no-store",
            "Content-Disposition": f'attachment; filename="{name}"',
            "X-Export-From": rfc3339(from_ns),
            "X-Export-To": rfc3339(to_ns),
        },
    )


class Streamed(StreamingResponse):
    """An answer that begins when there is something to answer, and that never looks whole when it is not."""

    async def stream_response(self, send: Send) -> None:
        """Send the answer; where Loki fails in the middle, or a token ends, end without the end that HTTP wants."""
        body = aiter(self.body_iterator)
        chunk = await anext(body, b"")  # what goes wrong until here is answered as a problem
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            while chunk:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                chunk = await anext(body, b"")
        except (LokiQueryError, Problem) as error:
            log("warn", "An export broke off; its caller can go on behind its last line", error=str(error))
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _position(asked: ExportAsked, from_ns: int, to_ns: int) -> Position:
    if asked.after is None:
        return Position(from_ns, to_ns, from_ns, b"")
    try:
        at_ns, key = parse_id(asked.after)
    except ValueError as error:
        raise bad_parameter("after", str(error)) from None
    if not from_ns <= at_ns < to_ns:
        raise bad_parameter("after", "this line is not in the range of this call")
    return Position(from_ns, to_ns, at_ns, key)


async def _limited(asking: Asking, asked: ExportAsked, query: str, position: Position) -> Pages:
    left, lines = asked.limit, 0
    tie = asking.settings.api.page_entries
    page = min(tie, _PAGE)
    reading = walk(
        asking.reader(patient=True), query, position, page=page, tie=tie, backward=False, anew=asked.after is None
    )
    async for found in reading:
        await asking.check()
        some = found if left is None else found[:left]
        lines += len(some)
        asking.note(lines=lines)
        yield some
        if left is not None:
            left -= len(some)
            if not left:
                return


async def _chained(first: list[Numbered], pages: Pages) -> Pages:
    if first:
        yield first
    async for page in pages:
        yield page


def _body(form: str, pages: Pages) -> AsyncIterator[bytes]:
    match form:
        case "csv":
            return _csv(pages)
        case "parquet":
            return parquet.parquet(pages)
    return _ndjson(pages)


async def _ndjson(pages: Pages) -> AsyncIterator[bytes]:
    async for page in pages:
        yield b"".join(msgspec.json.encode(shown(*one)) + b"\n" for one in page)


async def _csv(pages: Pages) -> AsyncIterator[bytes]:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_CSV_HEAD)
    yield _taken(text)
    async for page in pages:
        for entry, key in page:
            line = shown(entry, key)
            own = (entry.labels.get(SERVICE, ""), entry.labels.get(LEVEL, ""), entry.metadata.get("request_id", ""))
            rest = (msgspec.json.encode(part).decode() for part in (entry.labels, entry.metadata))
            writer.writerow((line["id"], line["timestamp"], *own, entry.line, *rest))
            if text.tell() > _CSV_CHARS_HELD:
                yield _taken(text)
        yield _taken(text)


def _taken(text: io.StringIO) -> bytes:
    found = text.getvalue().encode()
    text.seek(0)
    text.truncate()
    return found
