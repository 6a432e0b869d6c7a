"""The faults that a soak draws from: each is begun, held for a while, and ended; ended means that its cause is gone.

How long a fault is held is drawn as well. What happens in a moment (a kill) has no more to hold than that moment.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from random import Random

from chaos.proxy import CUT_ANSWERS, LOSE_ANSWERS, REFUSE, SILENT, Mode, always, half_of
from chaos.world import SESSION_S, World
from fault.server import Answer, Push, Script
from shipper.devstack.server import Server

Begin = Callable[[World, Random], AbstractContextManager[None]]
_NO_TIME = (0.0, 0.5)
_SLOW = Mode(pause_s=0.5)


@dataclass(frozen=True)
class Fault:
    """One row of the table.

    Attributes:
        part: what it hits; two faults at once hit different parts.
        name: what happens.
        begin: makes it happen, and at the end undoes it.
        hold_s: shortest and longest time for which it is held.
        alone: whether it waits for a healthy shipper on its way, which another fault would keep it from.
    """

    part: str
    name: str
    begin: Begin
    hold_s: tuple[float, float] = (1.0, 8.0)
    alone: bool = False

    def __str__(self) -> str:
        return f"{self.part}: {self.name}"


# --- our own processes


@contextlib.contextmanager
def _worker_killed(world: World, random: Random) -> Iterator[None]:
    os.kill(world.a_worker(random), signal.SIGKILL)
    yield


@contextlib.contextmanager
def _worker_stopped(world: World, random: Random) -> Iterator[None]:
    pid = world.a_worker(random)
    os.kill(pid, signal.SIGSTOP)
    yield
    with contextlib.suppress(ProcessLookupError):  # its supervisor may have killed it meanwhile
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def _host_suspended(world: World, _: Random) -> Iterator[None]:
    processes = world.hosts[0].processes()
    for process in processes:
        process.suspend()
    yield
    for process in processes:
        process.resume()


@contextlib.contextmanager
def _supervisor_killed(world: World, _: Random) -> Iterator[None]:
    world.hosts[0].kill_supervisor()
    yield
    world.hosts[0].start(world.assignment)


@contextlib.contextmanager
def _all_killed(world: World, _: Random) -> Iterator[None]:
    world.hosts[0].kill_all()
    yield
    world.hosts[0].start(world.assignment)


@contextlib.contextmanager
def _restarted(world: World, _: Random) -> Iterator[None]:
    world.hosts[0].stop()
    yield
    world.hosts[0].start(world.assignment)


@contextlib.contextmanager
def _reloaded(world: World, _: Random) -> Iterator[None]:
    if world.hosts[0].running:
        os.kill(world.hosts[0].running.process.pid, signal.SIGHUP)
    yield


# --- the group


@contextlib.contextmanager
def _changed_over(world: World, _: Random) -> Iterator[None]:
    world.change_over("pinned" if world.assignment == "group" else "group")
    yield


@contextlib.contextmanager
def _second_host(world: World, _: Random) -> Iterator[None]:
    if world.assignment != "group":
        world.change_over("group")
    world.hosts[1].start(world.assignment)
    yield
    world.hosts[1].stop()


@contextlib.contextmanager
def _zombie(world: World, random: Random) -> Iterator[None]:
    """A worker sleeps until the group has given its partitions away, and wakes up beside their new owner."""
    if world.assignment != "group":
        world.change_over("group")
    world.hosts[1].start(world.assignment)
    world.wait_until_healthy()
    with _worker_stopped(world, random):
        time.sleep(SESSION_S)
        yield
    world.hosts[1].stop()


# --- Loki and the way to it


def _wire(mode: Mode) -> Begin:
    return lambda world, _: world.wire.during(mode)


def _answers(*answers: Answer) -> Begin:
    return lambda world, random: world.answers.during(always(random.choice(answers)))


@contextlib.contextmanager
def _half_stored(world: World, _: Random) -> Iterator[None]:
    """Loki stores the first half of each push, and says that it failed."""

    def store_half(push: Push) -> Answer:
        world.answers.forward(half_of(push))
        return Answer(500, "rpc error: code = Unavailable")

    with world.answers.during(store_half):
        yield


@contextlib.contextmanager
def _some_pushes_fail(world: World, random: Random) -> Iterator[None]:
    """One push of three is answered 503, stored or not."""
    draws = Random(random.random())  # noqa: S311 - the seed's

    def now_and_then(push: Push) -> Answer:
        if draws.random() < 1 / 3:
            if draws.random() < 1 / 2:
                world.answers.forward(push)
            return Answer(503, "Service Unavailable")
        return world.answers.forward(push)

    script: Script = now_and_then
    with world.answers.during(script):
        yield


# --- servers


def _stopped(server: Callable[[World], Server]) -> Begin:
    @contextlib.contextmanager
    def begin(world: World, _: Random) -> Iterator[None]:
        server(world).stop()
        yield
        server(world).start()

    return begin


def _killed(server: Callable[[World], Server]) -> Begin:
    @contextlib.contextmanager
    def begin(world: World, _: Random) -> Iterator[None]:
        server(world).kill()
        yield
        server(world).start()

    return begin


def _frozen(server: Callable[[World], Server]) -> Begin:
    @contextlib.contextmanager
    def begin(world: World, _: Random) -> Iterator[None]:
        os.kill(server(world).pid, signal.SIGSTOP)
        yield
        os.kill(server(world).pid, signal.SIGCONT)

    return begin


@contextlib.contextmanager
def _letters_too_large(world: World, _: Random) -> Iterator[None]:
    world.configure_dead_letters(max_message_bytes="100")
    yield
    world.configure_dead_letters(max_message_bytes="2097152")


@contextlib.contextmanager
def _letters_not_writable(world: World, _: Random) -> Iterator[None]:
    world.configure_dead_letters(min_insync_replicas="2")
    yield
    world.configure_dead_letters(min_insync_replicas="1")


_LIMITS = (
    Answer(429, "Ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec)"),
    Answer(429, "Ingestion rate limit exceeded for user fake", {"Retry-After": "1"}),
    Answer(429, "Maximum active stream limit exceeded, reduce the number of active streams"),
    Answer(429, "Per stream rate limit exceeded (limit: 3MB/sec)"),
)
_FAILURES = tuple(Answer(status, "upstream connect error") for status in (500, 502, 503, 504))
_NO_ACCESS = (Answer(401, "no credentials provided"), Answer(403, "forbidden"))
_NOT_LOKI = (Answer(404, "<html>not here</html>", {"Content-Type": "text/html"}), Answer(260, "ingestion blocked"))

FAULTS = (
    Fault("worker", "SIGKILL", _worker_killed, _NO_TIME),
    Fault("worker", "SIGSTOP, then SIGCONT", _worker_stopped),
    Fault("shipper", "supervisor SIGKILL, started again", _supervisor_killed, _NO_TIME),
    Fault("shipper", "all SIGKILL, started again", _all_killed, _NO_TIME),
    Fault("shipper", "SIGTERM, started again", _restarted, _NO_TIME),
    Fault("shipper", "host suspended", _host_suspended),
    Fault("shipper", "SIGHUP: reloaded", _reloaded, _NO_TIME),
    Fault("group", "changed over, pinned ↔ group", _changed_over, _NO_TIME),
    Fault("group", "a second host joins, and leaves", _second_host, (5.0, 15.0)),
    Fault("group", "a worker wakes up after its partitions moved", _zombie, (1.0, 3.0), alone=True),
    Fault("Loki", "connections refused", _wire(REFUSE)),
    Fault("Loki", "never answers", _wire(SILENT)),
    Fault("Loki", "answers lost after storing", _wire(LOSE_ANSWERS)),
    Fault("Loki", "answers cut in the middle", _wire(CUT_ANSWERS)),
    Fault("Loki", "slow by 100 times", _wire(_SLOW)),
    Fault("Loki", "500, 502, 503 or 504", _answers(*_FAILURES)),
    Fault("Loki", "429, of each kind", _answers(*_LIMITS)),
    Fault("Loki", "401 or 403", _answers(*_NO_ACCESS)),
    Fault("Loki", "404 as HTML, or 260", _answers(*_NOT_LOKI)),
    Fault("Loki", "stores half, answers 500", _half_stored),
    Fault("Loki", "one push of three fails", _some_pushes_fail),
    Fault("Loki", "frozen", _frozen(lambda world: world.loki)),
    Fault("Loki", "SIGTERM, started again", _stopped(lambda world: world.loki)),
    Fault("Loki", "SIGKILL, started again", _killed(lambda world: world.loki)),
    Fault("Kafka", "SIGTERM, started again", _stopped(lambda world: world.kafka)),
    Fault("Kafka", "SIGKILL, started again", _killed(lambda world: world.kafka)),
    Fault("Kafka", "frozen", _frozen(lambda world: world.kafka)),
    Fault("dead letters", "refused as too large", _letters_too_large),
    Fault("dead letters", "topic not writable", _letters_not_writable),
)
