"""From the moment a record is produced until Loki shows it to a query; and what an idle worker costs.

A real Kafka, a real Loki, `shipper run` as its users run it. Records come at an even rate; the end of the log is
queried again and again. A record counts as seen when the query that shows it is answered, so the figures hold a
query's time.
"""

import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import requests
from confluent_kafka import Producer

from benchmarks.measured import NotMeasuredError, cpu_s
from shipper.devstack.kafka import make_topic
from shipper.devstack.server import free_port

_PAUSE_S = 0.02
_WARM_UP_S = 2.0
_SETTLE_S = 5.0
_SLICES_PER_S = 100
_LIMIT = 5_000
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Latency:
    """Seconds from produced to queryable, of all records, and how far two queries lay apart."""

    records: int
    p50_s: float
    p99_s: float
    max_s: float
    between_queries_s: float


@dataclass(frozen=True)
class Idle:
    """Share of a core that processes used while nothing came: each worker, and the supervisor."""

    worker: float
    supervisor: float


@contextmanager
def running(bootstrap: str, url: str, overrides: Sequence[str] = ()) -> Iterator[tuple[psutil.Process, str]]:
    """Run a shipper with two workers for a new topic; gives its supervisor and the topic."""
    topic, dead_letters = make_topic(bootstrap, 4), make_topic(bootstrap, 1)
    port = free_port()
    settings = (
        f"kafka.bootstrap_servers={json.dumps([bootstrap])}",
        f"kafka.topics={json.dumps([topic])}",
        f"kafka.group_id=bench-{uuid.uuid4().hex[:12]}",
        f"dead_letter.topic={dead_letters}",
        f"loki.url={url}",
        f"status.listen=127.0.0.1:{port}",
        f'labels.static={{ bench = "{topic}" }}',
        "workers.count=2",
        *overrides,
    )
    options = [option for setting in settings for option in ("--set", setting)]
    command = [sys.executable, "-m", "shipper", "run", *options]
    with subprocess.Popen(command, cwd=Path(__file__).parents[1], stderr=subprocess.DEVNULL) as process:
        try:
            _wait_ready(port, process)
            yield psutil.Process(process.pid), topic
        finally:
            process.terminate()


def _wait_ready(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(requests.RequestException):
            if requests.get(f"http://127.0.0.1:{port}/readyz", timeout=2).ok:
                return
        time.sleep(0.1)
    raise NotMeasuredError(f"shipper was not ready within {_TIMEOUT_S:g} s")


def measure_latency(bootstrap: str, url: str, topic: str, *, seconds: float, rate: int = 1_000) -> Latency:
    """Produce records at a rate, and see when a query shows each of them; those of the first two seconds warm it up."""
    warm_up = int(_WARM_UP_S * rate)
    count = warm_up + int(seconds * rate)
    produced, seen = np.zeros(count), np.full(count, np.nan)
    writing = threading.Thread(target=_write, args=(bootstrap, topic, produced, rate), daemon=True)
    first_ns = time.time_ns()
    writing.start()
    queries = 0
    began = time.monotonic()
    deadline = began + _WARM_UP_S + seconds + _TIMEOUT_S
    with requests.Session() as session:
        while np.isnan(seen).any() and time.monotonic() < deadline:
            found = _newest(session, url, topic, first_ns)
            now, queries = time.monotonic(), queries + 1
            for number in found:
                if np.isnan(seen[number]):
                    seen[number] = now
            time.sleep(_PAUSE_S)
    if np.isnan(seen).any():
        raise NotMeasuredError(f"{int(np.isnan(seen).sum())} of {count} records were never seen")
    late_s = (seen - produced)[warm_up:]
    p50_s, p99_s, max_s = np.quantile(late_s, (0.5, 0.99, 1.0)).tolist()
    return Latency(len(late_s), p50_s, p99_s, max_s, (float(seen.max()) - began) / queries)


def _write(bootstrap: str, topic: str, produced: "np.ndarray[tuple[int], np.dtype[np.float64]]", rate: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
    began = time.monotonic()
    step = max(1, rate // _SLICES_PER_S)
    for first in range(0, len(produced), step):
        time.sleep(max(0.0, began + first / rate - time.monotonic()))
        for number in range(first, min(first + step, len(produced))):
            produced[number] = time.monotonic()
            value = {
                "timestamp": time.time_ns() // 1_000_000,
                "service": "bench",
                "level": "info",
                "message": str(number),
            }
            producer.produce(topic, json.dumps(value).encode(), str(number).encode())
        producer.poll(0)
    producer.flush(_TIMEOUT_S)


def _newest(session: requests.Session, url: str, topic: str, first_ns: int) -> list[int]:
    """Return the numbers of the newest records that a query shows, 5,000 at most: five seconds of them."""
    parameters: dict[str, str | int] = {
        "query": f'{{bench="{topic}"}}',
        "start": max(first_ns, time.time_ns() - 10 * 10**9) - 10**9,
        "end": time.time_ns() + 10**9,
        "limit": _LIMIT,
        "direction": "backward",
    }
    answer = session.get(f"{url}/loki/api/v1/query_range", params=parameters, timeout=_TIMEOUT_S)
    answer.raise_for_status()
    streams = answer.json()["data"]["result"]
    return [int(json.loads(line)["message"]) for stream in streams for _, line, *_ in stream["values"]]


def measure_idle(supervisor: psutil.Process, seconds: float) -> Idle:
    """See what CPU time the processes take while nothing comes."""
    time.sleep(_SETTLE_S)
    workers = [child for child in supervisor.children() if child.cpu_times().user > 0.2]
    if not workers:
        raise NotMeasuredError("no worker was found whose idling could be measured")
    before = [cpu_s(process) for process in (supervisor, *workers)]
    time.sleep(seconds)
    used = [(cpu_s(process) - was) / seconds for process, was in zip((supervisor, *workers), before, strict=True)]
    return Idle(worker=max(used[1:]), supervisor=used[0])
