"""The services of examples/chat, piece by piece: what a client, a broker or somebody else's record cannot upset."""

import asyncio

import httpx
import pytest

from examples.chat.service import new_api


@pytest.mark.parametrize("faults", ["", "1"])
def test_an_attempt_that_is_no_number_is_no_mistake_of_the_service(
    faults: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAT_FAULTS", faults)

    async def ask() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(new_api("user")), base_url="http://user") as client:
            headers = {"x-attempt": "first", "x-fault": "user:unavailable"}
            return (await client.get("/health", headers=headers)).status_code

    assert asyncio.run(ask()) == (503 if faults else 200)
