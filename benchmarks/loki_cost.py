"""CPU time of shipper and of a real Loki together, per record; for some settings, and for other shippers."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from benchmarks.end_to_end import Topic, ship
from benchmarks.measured import Usage, cpu_s
from benchmarks.peers import Peer, measure_peer
from shipper.devstack.loki import LokiServer

SETTINGS = (
    (),
    ("loki.request_bytes_max=524288",),
    ("loki.request_bytes_max=8388608",),
    ("loki.in_flight_max=1",),
    ("loki.in_flight_max=8",),
    ("kafka.batch_records_max=2500",),
    ("kafka.batch_records_max=20000",),
)


@dataclass(frozen=True)
class Cost:
    """CPU µs per record."""

    name: str
    shipper_us: float
    loki_us: float
    records_per_s: float


def measure_costs(topic: Topic, peers: Sequence[Peer]) -> Iterator[Cost]:
    """Ship the topic into a new Loki for each of the settings, then by each of the peers."""
    for overrides in SETTINGS:
        yield _measure(topic, ", ".join(overrides) or "default", partial(ship, topic, overrides=overrides))
    for peer in peers:
        yield _measure(topic, peer.name, partial(measure_peer, peer, topic))


def _measure(topic: Topic, name: str, run: Callable[[str], Usage]) -> Cost:
    with tempfile.TemporaryDirectory(prefix="shipper-bench-") as folder, LokiServer(Path(folder)) as loki:
        process = psutil.Process(loki.pid)
        before = cpu_s(process)
        usage = run(loki.url)
        records = topic.case.records
        loki_us = 1e6 * (cpu_s(process) - before) / records
        return Cost(name, 1e6 * usage.cpu_s / records, loki_us, records / usage.wall_s)
