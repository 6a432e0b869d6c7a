"""Starting processes: how a worker comes into being, and how one question is asked in a process of its own.

Both use the `spawn` method: the threads of librdkafka and polars do not survive a `fork`, and every restart would fork
a process in which the status endpoint's thread runs. A target is named as text, `module:function`, and imported in the
new process alone, so the supervisor loads neither polars nor confluent_kafka.
"""

import contextlib
import importlib
import math
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

from shipper.errors import CannotStartError, ShipperError
from shipper.process import stacks
from shipper.settings import Settings


@dataclass(frozen=True, slots=True)
class Programs:
    """What runs in processes of its own, as `module:function`; tests bring others.

    Attributes:
        worker: ships; see `start_worker`.
        survey: checks the settings, and returns the partitions of the largest topic.
        retention: returns how long Kafka keeps each topic's records.
        canary: writes canaries, reads them back, and reports.
    """

    worker: str = "shipper.process.worker:main"
    survey: str = "shipper.process.survey:survey"
    retention: str = "shipper.process.retention:ask"
    canary: str = "shipper.process.canary_process:main"


CONTEXT = multiprocessing.get_context("spawn")
ANSWER_TIMEOUT_S = 60.0
_END_S = 10.0  # for a process that has closed its end of the pipe, on a machine that is overloaded


class SharedDescriptor:
    """A file descriptor that arrives in a spawned process as the number that it has there."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __reduce__(self) -> tuple[Callable[[Any], int], tuple[Any]]:
        return _receive, (DupFd(self._fd),)


def _receive(duplicate: Any) -> int:  # noqa: ANN401 - multiprocessing's class of it is private
    descriptor: int = duplicate.detach()
    return descriptor


def prepare_environment() -> None:
    """Set what workers must find in their environment from their first instruction on, where nobody set it."""
    # Workers are the parallelism: a polars pool per worker would only fight over the cores.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    # numpy's linear algebra starts a thread for each core, which spins for a while when it has nothing to do.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # glibc opens an arena per thread, and librdkafka has many: memory that is free but never given back.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    # A batch takes megabytes, and so does the next: given back to the kernel meanwhile, they cost a page fault
    # for each 4 KiB of them.
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(16 * 1024 * 1024))
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(32 * 1024 * 1024))


def count_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many cores this process may use: its affinity, and its container's quota rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, math.ceil(int(quota) / int(period))))


def start_worker(
    target: str,
    index: int,
    workers: int,
    settings: Settings,
    counters_fd: int,
    stacks_fd: int,
    *,
    until_caught_up: bool,
) -> SpawnProcess:
    """Start `target(index, workers, settings, counters_fd, until_caught_up)` in a process of its own.

    It writes the stacks of its threads to `stacks_fd` when `stacks.SIGNAL` comes, or a crash.
    """
    arguments = (target, index, workers, settings, SharedDescriptor(counters_fd), until_caught_up)
    process = CONTEXT.Process(
        target=_work, args=(SharedDescriptor(stacks_fd), *arguments), name=f"shipper worker {index}", daemon=False
    )
    _start_deaf(process)
    return process


def _start_deaf(process: SpawnProcess) -> None:
    """Start a process that neither Ctrl-C nor a request for stacks reaches before it is ready for it.

    In a terminal, Ctrl-C reaches the whole group, and a Python that still imports dies of it with a traceback. The mask
    is inherited where a handler is not; here, what came meanwhile arrives when it is taken off.
    """
    resource_tracker.ensure_running()  # its own start, which the first process would bring about, unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, stacks.SIGNAL})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to whoever started this process: it decides what becomes of both."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _work(stacks_fd: int, target: str, *arguments: object) -> None:
    _ignore_interrupts()
    stacks.write_on_request(stacks_fd)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {stacks.SIGNAL})
    _resolve(target)(*arguments)


def _resolve(target: str) -> Callable[..., object]:
    module, _, name = target.partition(":")
    function: Callable[..., object] = getattr(importlib.import_module(module), name)
    return function


class Question:
    """`target(settings)` asked in a short-lived process of its own; its answer must be picklable.

    Attributes:
        sentinel: becomes ready, for `multiprocessing.connection.wait`, when the answer is there or will never be.
    """

    def __init__(self, target: str, settings: Settings) -> None:
        self._target = target
        self._connection, answers = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(target=_answer, args=(answers, target, settings), daemon=True)
        _start_deaf(self._process)
        answers.close()
        self.sentinel = self._connection

    def answer(self, timeout_s: float = ANSWER_TIMEOUT_S) -> Any:  # noqa: ANN401 - whatever the target returns
        """Wait for the answer and return it; the process is gone afterwards.

        Raises: the target's own ShipperError; CannotStartError if it crashed or took longer than `timeout_s`.
        """
        try:
            if not self._connection.poll(timeout_s):
                raise CannotStartError(f"{self._target} did not answer in {timeout_s:.0f} s; is Kafka reachable?")
            answer = self._connection.recv()
        except EOFError:
            self._process.join(_END_S)
            raise CannotStartError(
                f"{self._target} ended with exit code {self._process.exitcode} instead of an answer; "
                "its last words are on stderr"
            ) from None
        finally:
            self.cancel()
        if isinstance(answer, ShipperError):
            raise answer
        return answer

    def cancel(self) -> None:
        """Ask no longer: the process is killed, if it still lives."""
        self._process.kill()
        self._process.join()
        self._connection.close()


def start_reporting(target: str, settings: Settings) -> tuple[SpawnProcess, Connection]:
    """Start `target(settings, connection)` in a process of its own; what it sends comes out of the connection."""
    received, sent = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_report, args=(sent, target, settings), name="shipper canary", daemon=True)
    _start_deaf(process)
    sent.close()
    return process, received


def _report(connection: Connection, target: str, settings: Settings) -> None:
    _ignore_interrupts()
    _resolve(target)(settings, connection)


def _answer(connection: Connection, target: str, settings: Settings) -> None:
    _ignore_interrupts()
    try:
        answer = _resolve(target)(settings)
    except ShipperError as error:
        answer = error
    with contextlib.suppress(BrokenPipeError):  # nobody waits any more
        connection.send(answer)
