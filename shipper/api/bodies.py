"""Bodies of requests: small ones that arrive in time, and no others.

A body is read before its route runs, so nothing is parsed, held or waited for but within these bounds.
"""

import asyncio

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shipper.api.problems import Problem, respond


class Bodies:
    """Reads bodies, and answers 413 and 408 where one is too large or too slow.

    Args:
        app: what serves.
        bytes_max: of a body.
        timeout_s: in which it must have arrived, in seconds.
    """

    def __init__(self, app: ASGIApp, bytes_max: int, timeout_s: float) -> None:
        self._app, self._bytes_max, self._timeout_s = app, bytes_max, timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        if scope["type"] != "http" or not headers.keys() & {b"content-length", b"transfer-encoding"}:
            await self._app(scope, receive, send)
            return
        try:
            if int(headers.get(b"content-length", b"0")) > self._bytes_max:
                raise self._too_large()
            async with asyncio.timeout(self._timeout_s):
                body = await self._read(receive)
        except TimeoutError:
            slow = Problem(408, "too-slow", f"the body did not arrive within {self._timeout_s:g} s")
            await respond(Request(scope), slow)(scope, receive, send)
        except (ValueError, Problem) as error:
            problem = (
                error if isinstance(error, Problem) else Problem(400, "bad-request", "Content-Length is no number")
            )
            await respond(Request(scope), problem)(scope, receive, send)
        else:
            if body is not None:
                await self._app(scope, _again(body, receive), send)

    async def _read(self, receive: Receive) -> bytes | None:
        """Return the body; None if the caller went away."""
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._bytes_max:
                raise self._too_large()
            if not message.get("more_body"):
                return b"".join(parts)

    def _too_large(self) -> Problem:
        return Problem(413, "too-large", f"the body is larger than {self._bytes_max} bytes")


def _again(body: bytes, receive: Receive) -> Receive:
    """Return what gives the whole body first, and then what there is."""
    told = False

    async def receiving() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving
