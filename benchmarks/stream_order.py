"""Does Loki mind in which order a request has its streams? The same entries, in three orders, into a new Loki each.

Everything is prepared before Loki is timed, and pushed over one connection, one request after the other.
"""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import median

import numpy as np
import psutil
import requests
from confluent_kafka import Message

from benchmarks.cases import Case
from benchmarks.measured import cpu_s
from shipper.devstack.loki import LokiServer
from shipper.loki import encode
from shipper.pipeline import Rules, prepare
from shipper.records import PushRequest, RecordBatch
from shipper.settings import Settings

CASE = Case("200 streams", streams=200, records=200_000)
ROUNDS = 3
_BATCH = 10_000
_SEED = 1

Order = Callable[[list[bytes]], list[bytes]]
ORDERS: dict[str, Order] = {
    "as they come": lambda streams: streams,
    "by label": sorted,
    "at random": lambda streams: Random(_SEED).sample(streams, len(streams)),  # noqa: S311 - nothing secret
}


@dataclass(frozen=True)
class OrderCost:
    """CPU µs of Loki per record."""

    order: str
    loki_us: float


def measure_orders(case: Case = CASE) -> Iterator[OrderCost]:
    """Push a case's records in each of the orders, `ROUNDS` times in turn; the median of each."""
    requests_of = {name: list(_bodies(case, order)) for name, order in ORDERS.items()}
    measured: dict[str, list[float]] = {name: [] for name in ORDERS}
    for _, (name, bodies) in itertools.product(range(ROUNDS), requests_of.items()):
        measured[name].append(1e6 * _pushed_cpu_s(bodies) / case.records)
    for name, costs in measured.items():
        yield OrderCost(name, median(costs))


def _bodies(case: Case, order: Order) -> Iterator[bytes]:
    """Prepare a case as a worker does, and put each request's streams into an order."""
    rules = Rules.compile(Settings())
    values = (value for chunk in case.chunks() for value in chunk.values)
    offset = 0
    while batch := list(itertools.islice(values, _BATCH)):
        messages = [
            Message(topic="logs", partition=0, offset=offset + row, value=value) for row, value in enumerate(batch)
        ]
        offset += len(batch)
        prepared = prepare(RecordBatch("logs", messages), rules, now_ns=time.time_ns())  # type: ignore[arg-type]  # confluent_kafka has no types
        for request in prepared.requests:
            yield encode.compress(b"".join(order(_streams(request))))


def _streams(request: PushRequest) -> list[bytes]:
    """Encode each stream of a request alone: one after the other they are the request."""
    bounds = np.unique(np.clip(request.streams.bounds, request.first, request.last)).tolist()
    return [encode.encode(PushRequest(request.streams, first, last, request.lane)) for first, last in pairwise(bounds)]


def _pushed_cpu_s(bodies: Sequence[bytes]) -> float:
    with tempfile.TemporaryDirectory(prefix="shipper-bench-") as folder, LokiServer(Path(folder)) as loki:
        process, before = psutil.Process(loki.pid), cpu_s(psutil.Process(loki.pid))
        with requests.Session() as session:
            for body in bodies:
                answer = session.post(
                    f"{loki.url}/loki/api/v1/push", body, headers={"Content-Type": "application/x-protobuf"}, timeout=60
                )
                assert answer.status_code == requests.codes.no_content, answer.text
        return cpu_s(process) - before
