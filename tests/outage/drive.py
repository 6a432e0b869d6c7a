"""Kafka is killed under the traffic of services, and started again: what they noticed of it, and what arrived.

Each language has two services of the same code: one delivers to Kafka, the other is its *control*: it writes its
records to nowhere. They are asked in turns, in pairs, at the same moments. So whatever else the machine does slows
both, and what Kafka's absence does slows only one: that is why the two are compared, and no time alone is asserted.
"""

import http.client
import json
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reading import numbers, read, wait_for
from shipper.devstack import parts
from shipper.devstack.kafka import KafkaServer, make_topic
from shipper.devstack.server import HOST, answers, free_port, spawn_leashed

PHASES = ("before", "away", "back")
_PYTHON = Path(__file__).with_name("service.py")
_NODE = Path(__file__).parents[2] / "clients" / "node" / "test" / "outage.mjs"
_PROGRAMS: dict[str, Callable[[], list[str]]] = {
    "python": lambda: [sys.executable, str(_PYTHON)],
    "node": lambda: [str(parts.locate("node")), str(_NODE)],
}
LANGUAGES = tuple(_PROGRAMS)
_WINDOW_CALLS = 250  # some seconds
_PAIR_EVERY_S = 0.03
_PAIRS_MIN = 50  # of each phase
_PATIENCE_S = 240.0  # of a machine that does much else
_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Times:
    """Of some calls: how many, and how long they took, in ms."""

    number: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, times_ms: Sequence[float]) -> "Times":
        ordered = sorted(times_ms)
        return cls(len(ordered), statistics.median(ordered), ordered[len(ordered) * 99 // 100], ordered[-1])


@dataclass
class Service:
    """A running service, and what was seen of it."""

    port: int
    topic: str | None
    requests: list[str] = field(default_factory=list)
    """The IDs that came back, in order."""
    failures: list[str] = field(default_factory=list)
    request_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    call_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    state: dict[str, Any] = field(default_factory=dict)

    def ask(self, phase: str) -> None:
        """Make a request; one that is not answered with 200 in ten seconds has failed."""
        began_s = time.perf_counter()
        try:
            answer, body = self._get(self._traffic, f"/rooms/room-{len(self.requests) % 500}")
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(f"{phase}: {error!r}")
            self._traffic.close()
            return
        self.request_ms[phase].append(1_000 * (time.perf_counter() - began_s))
        self.requests.append(answer.headers["x-request-id"])
        if answer.status != http.HTTPStatus.OK:
            self.failures.append(f"{phase}: {answer.status} {body[:200]!r}")

    def look(self, phase: str) -> dict[str, Any]:
        """Ask what its log calls took, and what became of the records."""
        asking = http.client.HTTPConnection(HOST, self.port, timeout=_TIMEOUT_S)  # kept alive it would not be for long
        _, body = self._get(asking, "/figures")
        asking.close()
        self.state = json.loads(body)
        self.call_ms[phase] += [us / 1_000 for us in self.state.pop("callUs")]
        return self.state

    def __post_init__(self) -> None:
        self._traffic = http.client.HTTPConnection(HOST, self.port, timeout=_TIMEOUT_S)

    @staticmethod
    def _get(connection: http.client.HTTPConnection, path: str) -> tuple[http.client.HTTPResponse, bytes]:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer, answer.read()


@dataclass(frozen=True)
class Seen:
    """What was seen of the services of one language."""

    subject: Service
    control: Service
    records: list[dict[str, Any]]
    """What is in Kafka in the end."""

    def calls(self, service: Service, *phases: str) -> Times:
        return Times.of([ms for phase in phases or PHASES for ms in service.call_ms[phase]])

    def steady_p99_ms(self, service: Service, phase: str) -> float:
        """The 99th percentile of a log call in the median of the phase's windows: one bad second does not move it."""
        times_ms = service.call_ms[phase]
        windows = range(0, len(times_ms) - _WINDOW_CALLS + 1, _WINDOW_CALLS)
        return statistics.median(Times.of(times_ms[at : at + _WINDOW_CALLS]).p99_ms for at in windows)

    def requests(self, service: Service, *phases: str) -> Times:
        return Times.of([ms for phase in phases or PHASES for ms in service.request_ms[phase]])

    @property
    def lines(self) -> list[int]:
        """The numbers of the lines, in Kafka's order."""
        return numbers([one for one in self.records if one["context"] == "rooms"])

    @property
    def answered(self) -> list[str]:
        """The IDs of the requests whose access line is in Kafka, in its order."""
        return [one["requestId"] for one in self.records if one["context"] == "access"]


def run(folder: Path, languages: Sequence[str], away_s: float) -> dict[str, Seen]:
    """Run the services, kill Kafka for so long and as long as it takes to start, and wait until nothing waits."""
    with KafkaServer(folder / "kafka") as kafka, ExitStack() as stack:
        pairs = {
            name: (
                stack.enter_context(_running(folder / name, name, kafka.bootstrap)),
                stack.enter_context(_running(folder / f"{name}-control", name, "")),
            )
            for name in languages
        }
        subjects = [subject for subject, _ in pairs.values()]
        with _traffic(list(pairs.values())) as phase:
            wait_for(lambda: _asked(pairs, "before"), "traffic before", _PATIENCE_S)
            kafka.kill()
            phase("away")
            time.sleep(away_s)  # this long is what the test is about
            wait_for(lambda: _asked(pairs, "away"), "traffic while Kafka is away", _PATIENCE_S)
            assert all(service.look("away")["away"] for service in subjects), "none of them noticed"
            kafka.start()
            phase("back")
            wait_for(lambda: _asked(pairs, "back"), "traffic after", _PATIENCE_S)
        wait_for(
            lambda: not any(service.look("back")["waiting"] for service in subjects),
            "nothing waits any more",
            _PATIENCE_S,
        )
        return {
            name: Seen(subject, control, read(kafka.bootstrap, str(subject.topic)))
            for name, (subject, control) in pairs.items()
        }


@contextmanager
def _running(folder: Path, language: str, bootstrap: str) -> Iterator[Service]:
    """Run a service; one without a Kafka writes to nowhere."""
    folder.mkdir()
    service = Service(free_port(), make_topic(bootstrap) if bootstrap else None)
    settings = {
        "SERVICELOG_SERVICE": "chat-service",
        "SERVICELOG_KAFKA": bootstrap,
        "SERVICELOG_TOPIC": service.topic or "",
        "SERVICELOG_WHEN_FULL": "spill",
        "SERVICELOG_SPILL_FOLDER": str(folder / "spill"),
        "SERVICELOG_QUEUE_BYTES_MAX": "400000",  # so little that most of an outage is on disk
    }
    log = folder / "service.log" if bootstrap else Path("/dev/null")
    process = spawn_leashed([*_PROGRAMS[language](), str(service.port)], log=log, env=settings)
    try:
        wait_for(
            lambda: process.poll() is not None or answers(service.port), f"the service answers: {log}", _PATIENCE_S
        )
        assert process.poll() is None, f"the service ended: {log.read_text()}"
        yield service
    finally:
        process.kill()
        process.wait()


@contextmanager
def _traffic(pairs: Sequence[tuple[Service, Service]]) -> Iterator[Callable[[str], None]]:
    """Ask the services in pairs, the control first every second time; gives what begins the next phase."""
    phase, over = [PHASES[0]], threading.Event()

    def go() -> None:
        turn = 0
        while not over.wait(_PAIR_EVERY_S):
            turn += 1
            for pair in pairs:
                for service in pair if turn % 2 else reversed(pair):
                    service.ask(phase[0])

    def begin(name: str) -> None:
        for pair in pairs:
            for service in pair:
                service.look(phase[0])
        phase[0] = name

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield begin
    finally:
        over.set()
        thread.join()
    begin("over")


def _asked(pairs: dict[str, tuple[Service, Service]], phase: str) -> bool:
    services = [service for pair in pairs.values() for service in pair]
    failures = [failure for service in services for failure in service.failures]
    assert not failures, failures[:3]
    return all(len(service.request_ms[phase]) >= _PAIRS_MIN for service in services)
