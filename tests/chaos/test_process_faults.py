"""Our own processes: killed, stopped, asked to end in every state, out of descriptors, nowhere to log to.

Broken on purpose, and seen red: orphans stay; a worker that cannot be started ends the supervisor; a line that cannot
be written is an error.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self
from urllib.error import URLError

import psutil
import pytest

from chaos.cluster import change, committed, flows, loaded
from chaos.load import Load, healthy
from chaos.stage import PARTITIONS, make_shipping
from shipper.devstack.kafka import KafkaServer
from shipper.devstack.loki import LokiServer
from shipper.devstack.server import free_port
from shipping import WAIT_S, Running, Shipping

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.loki]


@pytest.fixture
def shipping(kafka: KafkaServer, loki: LokiServer, tmp_path: Path) -> Shipping:
    return make_shipping(kafka, loki.url, tmp_path)


def processes(running: Running) -> list[psutil.Process]:
    """Give the supervisor and all that it started, Python's own helpers included."""
    supervisor = psutil.Process(running.process.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def assert_all_end(these: Sequence[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(these, timeout=WAIT_S)
    assert not alive


def degraded(running: Running) -> None:
    running.wait_for(lambda status: status["state"] == "degraded")


def test_killed_workers_supervisors_and_all_at_once_cost_nothing_and_leave_nothing_behind(shipping: Shipping) -> None:
    with Load(shipping.bootstrap, shipping.topic, rate=1_000) as load:
        with shipping.run() as running:
            flows(running)
            os.kill(running.workers()[0], signal.SIGKILL)
            running.wait_for(lambda status: status["workers"][0]["restarts"] == 1 and status["state"] == "running")
            flows(running)
            family = processes(running)
            running.process.kill()
            running.process.wait()
            assert_all_end(family[1:])
        with shipping.run() as running:
            flows(running)
            family = processes(running)
            memory = [path for one in family for path in shared_memory(one)]
            assert memory, "no memory of ours is seen, so its end could not be"
            for one in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            running.process.wait()
            assert_all_end(family)
            # It has no name, so it went with the last that held it.
            assert not [path for path in memory if path.exists()]
            assert not list(Path("/dev/shm").glob("*shipper*"))  # noqa: S108 - where it must not be
        with shipping.run() as running:
            flows(running)
            load.stop()
            healthy(running)
    shipping.judge()


def shared_memory(process: psutil.Process) -> list[Path]:
    """Find the descriptors of a process that are memory of the counters."""
    folder = Path(f"/proc/{process.pid}/fd")
    return [path for path in folder.iterdir() if "shipper-counters" in str(path.readlink())]


def test_sigterm_ends_it_in_every_state_and_costs_nothing(
    own_kafka: KafkaServer, loki: LokiServer, tmp_path: Path
) -> None:
    shipping = make_shipping(own_kafka, loki.url, tmp_path)
    no_loki = ("--set", f"loki.url=http://127.0.0.1:{free_port()}", "--set", "workers.drain_timeout_s=1")
    with Load(own_kafka.bootstrap, shipping.topic, rate=1_000) as load:
        with shipping.run() as running:  # starting
            running.until(lambda: "worker started" in running.log() or None)
            assert ended(running) == 0
        with shipping.run() as running:  # a worker is dead, and not started again yet
            flows(running)
            os.kill(running.workers()[0], signal.SIGKILL)
            running.until(lambda: "perhaps out of memory" in running.log() or None)
            assert ended(running) == 0
        with shipping.run(*no_loki) as running:
            running.wait_for(lambda status: status["loki"]["state"] == "retrying" and status["totals"]["in_flight"])
            before = committed(shipping)
            assert ended(running) == 0
            assert "given back to Kafka, uncommitted" in running.log()
            assert committed(shipping) == before
        with shipping.run(*no_loki, "--set", "workers.drain_timeout_s=3600") as running:  # draining already
            running.wait_for(lambda status: status["totals"]["in_flight"])
            running.process.send_signal(signal.SIGTERM)
            running.wait_for(lambda status: status["state"] == "draining")
            assert ended(running) == 1
        with shipping.run() as running:
            flows(running)
            load.stop()  # or what was written while there is no Kafka would be given up
            own_kafka.stop()
            degraded(running)
            assert ended(running) == 0
        own_kafka.start()
        with shipping.run() as running:
            running.wait_for(lambda status: status["state"] == "running" and len(status["partitions"]) == PARTITIONS)
            healthy(running)
    shipping.judge()


def ended(running: Running) -> int:
    """Ask it to end, and wait until all of its processes have."""
    family = processes(running)
    running.process.send_signal(signal.SIGTERM)
    code = running.exit_code()
    assert_all_end(family)
    assert "Traceback" not in running.log()
    return code


@pytest.mark.parametrize("assignment", ["pinned", "group"])
def test_a_worker_that_sleeps_beyond_its_session_goes_on_and_costs_nothing(
    own_kafka: KafkaServer, loki: LokiServer, tmp_path: Path, assignment: str
) -> None:
    shipping = make_shipping(own_kafka, loki.url, tmp_path)
    client = '{ "session.timeout.ms" = 3000, "heartbeat.interval.ms" = 300 }'
    change(shipping, "[kafka]", f'[kafka]\nassignment = "{assignment}"\nclient = {client}')
    with shipping.run() as running:
        with loaded(running):
            sleeping, awake = running.workers()
            os.kill(sleeping, signal.SIGSTOP)
            began = time.monotonic()
            if assignment == "group":
                running.wait_for(lambda status: {p["worker"] for p in status["partitions"]} == {1})
            else:
                running.until(lambda: time.monotonic() > began + 4 or None)
            flows(running)
            os.kill(sleeping, signal.SIGCONT)
        assert running.workers() == [sleeping, awake], "it must have gone on by itself"
        assert len(running.status()["partitions"]) == PARTITIONS
        shipping.judge()


def test_processes_out_of_descriptors_go_on_when_they_have_some(shipping: Shipping) -> None:
    with shipping.run() as running:
        with loaded(running):
            family, (first, _) = processes(running), running.workers()
            for one in family:
                one.rlimit(psutil.RLIMIT_NOFILE, (3, 4_096))
            os.kill(first, signal.SIGKILL)
            running.until(lambda: "worker could not be started" in running.log() or None)
            for one in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.rlimit(psutil.RLIMIT_NOFILE, (4_096, 4_096))
        shipping.judge()


class Mute(Running):
    """A shipper whose log goes elsewhere."""

    def __init__(self, shipping: Shipping, stderr: int) -> None:
        self._port = free_port()
        super().__init__(shipping, ("--set", f"status.listen=127.0.0.1:{self._port}"))
        self._stderr = stderr

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(self._command, stderr=self._stderr, start_new_session=True)
        os.close(self._stderr)
        self.until(self._answers)
        return self

    def _answers(self) -> bool | None:
        with contextlib.suppress(URLError):
            return bool(self.status())
        return None

    def log(self) -> str:
        return "nobody has it"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"


def full_device() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def closed_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize("stderr", [full_device, closed_pipe])
def test_a_log_that_cannot_be_written_stops_nothing(shipping: Shipping, stderr: Callable[[], int]) -> None:
    with Mute(shipping, stderr()) as running:
        with loaded(running):
            os.kill(running.workers()[0], signal.SIGKILL)
            running.wait_for(lambda status: status["workers"][0]["restarts"] == 1 and status["state"] == "running")
        shipping.judge()
        assert ended(running) == 0
