"""Callers who hang up: what is read for them is ended, and with it what Loki does. What is written is finished."""

import asyncio
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_READING: Final = ("GET", "HEAD")
_READING_POSTS: Final = frozenset({"/v1/logql"})


class HangUp:
    """Cancels a call whose caller has gone before the answer began; answers that have begun notice by themselves.

    A call that changes something goes on: Kafka may have taken it already, and the audit is to say what became of it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_read(scope):
            await self._app(scope, receive, send)
            return
        received: asyncio.Queue[Message] = asyncio.Queue(1)
        begun = False

        async def listen() -> None:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect" and not begun:
                    return
                await received.put(message)

        async def noticed(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        answering = asyncio.ensure_future(self._app(scope, received.get, noticed))
        listening = asyncio.ensure_future(listen())
        try:
            await asyncio.wait({answering, listening}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                answering.cancel()
                await asyncio.wait({answering})
            if not answering.cancelled():
                answering.result()
        finally:
            listening.cancel()
            answering.cancel()


def _is_read(scope: Scope) -> bool:
    return scope["method"] in _READING or scope["path"].removeprefix(scope.get("root_path", "")) in _READING_POSTS
