"""`GET /v1/stats`: how many lines there are, by service, level and time, and what errors say most often."""

import asyncio
import math
import time
from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from shipper.api.answers import answer
from shipper.api.asking import Asked, Asking
from shipper.api.filters import Filters
from shipper.api.patterns import patterns
from shipper.api.problems import bad_parameter
from shipper.api.scope import LEVEL, LEVELS, SERVICE
from shipper.api.vocabulary import check_services
from shipper.loki.paging import StreamEntry
from shipper.loki.query_answers import Answer, Result, Samples
from shipper.moments import NS, duration_ns, rfc3339

router = APIRouter(tags=["Logs"])
_BUCKETS_MAX = 1_000
_BUCKETS_WANTED = 60
_NICE_S = (1, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400)


class StatsAsked(Filters):
    """What `GET /v1/stats` takes."""

    step: str | None = Field(None, description="Length of a bucket, in whole seconds.", examples=["5m"], max_length=20)
    top: int = Field(10, ge=0, le=100, description="So many patterns of error messages at most; 0: none.")


class Count(BaseModel):
    """How many lines a service has of a level."""

    service: str = Field(examples=["chat-service"])
    level: str = Field(examples=["error"])
    lines: int = Field(examples=[17])


class Bucket(Count):
    """The same, of one bucket."""

    to: str = Field(description="The bucket's end, inclusive.", examples=["2026-11-24T09:05:00.000000000Z"])


class ErrorPattern(BaseModel):
    """Messages of one pattern."""

    service: str = Field(examples=["api-gateway"])
    pattern: str = Field(examples=["Upstream <text> did not answer within <n> ms"])
    lines: int = Field(examples=[12])
    example: str = Field(examples=["Upstream 'auth' did not answer within 250 ms"])
    error: str = Field(examples=["TimeoutError"])


class Errors(BaseModel):
    """What error and fatal lines say."""

    patterns: list[ErrorPattern]
    read: int = Field(description="So many of the newest error lines were looked at.", examples=[17])
    complete: bool = Field(description="Whether these were all.")


class Stats(BaseModel):
    """Counts of lines."""

    from_: str = Field(
        alias="from", description="Widened to whole buckets; exclusive.", examples=["2026-11-24T08:00:00.000000000Z"]
    )
    to: str = Field(description="Widened to whole buckets; inclusive.", examples=["2026-11-24T09:00:00.000000000Z"])
    step: str = Field(examples=["60s"])
    lines: int = Field(examples=[17])
    counts: list[Count]
    buckets: list[Bucket]
    errors: Errors
    query: str = Field(examples=['{service="chat-service"}'])


@router.get("/v1/stats", summary="Counts by service, level and time; top error messages", response_model=Stats)
async def stats(request: Request, asking: Asked, asked: Annotated[StatsAsked, Query()]) -> Response:
    """Counts of the lines that meet the conditions, and the patterns of the newest error messages.

    Counts are Loki's: a line that was stored twice after a crash may count twice. The range is widened to whole
    buckets.
    """
    range_ns = asked.range_ns(asking, time.time_ns())
    query = await asked.query(asking)
    step_ns = _step_ns(asked.step, range_ns)
    first_ns, last_ns = range_ns[0] // step_ns * step_ns, -(-range_ns[1] // step_ns) * step_ns
    buckets = await _buckets(asking, query, first_ns, last_ns, step_ns)
    counts: Counter[tuple[str, str]] = Counter()
    for _, service, level, lines in buckets:
        counts[service, level] += lines
    if not counts:
        await check_services(asking, range_ns, asked.service)
    found, complete = await _errors(asking, asked, range_ns) if asked.top else ([], False)
    asking.note(lines=len(found))
    said = await asyncio.to_thread(patterns, found, top=asked.top) if found else []
    document = {
        "from": rfc3339(first_ns),
        "to": rfc3339(last_ns),
        "step": f"{step_ns // NS}s",
        "lines": counts.total(),
        "counts": [
            {"service": service, "level": level, "lines": lines} for (service, level), lines in sorted(counts.items())
        ],
        "buckets": [
            {"to": rfc3339(at_ns), "service": service, "level": level, "lines": lines}
            for at_ns, service, level, lines in sorted(buckets)
        ],
        "errors": {"patterns": said, "read": len(found), "complete": complete},
        "query": query,
    }
    return answer(request, document)


def _step_ns(text: str | None, range_ns: tuple[int, int]) -> int:
    span_ns = range_ns[1] - range_ns[0]
    if text is None:
        wanted = span_ns / NS / _BUCKETS_WANTED
        return next((step for step in _NICE_S if step >= wanted), math.ceil(wanted / 86_400) * 86_400) * NS
    try:
        step_ns = duration_ns(text)
    except ValueError:
        raise bad_parameter("step", f"{text!r} is no duration: give 10s, 5m, 1h") from None
    if step_ns < NS or step_ns % NS:
        raise bad_parameter("step", "a bucket has a whole number of seconds, and at least one")
    if span_ns / step_ns > _BUCKETS_MAX:
        raise bad_parameter("step", f"the range has more than {_BUCKETS_MAX} buckets of this length")
    return step_ns


async def _buckets(
    asking: Asking, query: str, first_ns: int, last_ns: int, step_ns: int
) -> list[tuple[int, str, str, int]]:
    """Return the end of each bucket that has lines, service, level and how many."""
    step_s = step_ns // NS
    question: dict[str, str | int | float] = {
        "query": f"sum by ({SERVICE}, {LEVEL}) (count_over_time({query} [{step_s}s]))",
        "start": first_ns + step_ns,
        "end": last_ns,
        "step": step_s,
    }
    found = (await asking.reader().get("/query_range", question, Answer[Result[Samples]])).data.result
    return [
        (int(at_s) * NS, one.metric.get(SERVICE, "unknown"), one.metric.get(LEVEL, "unknown"), lines)
        for one in found
        for at_s, value in one.values
        if (lines := int(float(value)))
    ]


async def _errors(asking: Asking, asked: StatsAsked, range_ns: tuple[int, int]) -> tuple[list[StreamEntry], bool]:
    """Return the newest error lines, and whether these are all."""
    serious = asked.level if asked.level and LEVELS.index(asked.level) > LEVELS.index("error") else "error"
    query = await asked.model_copy(update={"level": serious}).query(asking)
    most = asking.settings.api.lines_max
    found: list[StreamEntry] = []
    async for entries in asking.reader().pages(query, *range_ns, page=most + 1, tie=most + 1, backward=True):
        found += entries
        if len(found) > most:
            return found[:most], False
    return found, True
