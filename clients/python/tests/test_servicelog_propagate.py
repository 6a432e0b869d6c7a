"""A request's identity from one service to the next, over HTTP and through Kafka; and what is bound, in threads."""

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest
import requests

import servicelog
from answering import answering
from servicelog import propagate

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
TLS = ssl.create_default_context()  # made once, since it takes time; nothing here uses it
Get = Callable[[str, dict[str, str]], dict[str, str]]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with answering() as address:
        yield address


def by_httpx(url: str, headers: dict[str, str]) -> dict[str, str]:
    with httpx.Client(verify=TLS, event_hooks={"request": [propagate.httpx_hook]}, follow_redirects=True) as client:
        return dict(client.get(url, headers=headers).json())


def by_httpx_async(url: str, headers: dict[str, str]) -> dict[str, str]:
    async def ask() -> dict[str, str]:
        hooks = {"request": [propagate.httpx_async_hook]}
        async with httpx.AsyncClient(verify=TLS, event_hooks=hooks, follow_redirects=True) as client:
            return dict((await client.get(url, headers=headers)).json())

    return asyncio.run(ask())


def by_requests(url: str, headers: dict[str, str]) -> dict[str, str]:
    with propagate.requests_session(requests.Session()) as session:
        return dict(session.get(url, headers=headers).json())


@pytest.fixture(params=[by_httpx, by_httpx_async, by_requests])
def get(request: pytest.FixtureRequest, server: str) -> Get:
    """Get a path by one of the clients; returns the headers that came, names in lower case."""

    def ask(path: str, headers: dict[str, str]) -> dict[str, str]:
        return {name.lower(): value for name, value in request.param(server + path, headers).items()}

    return ask


@pytest.mark.parametrize("path", ["/", "/moved"])
def test_clients_take_the_request_on(get: Get, path: str) -> None:
    with servicelog.bound(requestId="r-1", traceId=TRACE):
        came = get(path, {})
    assert came["x-request-id"] == "r-1"
    version, trace, span, flags = came["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert len(span) == 16
    assert set(span) <= set("0123456789abcdef")


def test_what_a_call_sets_itself_is_left_and_without_a_request_nothing_is_sent(get: Get) -> None:
    with servicelog.bound(requestId="r-1"):
        came = get("/", {"X-Request-ID": "own"})
    assert came["x-request-id"] == "own"
    assert "traceparent" not in came
    assert not {"x-request-id", "traceparent"} & get("/", {}).keys()


@pytest.mark.parametrize("bound", ["two words", "line\nbreak", "", "é", "x" * 129, None, ("a", "b")])
def test_what_is_no_id_is_not_sent_and_the_call_goes_on(get: Get, bound: object) -> None:
    with servicelog.bound(requestId=bound, traceId=bound):
        assert not {"x-request-id", "traceparent"} & get("/", {}).keys()


def bound_in(headers: list[tuple[str, bytes | str | None]] | None) -> tuple[object, object]:
    """What a record with these headers binds: request ID, trace ID."""
    with propagate.from_kafka(headers):
        sent = propagate.headers()
        return servicelog.request_id(), sent.get("traceparent", "").partition("-")[2].partition("-")[0] or None


def test_a_kafka_record_takes_the_request_on() -> None:
    with servicelog.bound(requestId="r-1", traceId=TRACE):
        headers = propagate.kafka_headers()
    assert dict(headers)["x-request-id"] == b"r-1"
    assert bound_in([*headers]) == ("r-1", TRACE)
    assert bound_in([("X-Request-ID", "r-2")]) == ("r-2", None), "names in any case, texts too"
    assert bound_in([("traceparent", TRACEPARENT.encode())]) == (TRACE, TRACE)
    assert bound_in([("x-request-id", b"r-1"), ("x-request-id", b"r-3")]) == ("r-3", None), "the last one counts"


@pytest.mark.parametrize(
    "headers",
    [
        None,
        [],
        [("x-request-id", None)],
        [("x-request-id", b"\xff\xfe")],
        [("x-request-id", b"two words")],
        [("traceparent", b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01")],
        [("other", b"x")],
    ],
)
def test_a_kafka_record_without_an_id_gets_one_of_its_own(headers: list[tuple[str, bytes | str | None]] | None) -> None:
    first, trace = bound_in(headers)
    second, _ = bound_in(headers)
    assert trace is None
    assert first != second
    assert str(first)[14] == "7", "a UUIDv7"


def test_a_kafka_record_binds_for_its_block_alone_and_knows_nothing_of_what_is_around() -> None:
    with servicelog.bound(requestId="consumer", userId="usr_1"):
        with pytest.raises(KeyError), propagate.from_kafka([("x-request-id", b"r-1")], conversationId="c"):  # noqa: PT012 - the block is the test
            assert servicelog.request_id() == "r-1"
            assert servicelog.context.current() == {"requestId": "r-1", "conversationId": "c"}
            raise KeyError
        assert servicelog.context.current() == {"requestId": "consumer", "userId": "usr_1"}
    assert servicelog.request_id() is None


def test_a_function_is_carried_into_a_thread_with_what_is_bound_here() -> None:
    seen: list[object] = []

    def work(of: str) -> None:
        seen.append((of, servicelog.request_id()))

    with servicelog.bound(requestId="r-1"):
        threads = [
            threading.Thread(target=servicelog.carried(work), args=("carried",)),
            threading.Thread(target=work, args=("not",)),
        ]
    for thread in threads:
        thread.start()
        thread.join()
    assert seen == [("carried", "r-1"), ("not", None)]
