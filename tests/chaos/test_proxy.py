"""The proxies themselves: what they pass is whole, and each fault is the one that its name says."""

import socket
import threading
from collections.abc import Iterator

import pytest
import requests

from chaos.proxy import (
    CUT_ANSWERS,
    LATE,
    LOSE_ANSWERS,
    PASS,
    REFUSE,
    SILENT,
    LokiProxy,
    Mode,
    TcpProxy,
    always,
    first,
    half_of,
    where_it_holds,
)
from fault.server import Answer, FaultServer, Push
from loki_proto import Entry, Stream, decode_push, encode_push

TARGET = Answer(200, "from the target", {"Content-Type": "text/plain"})
BODY = encode_push([Stream('{a="1"}', tuple(Entry(n, f"line {n}") for n in range(5_000)))])


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(always(TARGET)) as server:
        yield server.start()


@pytest.fixture
def tcp(server: FaultServer) -> Iterator[TcpProxy]:
    with TcpProxy(server.url.removeprefix("http://")) as proxy:
        yield proxy


@pytest.fixture
def proxy(server: FaultServer) -> Iterator[LokiProxy]:
    with LokiProxy(server.url) as proxy:
        yield proxy


def push(url: str, timeout_s: float = 30, body: bytes = BODY) -> requests.Response:
    return requests.post(f"{url}/loki/api/v1/push", body, timeout=timeout_s)


def test_what_passes_is_whole_on_as_many_connections_as_there_are(server: FaultServer, tcp: TcpProxy) -> None:
    for _ in range(3):
        assert push(tcp.url).text == TARGET.body
    assert [one.body for one in server.pushes] == [BODY] * 3
    assert tcp.connections == 3


def test_refused_is_refused_and_the_port_is_there_again_afterwards(server: FaultServer, tcp: TcpProxy) -> None:
    with requests.Session() as session:
        assert session.post(tcp.url, BODY, timeout=30).ok
        for _ in range(3):
            with tcp.during(REFUSE):
                with pytest.raises(requests.ConnectionError):
                    session.post(tcp.url, BODY, timeout=30)
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", tcp.port))
            assert push(tcp.url).ok
    assert len(server.pushes) == 4


def test_what_was_sent_into_silence_is_lost(server: FaultServer, tcp: TcpProxy) -> None:
    with tcp.during(SILENT):
        with pytest.raises(requests.ReadTimeout):
            push(tcp.url, timeout_s=0.2)
        with socket.create_connection(("127.0.0.1", tcp.port), 30) as waiting:
            waiting.sendall(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
            until(lambda: tcp.connections == 2)
            tcp.set(PASS)
            with pytest.raises(ConnectionResetError):
                waiting.recv(1)
    assert push(tcp.url).ok
    assert len(server.pushes) == 1


def test_late_holds_everything_and_what_was_sent_arrives(server: FaultServer, tcp: TcpProxy) -> None:
    with tcp.during(LATE):
        with pytest.raises(requests.ReadTimeout):
            push(tcp.url, timeout_s=0.2)
        assert server.pushes == []
    assert push(tcp.url).ok
    until(lambda: len(server.pushes) == 2)
    assert {one.body for one in server.pushes} == {BODY}


def test_a_connection_that_is_open_falls_silent_too(tcp: TcpProxy) -> None:
    with requests.Session() as session:
        assert session.post(tcp.url, BODY, timeout=30).ok
        with tcp.during(SILENT), pytest.raises(requests.ReadTimeout):
            session.post(tcp.url, BODY, timeout=0.2)
    assert tcp.connections == 1


def test_a_lost_answer_is_a_reset_after_the_server_took_the_request(server: FaultServer, tcp: TcpProxy) -> None:
    with tcp.during(LOSE_ANSWERS), pytest.raises(requests.ConnectionError, match="reset"):
        push(tcp.url)
    assert [one.body for one in server.pushes] == [BODY]


def test_an_answer_is_cut_in_its_middle(server: FaultServer, tcp: TcpProxy) -> None:
    with tcp.during(CUT_ANSWERS), pytest.raises(requests.ConnectionError, match="BadStatusLine"):
        push(tcp.url)
    assert len(server.pushes) == 1


def test_slow_is_slow_and_whole(server: FaultServer, tcp: TcpProxy) -> None:
    with tcp.during(Mode(pause_s=0.1)):
        assert push(tcp.url).elapsed.total_seconds() > 0.1 * (len(BODY) / (64 * 1024) + 1)
    assert server.pushes[0].body == BODY


def test_severed_connections_are_reset_and_new_ones_are_welcome(tcp: TcpProxy) -> None:
    with socket.create_connection(("127.0.0.1", tcp.port), 30) as open_one:
        until(lambda: tcp.connections == 1)
        tcp.sever()
        with pytest.raises(ConnectionResetError):
            open_one.recv(1)
    assert push(tcp.url).ok


def test_without_a_server_connections_are_reset(tcp: TcpProxy) -> None:
    tcp.target = "127.0.0.1:1"
    with pytest.raises(requests.ConnectionError):
        push(tcp.url)


def test_a_mode_outlives_nothing(tcp: TcpProxy) -> None:
    with pytest.raises(ZeroDivisionError), tcp.during(REFUSE):
        _ = 1 / 0
    assert tcp._mode is PASS
    assert push(tcp.url).ok


def test_requests_are_handed_on_and_answered_as_the_target_does(server: FaultServer, proxy: LokiProxy) -> None:
    answer = push(proxy.url)
    assert (answer.status_code, answer.text, answer.headers["Content-Type"]) == (200, TARGET.body, "text/plain")
    assert requests.get(f"{proxy.url}/ready?a=b", timeout=30).text == TARGET.body
    assert [(one.method, one.path) for one in server.pushes] == [("POST", "/loki/api/v1/push"), ("GET", "/ready?a=b")]
    assert proxy.pushes_seen == 1


def test_a_script_answers_pushes_in_the_targets_place_and_nothing_else(server: FaultServer, proxy: LokiProxy) -> None:
    with proxy.during(always(Answer(503, "no", {"Retry-After": "1"}))):
        answer = push(proxy.url)
        assert (answer.status_code, answer.text, answer.headers["Retry-After"]) == (503, "no", "1")
        assert server.pushes == []
        assert requests.get(f"{proxy.url}/ready", timeout=30).ok
    assert push(proxy.url).ok


def test_a_script_may_hand_a_push_on_first_and_lie_about_it(server: FaultServer, proxy: LokiProxy) -> None:
    def store_half_and_fail(it: Push) -> Answer:
        proxy.forward(half_of(it))
        return Answer(500)

    with proxy.during(store_half_and_fail):
        assert push(proxy.url).status_code == 500
    (stream,) = decode_push(server.pushes[0].body)
    assert [entry.line for entry in stream.entries] == [f"line {n}" for n in range(2_500)]


def test_scripts_choose_by_number_and_by_content(proxy: LokiProxy) -> None:
    with proxy.during(first(2, always(Answer(500)), always(Answer(204)))):
        assert [push(proxy.url).status_code for _ in range(4)] == [500, 500, 204, 204]
    with proxy.during(where_it_holds(b"line 4999", always(Answer(500)), always(Answer(204)))):
        other = encode_push([Stream('{a="1"}', (Entry(1, "line 5000"),))])
        assert [push(proxy.url, body=body).status_code for body in (BODY, other)] == [500, 204]


def test_without_a_target_the_connection_is_closed_without_an_answer() -> None:
    with LokiProxy("http://127.0.0.1:1") as proxy, pytest.raises(requests.ConnectionError, match="closed connection"):
        push(proxy.url)


def until(reached: object) -> None:
    assert callable(reached)
    for _ in range(600):
        if reached():
            return
        threading.Event().wait(0.05)
    raise AssertionError("it never came to that")
