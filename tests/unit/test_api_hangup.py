"""Callers who hang up: what is read for them ends, what is written for them is finished."""

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from shipper.api.hangup import HangUp

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("method", "path", "is_finished"),
    [
        ("GET", "/v1/logs", False),
        ("POST", "/v1/logql", False),
        ("PUT", "/v1/levels/chat-service", True),
        ("DELETE", "/v1/queries/logins", True),
        ("POST", "/v1/dead-letters/redrive", True),
    ],
)
async def test_what_is_read_ends_with_its_caller_and_what_is_written_does_not(
    method: str, path: str, *, is_finished: bool
) -> None:
    ended: list[str] = []
    has_begun = asyncio.Event()

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        has_begun.set()
        try:
            await asyncio.sleep(0.1)
            ended.append("finished")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def receive() -> Message:
        await has_begun.wait()
        return {"type": "http.disconnect"}

    async def send(_message: Message) -> None:
        raise AssertionError("nobody is there")

    await HangUp(app)({"type": "http", "method": method, "path": path}, receive, send)
    assert ended == ["finished" if is_finished else "cancelled"]
