"""One server process of the devstack: started, asked until it is ready, stopped or killed, started again."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from shipper.errors import CannotStartError

HOST = "127.0.0.1"
"""The only address on which anything of the devstack listens."""

_LEASH = Path(__file__).with_name("leash.py")
# Above the well-known ports and below 32768, where Linux begins to give ports to outgoing connections. A client that
# keeps trying to reach a killed server on a port from *that* range is sooner or later given the very port it tries.
_PORT_RANGE = range(12_000, 32_000)
_LOG_TAIL_LINES = 25
_PAUSE_S = 0.05


class ServerFailedError(CannotStartError):
    """A server of the devstack ended or was not ready in time; the message holds the end of its log."""


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens now."""
    for _ in range(1000):
        port = secrets.choice(_PORT_RANGE)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise ServerFailedError(
        f"no free port between {_PORT_RANGE.start} and {_PORT_RANGE.stop} on {HOST}; stop some servers"
    )


def answers(port: int) -> bool:
    """Say whether anything accepts connections on this port of 127.0.0.1."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def spawn_leashed(
    command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own that dies with this process, its output appended to `log`.

    Args:
        command: program and arguments.
        log: file to append both outputs to; its folder exists.
        env: variables to add to this process's own.

    Returns: the process; its pid is the program's own.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold back what raises, as Ctrl-C does: between a process's start and its being known, nobody could end it."""
    held: list[int] = []
    before: dict[int, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():  # handlers run in no other
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if callable(handler := signal.getsignal(number)):
                    before[number] = handler
                    signal.signal(number, lambda number, _: held.append(number))
        yield
    finally:
        for restored, handler in before.items():
            signal.signal(restored, handler)
        if held:
            signal.raise_signal(held[0])


class Server(ABC):
    """A server with its data in one folder and its ports fixed, so that it can be killed and started again as the same.

    As a context manager it is started at the beginning, stopped at the end. It dies with the process that started it.

    Attributes:
        data_dir: where its data, configuration and log lie; made if it is not there.
        log: file with everything that it said, across restarts.
    """

    name: str
    ready_timeout_s: float = 60

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        data_dir.mkdir(parents=True, exist_ok=True)
        self.log = data_dir / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """Write what the server reads (configuration, formatted storage) and return its command line."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Ask the server, in a second or two at most, whether it does its work."""

    def _env(self) -> Mapping[str, str]:
        return {}

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id; raises ServerFailedError when it was never started."""
        if self._process is None:
            raise ServerFailedError(f"{self.name} was not started; call start() first")
        return self._process.pid

    def start(self) -> Self:
        """Start it and wait until it answers.

        Raises: ServerFailedError with the end of the log, if it ends or does not answer within `ready_timeout_s`.
        """
        try:
            self.launch()
            self._wait_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def launch(self) -> None:
        """Start it, and do not wait until it answers: `start` does. Several come up at once so."""
        if self.running:
            return
        command, env = self._command(), self._env()
        with _uninterrupted():
            self._process = spawn_leashed(command, log=self.log, env=env)

    def stop(self, timeout_s: float = 20) -> None:
        """End it with SIGTERM, with SIGKILL if it still lives after `timeout_s`; nothing to do when it does not run."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it with SIGKILL, as a crash of the machine would, together with what it started."""
        if self._process is None or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def restart(self) -> Self:
        """Stop it and start it again on the same data and ports."""
        self.stop()
        return self.start()

    def log_tail(self, lines: int = _LOG_TAIL_LINES) -> str:
        """Return the last lines of the log."""
        with contextlib.suppress(FileNotFoundError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + self.ready_timeout_s
        while not self._is_ready():
            if not self.running:
                raise self._failed(f"ended with exit code {self._process.returncode if self._process else None}")
            if time.monotonic() > deadline:
                raise self._failed(f"was not ready within {self.ready_timeout_s:g} s")
            time.sleep(_PAUSE_S)

    def _failed(self, what: str) -> ServerFailedError:
        return ServerFailedError(f"{self.name} {what}. Its log {self.log} ends with:\n{self.log_tail()}")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()
