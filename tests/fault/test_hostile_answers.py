from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fault.pushes import OK, lines_of, pushing, request_of, serving, settle
from fault.server import Answer, FaultServer, in_turn

_LINES = st.sampled_from(
    [
        b"Content-Length: 5",
        b"Content-Length: -1",
        b"Content-Length: 5, 7",
        b"Content-Length: 99999999999999999999",
        b"Transfer-Encoding: chunked",
        b"Content-Encoding: gzip",
        b"Content-Type: \xff\xfe; charset=nonsense",
        b"Retry-After: Mon, 01 Jan 2024 00:00:00 +99999999999999999999",
        b"Location: http://[::1",
        b"Location: \xe9",
        b"Set-Cookie: a=b; expires=Mon, 99 Foo 99999999; domain=\xff; max-age=9e9",
        b"Connection: close",
        b" folded",
        b": no name",
        b"no colon",
        b"X: " + b"x" * 70_000,
    ]
)
_STATUSES = st.sampled_from(
    [b"204", b"200", b"301", b"400", b"401", b"429", b"503", b"100", b"999", b"-1", b"1e3", b""]
)
_HEADS = st.builds(lambda status, lines: b"\r\n".join([b"HTTP/1.1 " + status, *lines]), _STATUSES, st.lists(_LINES))
_ANSWERS = st.builds(lambda head, body: head + b"\r\n\r\n" + body, _HEADS, st.binary()) | st.binary()


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with serving(lambda _: OK) as one:
        yield one


@settings(deadline=None)
@given(raw=_ANSWERS)
@example(raw=b"HTTP/1.1 429 -\r\nRetry-After: Mon, 01 Jan 2024 00:00:00 +99999999999999999999\r\n\r\n")
@example(raw=b"HTTP/1.1 400 -\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
@example(raw=b"HTTP/1.1 400 -\r\n" + b"X: y\r\n" * 200 + b"\r\n")
@example(raw=b"HTTP/1.1 302 -\r\nLocation: http://[::1\r\nSet-Cookie: ;;=\xff\r\n\r\n")
def test_whatever_is_answered_the_push_is_tried_until_loki_takes_it(server: FaultServer, raw: bytes) -> None:
    server.script = in_turn(Answer(raw=raw), OK)
    with pushing(server.url, in_flight_max=1) as pusher:
        # What ends a push thread is raised here.
        one, _ = settle(pusher, request_of(lines_of(1)))
        assert one.delivery.refused == ()
