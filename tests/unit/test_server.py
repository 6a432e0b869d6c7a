"""A server of the devstack is known from the moment it runs."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil
import pytest

from shipper.devstack.server import Server, spawn_leashed


class Sleeping(Server):
    name = "sleeping"

    def _command(self) -> Sequence[str]:
        return ["sleep", "60"]

    def _is_ready(self) -> bool:
        return True


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_just_after_a_server_was_started_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spawn(command: Sequence[str], log: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        process = spawn_leashed(command, log=log, env=env)
        signal.raise_signal(signal.SIGINT)
        return process

    server = Sleeping(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("shipper.devstack.server.spawn_leashed", spawn)
        with pytest.raises(KeyboardInterrupt):
            server.start()
    assert server.pid
    assert not server.running


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_while_a_server_is_started_leaves_it_known_and_so_ended(tmp_path: Path) -> None:
    for number in range(30):
        server = Sleeping(tmp_path / str(number))
        presses = threading.Timer(number * 0.000_2, os.kill, (os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it comes at any moment of these
            presses.start()
            server.launch()
            time.sleep(10)
        presses.join()
        server.kill()
    left = [" ".join(process.cmdline()) for process in psutil.Process().children()]
    assert not [command for command in left if "sleep 60" in command]
