"""The request's identity from one service to the next: HTTP headers and Kafka headers, in and out.

`X-Request-ID` carries the request ID, W3C's `traceparent` the trace. An ID that comes in is taken over where it looks
like one (at most 128 letters, digits and `-_.:/+=@`); else the trace's ID is the request's; else there is a new one.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from servicelog import context

if TYPE_CHECKING:
    import httpx
    import requests

REQUEST_ID: Final = "x-request-id"
TRACEPARENT: Final = "traceparent"
_ID: Final = re.compile(r"[A-Za-z0-9_.:/+=@-]{1,128}", re.ASCII)
_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_TRACE: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.ASCII)


def taken_over(headers: Mapping[str, str]) -> dict[str, object]:
    """The fields to bind for a request, from its headers (names in lower case)."""
    fields: dict[str, object] = {}
    trace = _TRACE.fullmatch(headers.get(TRACEPARENT, "").strip())
    if trace and trace[1] != "ff" and set(trace[2]) != {"0"} and set(trace[3]) != {"0"}:
        fields["traceId"] = trace[2]
    given = headers.get(REQUEST_ID, "").strip()
    fields["requestId"] = given if _ID.fullmatch(given) else fields.get("traceId") or context.new_request_id()
    return fields


def headers() -> dict[str, str]:
    """The headers that take what is bound here to the next service."""
    bound = context.current()
    found: dict[str, str] = {}
    if request_id := _text(bound.get("requestId"), _ID):
        found[REQUEST_ID] = request_id
    if trace_id := _text(bound.get("traceId"), _TRACE_ID):
        # The span is new: this call. It is sampled, as every line is kept.
        found[TRACEPARENT] = f"00-{trace_id}-{os.urandom(8).hex()}-01"
    return found


def _text(bound: object, form: re.Pattern[str]) -> str | None:
    """A header's value; None where the next service could not take it over, and a client might refuse it."""
    try:
        text = str(bound)
    except Exception:  # noqa: BLE001 - the code of others: whatever it raises, the request goes on
        return None
    return text if bound is not None and form.fullmatch(text) else None


def httpx_hook(request: "httpx.Request") -> None:
    """For `httpx.Client(event_hooks={"request": [httpx_hook]})`."""
    for name, value in headers().items():
        request.headers.setdefault(name, value)


async def httpx_async_hook(request: "httpx.Request") -> None:
    """For `httpx.AsyncClient(event_hooks={"request": [httpx_async_hook]})`."""
    httpx_hook(request)


def requests_session(session: "requests.Session") -> "requests.Session":
    """Have a session of requests send the headers with each request, those of redirects included."""
    import requests  # noqa: PLC0415 - an extra

    class Propagating(requests.adapters.HTTPAdapter):
        def add_headers(self, request: requests.PreparedRequest, **_: Any) -> None:  # noqa: ANN401 - as in requests
            for name, value in headers().items():
                request.headers.setdefault(name, value)

    for prefix in ("https://", "http://"):
        session.mount(prefix, Propagating())
    return session


def kafka_headers() -> list[tuple[str, bytes]]:
    """The headers for a Kafka record that is a part of this request."""
    return [(name, value.encode()) for name, value in headers().items()]


@contextmanager
def from_kafka(given: Sequence[tuple[str, bytes | str | None]] | None, **fields: object) -> Iterator[None]:
    """Bind, for a block, what a Kafka record's headers say; `fields` as well."""
    with context.only({**taken_over(dict(_texts(given or ()))), **fields}):
        yield


def _texts(given: Iterable[tuple[str, bytes | str | None]]) -> Iterator[tuple[str, str]]:
    for name, value in given:
        if value is not None:
            yield name.lower(), value if isinstance(value, str) else value.decode("ascii", "replace")
