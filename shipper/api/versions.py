"""Versions in headers: who changes something says which version he saw, and who waits says which one he has.

These ETags are strong, and a write changes them: `If-Match` makes of two that change the same thing one that wins.
"""

import re
from typing import Annotated, Any, Final

import msgspec
from fastapi import Header, Request
from starlette.responses import Response

from shipper.api.problems import Problem

_WAIT_MAX_S: Final = 30.0
_PREFER: Final = re.compile(r"(?:^|[,;\s])wait=([0-9]{1,3})(?:$|[,;\s])")
_HEADERS: Final = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}

IfMatch = Annotated[
    str | None,
    Header(max_length=200, description="The ETag that was seen; 412 if it is another by now. `*`: whatever there is."),
]


def not_modified(request: Request, etag: str) -> bool:
    """Say whether the caller has this version."""
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    return etag in known or ("*" in known)


def tagged(request: Request, document: dict[str, Any], etag: str, applied: dict[str, str] | None = None) -> Response:
    """Return a document under its version; 304 to a GET that names it."""
    headers = {**_HEADERS, "ETag": etag, **(applied or {})}
    if request.method == "GET" and not_modified(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(msgspec.json.encode(document), headers=headers, media_type="application/json")


def wait_s(parameter: float | None, prefer: str) -> tuple[float, dict[str, str]]:
    """Return how long the caller is ready to wait, and the headers that say so (RFC 7240)."""
    if parameter is not None:
        return min(parameter, _WAIT_MAX_S), {}
    if found := _PREFER.search(prefer):
        seconds = min(float(found[1]), _WAIT_MAX_S)
        return seconds, {"Preference-Applied": f"wait={seconds:g}"}
    return 0.0, {}


def expected_version(if_match: str | None, etag: str, *, exists: bool) -> None:
    """Raise Problem 412 if the caller expects another version than there is."""
    if if_match is None:
        return
    names = [one.strip() for one in if_match.split(",")]
    if not (exists if "*" in names else etag in names):
        raise changed_meanwhile()


def changed_meanwhile() -> Problem:
    """Return the problem of one who was too late."""
    return Problem(412, "changed-meanwhile", "it was changed by somebody else meanwhile: read it again, then decide")
