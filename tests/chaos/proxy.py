"""What stands between shipper and a server, and misbehaves while it runs: one proxy of bytes, one of requests to Loki.

    shipper ─▶ TcpProxy ─▶ Kafka, Loki    faults of the wire: refused, silent, cut short, lost, slow, severed
    shipper ─▶ LokiProxy ─▶ Loki          faults of answers: whatever a script says, which may hand the push on first

Both may stand in a row. Both are set while they run, by `with proxy.during(fault): …`, and pass everything otherwise.
"""

import contextlib
import http.client
import select
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import snappy

from fault.server import WAIT_S, Answer, FaultServer, Push, Script
from loki_proto import decode_push, encode_push
from shipper.devstack.server import HOST, free_port

_HOP = ("host", "content-length", "accept-encoding")
"""Headers that are not handed on: they are about one hop, and a script may have changed the body."""

_CHUNK_BYTES = 64 * 1024
_LOOK_S = 0.02
"""How soon a connection that waits sees that the mode has changed."""

# SO_LINGER: on, with no seconds to linger, a closed connection is reset.
_RESET, _IN_ORDER = struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)


@dataclass(frozen=True)
class Mode:
    """How a TcpProxy treats connections, those that are open included.

    Attributes:
        listens: whether it accepts any; else connections are refused, and open ones reset.
        passes: whether bytes go on, either way; else nothing does until the mode changes, as in a network that is gone.
        keeps: whether they then arrive late, even if whoever sent them has given up; else their connections are reset.
        answer_bytes_max: a connection ends after so many bytes of the next answer; None: never.
        resets: whether it then ends by a reset, and not in good order.
        pause_s: seconds before each 64 KiB, or what there is.
    """

    listens: bool = True
    passes: bool = True
    keeps: bool = False
    answer_bytes_max: int | None = None
    resets: bool = True
    pause_s: float = 0


PASS = Mode()
REFUSE = Mode(listens=False)
SILENT = Mode(passes=False)
LATE = Mode(passes=False, keeps=True)
LOSE_ANSWERS = Mode(answer_bytes_max=0)
CUT_ANSWERS = Mode(answer_bytes_max=10, resets=False)


class TcpProxy:
    """Hands bytes on to a server, as its mode allows. For Kafka, let the broker advertise this proxy's address.

    Attributes:
        target: host:port of the server; may be replaced.
        port: where it is reached on 127.0.0.1; stays its own.
        connections: how many were accepted.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.port = free_port()
        self.connections = 0
        self._mode = PASS
        self._severed = 0
        self._listener: socket.socket | None = None
        self._closing = threading.Event()

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def start(self) -> Self:
        self.set(self._mode)
        return self

    def set(self, mode: Mode) -> None:
        """Treat connections so from now on."""
        self._mode = mode
        if mode.listens and self._listener is None:
            self._listener = socket.create_server((HOST, self.port), backlog=64)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        elif not mode.listens:
            self._refuse()

    @contextlib.contextmanager
    def during(self, mode: Mode) -> Iterator[None]:
        """Treat connections so for a while."""
        self.set(mode)
        try:
            yield
        finally:
            self.set(PASS)

    def sever(self) -> None:
        """Reset the connections that are open; new ones are welcome."""
        self._severed += 1

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closing.set()
        self._refuse()

    def _refuse(self) -> None:
        self.sever()
        if self._listener:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts, which closing alone does not
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it was closed: the thread's end
            while True:
                client, _ = listener.accept()
                # The mode of now: it may be another by the time the thread runs.
                relay = threading.Thread(target=self._relay, args=(client, self._severed, self._mode), daemon=True)
                self.connections += 1
                relay.start()

    def _relay(self, client: socket.socket, severed: int, accepted: Mode) -> None:
        """Pass bytes until one side ends; whatever else ends it, the client sees a reset."""
        with client, contextlib.suppress(OSError):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._mode_now(severed, keeps=accepted.passes or accepted.keeps)
            with socket.create_connection(self._target, WAIT_S) as server:
                while self._pass_on(client, server, severed):
                    pass
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _IN_ORDER)

    def _pass_on(self, client: socket.socket, server: socket.socket, severed: int) -> bool:
        """Pass on what has arrived; False when the connection has come to its end in good order."""
        for source in select.select([client, server], [], [], _LOOK_S)[0]:
            chunk = source.recv(_CHUNK_BYTES)
            if not chunk:
                return False
            mode = self._mode_now(severed)
            self._closing.wait(mode.pause_s)
            if source is client:
                server.sendall(chunk)
                continue
            client.sendall(chunk[: mode.answer_bytes_max])
            if mode.answer_bytes_max is not None:
                if mode.resets:
                    raise ConnectionAbortedError
                return False
        self._mode_now(severed)
        return True

    def _mode_now(self, severed: int, *, keeps: bool = True) -> Mode:
        """Give the mode, once it is one that passes bytes; ConnectionAbortedError where the connection is lost."""
        while not (mode := self._mode).passes and self._severed == severed:
            keeps = mode.keeps
            self._closing.wait(_LOOK_S)
        if not keeps or self._severed != severed:
            raise ConnectionAbortedError
        return mode

    @property
    def _target(self) -> tuple[str, int]:
        host, _, port = self.target.rpartition(":")
        return host, int(port)


class LokiProxy(FaultServer):
    """Answers pushes as its script says; hands everything else on to a Loki. Scripts hand pushes on by `forward`.

    Attributes:
        pushes_seen: how many arrived whole. They are not kept: a soak has too many.

    Args:
        target: URL of Loki, or of a proxy before it.
    """

    def __init__(self, target: str) -> None:
        super().__init__(self.forward)
        self._target = urlsplit(target).netloc
        self._lock = threading.Lock()
        self.pushes_seen = 0

    def answer(self, push: Push) -> Answer:
        if not push.path.endswith("/push"):
            return self.forward(push)
        with self._lock:
            self.pushes_seen += 1
        return self.script(push)

    def forward(self, push: Push) -> Answer:
        """Hand a request on, and give Loki's answer; where there is none, the connection is closed without one."""
        headers = {name: value for name, value in push.headers.items() if name.lower() not in _HOP}
        with contextlib.closing(http.client.HTTPConnection(self._target, timeout=WAIT_S)) as connection:
            try:
                connection.request(push.method, push.path, push.body, headers)
                answer = connection.getresponse()
                body = answer.read().decode()
            except (OSError, http.client.HTTPException):
                return Answer(raw=b"")
            kept = {"Content-Type": kind} if (kind := answer.getheader("Content-Type")) else {}
            return Answer(answer.status, body, kept)

    @contextlib.contextmanager
    def during(self, script: Script) -> Iterator[None]:
        """Answer so for a while."""
        self.script = script
        try:
            yield
        finally:
            self.script = self.forward

    def __enter__(self) -> Self:
        return self.start()


def always(answer: Answer) -> Script:
    """Answer so, whatever is pushed; nothing is handed on."""
    return lambda _: answer


def first(count: int, script: Script, then: Script) -> Script:
    """Follow one script for so many pushes, then another."""
    left, lock = iter(range(count)), threading.Lock()

    def answer(push: Push) -> Answer:
        with lock:
            is_first = next(left, None) is not None
        return (script if is_first else then)(push)

    return answer


def where_it_holds(text: bytes, script: Script, otherwise: Script) -> Script:
    """Follow one script for pushes that hold these bytes, once unpacked, and another for the rest."""
    return lambda push: (script if text in snappy.uncompress(push.body) else otherwise)(push)


def half_of(push: Push) -> Push:
    """The first half of every stream's entries: what a Loki may have stored before it failed."""
    streams = [stream._replace(entries=stream.entries[: len(stream.entries) // 2]) for stream in decode_push(push.body)]
    return push._replace(body=encode_push(stream for stream in streams if stream.entries))
