"""An HTTP server that misbehaves as it is told to, in Loki's place."""

import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from requests.structures import CaseInsensitiveDict

from loki_proto import decode_push

HOST = "127.0.0.1"
WAIT_S = 90.0
"""Bound of everything that waits here."""


class Push(NamedTuple):
    path: str
    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"

    @property
    def lines(self) -> list[str]:
        return [entry.line for stream in decode_push(self.body) for entry in stream.entries]


@dataclass(frozen=True)
class Answer:
    """What the server answers.

    Attributes:
        cut: the bytes of the answer, status line included, that are sent; None: all.
        drip_s: seconds before each byte of the body, 0: all at once.
        raw: sent instead of all that is above, and the connection is closed.
        hang: whether the connection then stays open, silent, until the server closes; else a cut one is closed.
    """

    status: int = 204
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    raw: bytes | None = None
    drip_s: float = 0
    hang: bool = False

    def to_bytes(self) -> bytes:
        if self.raw is not None:
            return self.raw
        body = self.body.encode()
        length = {} if self.status == 204 else {"Content-Length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in {**length, **self.headers}.items())
        return (f"HTTP/1.1 {self.status} -\r\n{head}\r\n".encode() + body)[: self.cut]


Script = Callable[[Push], Answer]


def in_turn(*answers: Answer) -> Script:
    """Give the answers one after the other, the last for ever."""
    left, lock = list(answers), threading.Lock()

    def answer(_: Push) -> Answer:
        with lock:
            return left.pop(0) if len(left) > 1 else left[0]

    return answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 the base's
        # A client that hangs up is a part of the game; a mistake in a script is not.
        if not isinstance(sys.exception(), ConnectionError | ssl.SSLError):
            super().handle_error(request, client_address)


class FaultServer:
    """Answers pushes as its script says, and remembers them.

    It is bound at once, so that its port is its own, and refuses connections until it is started.

    Attributes:
        script: what to answer; may be replaced at any time.
        pushes: all pushes that arrived whole, in order.
        connections: how many were opened.
        url: where it is reached; its certificate, if it has one, names the host "localhost".
    """

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.pushes: list[Push] = []
        self.connections = 0
        self.closing = threading.Event()
        self._server = _Server((HOST, 0), self._handler(), bind_and_activate=False)
        self._server.server_bind()
        self.url = f"http://{HOST}:{self._server.server_port}"
        if tls:
            # The handshake is the first read's, in the connection's own thread.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
            self.url = f"https://localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def start(self) -> Self:
        self._server.server_activate()
        self._thread.start()
        return self

    def answer(self, push: Push) -> Answer:
        self.pushes.append(push)
        return self.script(push)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.closing.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(WAIT_S)
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fault = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = WAIT_S

            def setup(self) -> None:
                super().setup()
                fault.connections += 1

            def do_POST(self) -> None:
                push = Push(
                    self.path,
                    CaseInsensitiveDict(self.headers.items()),
                    self.rfile.read(int(self.headers.get("Content-Length", 0))),
                    self.command,
                )
                answer = fault.answer(push)
                head, blank, body = answer.to_bytes().partition(b"\r\n\r\n")
                if answer.drip_s:
                    self.wfile.write(head + blank)
                    for byte in body:
                        fault.closing.wait(answer.drip_s)
                        self.wfile.write(bytes([byte]))
                else:
                    self.wfile.write(head + blank + body)
                if answer.hang:
                    fault.closing.wait(WAIT_S)
                self.close_connection = answer.hang or answer.cut is not None or answer.raw is not None

            do_GET = do_POST  # noqa: N815 the base's

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002,ANN401 the base's
                pass

        return Handler
