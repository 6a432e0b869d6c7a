"""Middleware for ASGI (Starlette, FastAPI): the request's ID, one access line, and exceptions once, with their stack.

    app = AccessLog(FastAPI())

Around the whole app it sees the answer to an unhandled exception too, which `add_middleware` does not: Starlette makes
it outside of all middleware.
"""

import contextlib
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from servicelog import context, propagate
from servicelog.core import CURRENT, told
from servicelog.stdlib import TOLD

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_LOGGER: Final = "access"
_SERVER_ERROR, _CLIENT_ERROR = 500, 400


class AccessLog:
    """Binds the request's ID, returns it in `X-Request-ID`, and writes one record when the response has been sent.

    The record is of level info, warn where the status is 4xx, error where it is 5xx or an exception came through.
    Its time is when the answer was complete: work in the background after it is not counted.
    It has `method`, `route` (the template, `/rooms/{room}`; where no route fits, `metadata.path` instead), `status`,
    `durationMs`, and in `metadata` the body's `bytes` and the `client`'s address. The query is not written.

    Args:
        app: what serves.
        quiet: paths that write nothing unless they fail: health checks.
    """

    def __init__(self, app: App, *, quiet: tuple[str, ...] = ()) -> None:
        self._app = app
        self._quiet = frozenset(quiet)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        fields = propagate.taken_over(given)
        bound: dict[str, object] = {}
        tokens = told.set([]), context.request_fields.set(bound)
        try:
            with context.only(fields):
                request = _Request(scope, str(fields["requestId"]), bound)
                await request.serve(self._app, receive, send, self._quiet)
        finally:
            told.reset(tokens[0])
            context.request_fields.reset(tokens[1])


class _Request:
    """One request, from the first byte to the last."""

    def __init__(self, scope: Scope, request_id: str, bound: dict[str, object]) -> None:
        self._scope = scope
        self._mounted_at = len(scope.get("root_path", ""))
        self._bound = bound
        self._request_id = request_id
        self._began_s = time.perf_counter()
        self._status: int | None = None
        self._bytes = 0
        self._answered_s: tuple[float, float] | None = None

    async def serve(self, app: App, receive: Receive, send: Send, quiet: frozenset[str]) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._status = message["status"]
                name = propagate.REQUEST_ID.encode()
                others = [pair for pair in message.get("headers", ()) if pair[0].lower() != name]
                message = {**message, "headers": [*others, (name, self._request_id.encode("latin-1"))]}
            elif message["type"] == "http.response.body":
                self._bytes += len(message.get("body", b""))
                if not message.get("more_body"):
                    self._answered_s = time.time(), time.perf_counter()
            await send(message)

        try:
            await app(self._scope, receive, sending)
        except BaseException as error:
            if isinstance(error, Exception):
                self._status = self._status or _SERVER_ERROR
                _mark(error)
            self._write(error)
            raise
        if self._scope["path"] not in quiet or (self._status or _SERVER_ERROR) >= _CLIENT_ERROR:
            self._write(None)

    def _write(self, error: BaseException | None) -> None:
        status = self._status
        failed = (error is not None and isinstance(error, Exception)) or (status or 0) >= _SERVER_ERROR
        level = "error" if failed else "warn" if error is not None or (status or 0) >= _CLIENT_ERROR else "info"
        core = CURRENT.core
        if not core.is_enabled(level, _LOGGER):
            return
        # The client goes on as soon as it has the answer: what it writes then must not look older than this record.
        now_s, ended_s = self._answered_s or (time.time(), time.perf_counter())
        method, route = self._scope["method"], self._template()
        client = self._scope.get("client")
        fields = {
            **self._bound,
            "context": _LOGGER,
            "method": method,
            "route": route,
            "status": status,
            "durationMs": round((ended_s - self._began_s) * 1_000, 3),
            "bytes": self._bytes,
            "client": client[0] if client else None,
        }
        if route is None:
            fields["path"] = self._scope["path"]
        outcome = "no response" if status is None else status
        core.write(level, f"{method} {route or self._scope['path']} {outcome}", fields, error=error, timestamp_s=now_s)

    def _template(self) -> str | None:
        """The route's template, behind what it is mounted at: Starlette and FastAPI leave both in the scope."""
        path = getattr(self._scope.get("route"), "path", None)
        return self._scope.get("root_path", "")[self._mounted_at :] + path if isinstance(path, str) else None


def _mark(error: Exception) -> None:
    """The server logs the exception as well: then it is known already."""
    with contextlib.suppress(Exception):  # an exception of others may allow no attribute: it is told twice
        setattr(error, TOLD, True)
