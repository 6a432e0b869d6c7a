"""`/docs` and `/openapi.json`: what the API can do, as a document, and as one page that loads nothing."""

from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from shipper.api.access import unless_open
from shipper.api.answers import answer
from shipper.api.documentation import page

router = APIRouter(include_in_schema=False, dependencies=[Depends(unless_open)])
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def _document(request: Request) -> dict[str, Any]:
    document: dict[str, Any] = request.app.openapi()
    return document


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """Return the OpenAPI document."""
    return answer(request, _document(request))


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Return the page for people."""
    shown = answer(request, page(_document(request)), media_type="text/html")
    shown.headers["Content-Security-Policy"] = _POLICY
    return shown
