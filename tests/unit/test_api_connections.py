"""Few callers cannot take all places: not by silence, not by slowness, not by many streams."""

import socket
import time

import pytest

from log_api import LogApi
from shipper.api import connections, metrics
from shipper.api.asking import Places
from shipper.api.problems import Problem
from shipper.devstack.server import HOST


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: a\r\n"])
def test_a_connection_whose_request_does_not_come_is_closed_and_others_are_served(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connections, "HEADERS_S", 0.3)
    with LogApi(f"http://{HOST}:1") as api:
        assert api.client.get("/healthz").status_code == 200
        host, port = api.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as silent:
            silent.sendall(sent)
            assert silent.recv(1) == b""
        time.sleep(0.4)  # longer than a request may take to come
        assert api.client.get("/healthz").status_code == 200


async def _take(places: Places, who: str) -> None:
    async with places.place(who):
        raise AssertionError("there was a place")


@pytest.mark.anyio
async def test_one_caller_takes_a_quarter_of_the_places_and_others_find_one() -> None:
    places = Places("streams", 32, metrics.STREAMS)
    held = [places.place("mara") for _ in range(8)]
    for one in held:
        await one.__aenter__()
    with pytest.raises(Problem, match="yours"):
        await _take(places, "mara")
    with pytest.raises(AssertionError, match="there was"):
        await _take(places, "joe")
    for one in held:
        await one.__aexit__(None, None, None)
    with pytest.raises(AssertionError, match="there was"):
        await _take(places, "mara")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
