"""What goes wrong, as problem details (RFC 9457): every error that the API answers has this form.

    {"type": "urn:shipper:problem:bad-parameter", "title": "A parameter is wrong", "status": 422,
     "detail": "limit: Input should be greater than or equal to 1", "instance": "/v1/logs",
     "parameters": [{"name": "limit", "reason": "Input should be greater than or equal to 1"}]}

`type` is for programs, `detail` a sentence for people. An error that nobody foresaw is answered with an incident's
number, and its story is in the log under that number: its text could hold what the caller may not see.
"""

import secrets
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from shipper.logs import log
from shipper.loki.query_errors import LokiQueryError, SlowError

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
_TYPE = "urn:shipper:problem:"
_SHOWN_MAX = 300

_TITLES = {
    "bad-parameter": "A parameter is wrong",
    "bad-query": "Loki cannot read this query",
    "bad-cursor": "This cursor belongs to another query or caller",
    "not-found": "There is no such thing",
    "unknown-service": "There is no such service",
    "unauthenticated": "Nobody says who asks",
    "forbidden": "This is not allowed",
    "too-large": "This is too large",
    "too-much": "This is asked too often",
    "busy": "Too much is under way",
    "loki-away": "Loki does not answer",
    "loki-slow": "Loki did not answer in time",
    "loki-refuses": "Loki refuses this service",
    "internal": "A mistake in the log API",
}
"""The kinds of problems: the end of `type` → `title`."""


class ProblemDetails(BaseModel):
    """Problem details, for the OpenAPI document."""

    type: str = Field(examples=["urn:shipper:problem:bad-parameter"])
    title: str = Field(examples=["A parameter is wrong"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["limit: Input should be greater than or equal to 1"])
    instance: str | None = Field(None, examples=["/v1/logs"])
    parameters: list[dict[str, str]] | None = Field(
        None, examples=[[{"name": "limit", "reason": "Input should be greater than or equal to 1"}]]
    )


DOCUMENTED: dict[str, Any] = {
    "description": "Problem details (RFC 9457)",
    "content": {CONTENT_TYPE: {"schema": ProblemDetails.model_json_schema()}},
}
"""The answer of every error, for FastAPI's `responses`."""


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """Answered as problem details; raise it anywhere below a route.

    Args:
        status: of HTTP.
        kind: one of the kinds above, or of another module's; it ends `type`.
        detail: a sentence that says what was wrong and what helps.
        parameter: the name of the parameter that is wrong, if one is.
        headers: added to the answer's.
        more: members beside the standard ones.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        parameter: str = "",
        headers: Mapping[str, str] | None = None,
        **more: Any,  # noqa: ANN401 - whatever JSON can hold
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail = status, kind, detail
        self.parameter, self.headers, self.more = parameter, dict(headers or {}), more

    def document(self, instance: str = "") -> dict[str, Any]:
        """Return the JSON document; an event of a stream has the same one."""
        named = [{"name": self.parameter, "reason": self.detail}] if self.parameter else []
        return {
            "type": _TYPE + self.kind,
            "title": _TITLES.get(self.kind) or self.kind.replace("-", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            **({"instance": instance} if instance else {}),
            **({"parameters": named} if named else {}),
            **self.more,
        }


def bad_parameter(name: str, reason: str, status: int = 422) -> Problem:
    """Return the problem of one wrong parameter, which its sentence names."""
    return Problem(status, "bad-parameter", f"{name}: {reason}", parameter=name)


def of_loki(error: LokiQueryError) -> Problem:
    """Return what a failure of Loki's is to the caller: a wrong query is the caller's, all else is not."""
    said = " ".join(error.text.split())[:_SHOWN_MAX]
    retry = {"Retry-After": str(RETRY_AFTER_S)}
    if not error.url:  # no answer of Loki's, but what cannot be read from it at all
        return Problem(422, "too-large", said)
    if isinstance(error, SlowError):
        return Problem(
            504, "loki-slow", "Loki did not answer in time; ask for a shorter range, or filter more", headers=retry
        )
    if error.status == HTTPStatus.BAD_REQUEST:
        return Problem(400, "bad-query", f"Loki says: {said}")
    if error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Problem(502, "loki-refuses", "Loki refuses the log API's own credentials; its operator has to look")
    if error.status == HTTPStatus.TOO_MANY_REQUESTS:
        return Problem(503, "busy", "Loki has too much to do; try again in a moment", headers=retry)
    return Problem(
        503, "loki-away", "Loki does not answer as it must; nothing is lost, try again in a moment", headers=retry
    )


def respond(request: Request, problem: Problem) -> Response:
    """Return the answer to a request that met a problem."""
    return Response(
        msgspec.json.encode(problem.document(request.url.path)),
        status_code=problem.status,
        headers={"Cache-Control": "no-store", **problem.headers},
        media_type=CONTENT_TYPE,
    )


def install(app: FastAPI) -> None:
    """See that every error of the application is answered as problem details."""

    @app.exception_handler(Problem)
    async def _(request: Request, error: Problem) -> Response:
        return respond(request, error)

    @app.exception_handler(LokiQueryError)
    async def _(request: Request, error: LokiQueryError) -> Response:
        problem = of_loki(error)
        if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log("warn", "Loki could not be read", path=request.url.path, error=str(error))
        return respond(request, problem)

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> Response:
        return respond(request, _of_validation(error.errors()))

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> Response:
        kind = (
            "not-found"
            if error.status_code == HTTPStatus.NOT_FOUND
            else HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
        )
        detail = str(error.detail)
        if error.status_code == HTTPStatus.NOT_FOUND:
            detail = f"there is nothing at {request.url.path[:_SHOWN_MAX]}; /docs lists what there is"
        return respond(request, Problem(error.status_code, kind, detail, headers=error.headers))

    @app.exception_handler(Exception)
    async def _(request: Request, error: Exception) -> Response:
        return respond(request, unforeseen(request.url.path, error))


def unforeseen(path: str, error: Exception) -> Problem:
    """Log an error that nobody foresaw, and return what the caller is told of it: a number."""
    incident = secrets.token_hex(6)
    log("error", "A call failed in a way that nobody foresaw", incident=incident, path=path, error=repr(error))
    return Problem(
        500, "internal", f"this is a mistake of ours; its log has the incident {incident}", incident=incident
    )


def _of_validation(errors: Sequence[Any]) -> Problem:
    found = []
    for error in errors:
        where, *path = error["loc"]
        reason = error["msg"].removeprefix("Value error, ")
        if error["type"] == "extra_forbidden":
            reason = "there is no such parameter"
        found.append(
            {
                "name": ".".join(map(str, path))[:_SHOWN_MAX] or str(where),
                "in": str(where),
                "reason": reason[:_SHOWN_MAX],
            }
        )
    detail = "; ".join(f"{one['name']}: {one['reason']}" for one in found[:5])
    return Problem(422, "bad-parameter", detail, parameters=found)
