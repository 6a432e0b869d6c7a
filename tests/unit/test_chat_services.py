"""The services of examples/chat, piece by piece: what clients, brokers and somebody else's records cannot upset."""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import httpx
import pytest
from confluent_kafka import KafkaError
from fastapi import FastAPI, HTTPException

from examples.chat import __main__ as make_chat
from examples.chat import chat, faults, notification, traffic
from examples.chat.service import WORK, new_api
from examples.chat.upstream import Upstreams
from examples.chat.visitor import Visitor

Header = tuple[str, bytes]


@pytest.mark.parametrize("switch", ["", "1"])
def test_an_attempt_that_is_no_number_is_no_mistake_of_the_service(
    switch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAT_FAULTS", switch)

    async def ask() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(new_api("user")), base_url="http://user") as client:
            headers = {"x-attempt": "first", "x-fault": "user:unavailable"}
            return (await client.get("/health", headers=headers)).status_code

    assert asyncio.run(ask()) == (503 if switch else 200)


@pytest.mark.parametrize(
    ("error", "method", "reason", "calls"),
    [
        (httpx.ConnectError, "POST", "refused", 3),
        (httpx.ReadError, "POST", "broken", 1),
        (httpx.RemoteProtocolError, "PATCH", "broken", 1),
        (httpx.ReadError, "GET", "broken", 3),
        (httpx.ReadTimeout, "POST", "timeout", 1),
    ],
)
def test_what_may_have_been_done_is_not_asked_for_again_unless_that_makes_no_difference(
    error: type[httpx.TransportError],
    method: str,
    reason: str,
    calls: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name in ("AUTH", "USER", "CHAT"):
        monkeypatch.setenv(f"{name}_URL", "http://upstream")
    seen = []

    def fail(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers[faults.ATTEMPT])
        raise error("no")

    class Client(httpx.AsyncClient):
        def __init__(self, **_: object) -> None:
            super().__init__(transport=httpx.MockTransport(fail))

    async def ask() -> None:
        async with Upstreams() as upstreams:
            await upstreams.call("chat", method, "/v1/rooms/{room}/messages", room="room-1")

    with monkeypatch.context() as patched:
        patched.setattr(httpx, "AsyncClient", Client)
        with pytest.raises(HTTPException):
            asyncio.run(ask())
    assert seen == [str(number + 1) for number in range(calls)]
    assert {record["reason"] for record in told(capfd)} == {reason}


class Broker:
    """Stands in for the Kafka client: takes messages, and reports when it is asked to."""

    full: ClassVar[bool] = False
    made: ClassVar["Broker"]

    def __init__(self, _: object) -> None:
        self.reports: list[Callable[[KafkaError | None, object], None]] = []
        type(self).made = self

    def produce(self, *_: object, on_delivery: Callable[[KafkaError | None, object], None], **__: object) -> None:
        if self.full:
            raise BufferError("full")
        self.reports.append(on_delivery)

    def poll(self, timeout_s: float) -> None:
        pass

    def flush(self, timeout_s: float) -> None:
        pass


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[chat._Publisher]:
    monkeypatch.setattr(chat, "Producer", Broker)
    monkeypatch.setattr(WORK, "published", 0)
    made = chat._Publisher("nowhere:9092", "chat.messages")
    yield made
    made.close()


def test_a_message_on_its_way_to_kafka_counts_as_work_until_it_has_failed(
    publisher: chat._Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.publish("room-1", {"id": "msg_1"})
    publisher.publish("room-1", {"id": "msg_2"})
    assert WORK.published == 2
    delivered, failed = Broker.made.reports
    delivered(None, None)
    failed(KafkaError(KafkaError._MSG_TIMED_OUT), None)
    assert WORK.published == 1
    monkeypatch.setattr(Broker, "full", True)
    with pytest.raises(BufferError):
        publisher.publish("room-1", {"id": "msg_3"})
    assert WORK.published == 1


@pytest.mark.parametrize("error", [traffic.UnexpectedAnswerError("418"), httpx.ConnectError("gone")], ids=repr)
def test_what_ends_the_traffic_comes_as_itself_and_make_chat_says_it(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(_: object, __: Visitor) -> None:
        raise error

    async def move_in(_: object, __: Visitor) -> None:
        pass

    monkeypatch.setattr(traffic, "_JOURNEYS", [traffic._Journey(fail, 1, 1)])
    monkeypatch.setattr(traffic._Traffic, "_move_in", move_in)
    with pytest.raises(type(error)) as raised:
        traffic.run("http://nowhere", requests=8)
    assert raised.value is error

    def run(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr(make_chat._Chat, "run", run)
    with pytest.raises(SystemExit) as ended:
        make_chat.chat(requests=1)
    assert ended.value.code == 1
    assert str(error) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        pytest.param(b"[" * 100_000, [], id="too deep"),
        *((value, []) for value in (None, b"", b"null", b"[]", b'"x"', b"7", b"{}", b"no JSON", b"\xff")),
        *(
            (json.dumps({"id": "m", "room": "r", "sender": "s", "storedMs": 1, **own}).encode(), [])
            for own in ({"recipients": None}, {"recipients": 7}, {"recipients": [None]})
        ),
        (b'{"id":"m","room":"r","sender":"s","storedMs":1,"recipients":["u"]}', [(faults.HEADER, b"\xff")]),
        (b'{"id":"m","room":"r","sender":"s","storedMs":"x","recipients":["u"]}', []),
    ],
)
def test_a_message_of_somebody_else_is_told_and_holds_up_nothing(
    value: bytes | None, headers: list[Header], capfd: pytest.CaptureFixture[str]
) -> None:
    record: Any = SimpleNamespace(value=lambda: value, headers=lambda: headers, offset=lambda: 42)
    asyncio.run(notification._handle(record))
    (said,) = told(capfd)
    assert (said["event"], said["level"], said["metadata"]) == ("message_refused", "error", {"offset": 42})


def test_the_notification_service_ends_with_its_worker(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def run(_: object) -> None:
        raise RuntimeError("no more")

    monkeypatch.setenv("KAFKA", "127.0.0.1:1")
    monkeypatch.setattr(notification._Worker, "run", run)
    before = signal.getsignal(signal.SIGTERM)

    async def serve() -> None:
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        async with notification._working(FastAPI()):
            await ended.wait()

    try:
        with pytest.raises(RuntimeError, match="no more"):
            asyncio.run(asyncio.wait_for(serve(), 60))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "worker" in {record.get("event") for record in told(capfd)}


def told(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The records on stderr, where the library writes them without Kafka."""
    lines = os.linesep.join(capfd.readouterr()).splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]
