"""`POST /v1/logql`: a query in LogQL, for operators: what the other calls cannot express."""

import time
from http import HTTPStatus
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request
from pydantic import AfterValidator, BaseModel, Field
from starlette.responses import Response

from shipper.api.answers import answer
from shipper.api.asking import AskedByOperator
from shipper.api.filters import Limit, Window, check_text, limit_of
from shipper.api.problems import Problem, bad_parameter
from shipper.loki.logql import narrowed
from shipper.loki.query_answers import Answer
from shipper.loki.query_errors import LokiQueryError

router = APIRouter(tags=["Operators"])
_SAID_MAX = 300
_EXAMPLE = 'sum by (service) (rate({service=~".+"} | json | status >= 500 [5m]))'


class LogqlAsked(Window):
    """What `POST /v1/logql` takes."""

    query: Annotated[str, AfterValidator(check_text)] = Field(min_length=2, max_length=10_000, examples=[_EXAMPLE])
    limit: Limit = None
    direction: Literal["backward", "forward"] = "backward"
    step: int | None = Field(None, ge=1, le=86_400, description="Seconds between two samples, where it gives samples.")


class LogqlFound(BaseModel):
    """What Loki found."""

    type: str = Field(description="streams: lines; matrix: samples.", examples=["matrix"])
    result: list[Any] = Field(
        description="As Loki's API has it.", examples=[[{"metric": {}, "values": [[1763974800, "3"]]}]]
    )
    query: str = Field(description="What Loki was asked.", examples=[_EXAMPLE])


class _Stream(msgspec.Struct):
    values: list[msgspec.Raw]


class _Raw(msgspec.Struct, rename="camel"):
    result_type: str
    result: msgspec.Raw


@router.post("/v1/logql", summary="A query in LogQL, for operators", response_model=LogqlFound)
async def logql(request: Request, asking: AskedByOperator, asked: LogqlAsked) -> Response:
    """Ask Loki a query in LogQL over a range; what comes back is Loki's own result, by its type.

    What the caller may see is added to every selector of the query. It may hold no comments and no quotes of another
    kind.
    """
    limit = limit_of(asked.limit, asking)
    from_ns, to_ns = asked.range_ns(asking, time.time_ns())
    try:
        query = narrowed(asked.query, asking.matchers)
    except ValueError as error:
        raise bad_parameter("query", str(error)) from None
    asking.note(query=query)
    question: dict[str, str | int | float] = {
        "query": query,
        "start": from_ns,
        "end": to_ns,
        "limit": limit,
        "direction": asked.direction,
    }
    if asked.step:
        question["step"] = asked.step
    try:
        found = (await asking.reader().get("/query_range", question, Answer[_Raw])).data
    except LokiQueryError as error:
        if error.status == HTTPStatus.BAD_REQUEST:
            raise Problem(400, "bad-query", f"query: {error.text.strip()[:_SAID_MAX]}", parameter="query") from None
        raise
    document: dict[str, Any] = {"type": found.result_type, "result": found.result, "query": query}
    asking.note(lines=_lines(found))
    return answer(request, document)


def _lines(found: _Raw) -> int:
    if found.result_type != "streams":
        return 0
    return sum(len(stream.values) for stream in msgspec.json.decode(found.result, type=list[_Stream]))
