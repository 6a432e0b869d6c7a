"""The whole worker against a bare consume loop: the same topic, the same consumer settings, the same minutes.

What counts is the ratio of a pair, one run of each, one right after the other: on a shared machine both are slow
together.
"""

import json
import os
import platform
import re
import statistics
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import confluent_kafka

from benchmarks.measured import BARE, WORKER, NotMeasuredError, Usage, measure
from shipper import config, native
from shipper.devstack import parts
from shipper.devstack.generate import Chunk, generate
from shipper.devstack.kafka import make_topic
from shipper.devstack.produce import produce_chunks
from shipper.kafka.consumer import queue_bytes_max
from shipper.process import spawn
from shipper.process.counters import Counters
from shipper.process.spawn import SharedDescriptor
from shipper.settings import Kafka, Settings

RESULTS = Path(__file__).with_name("results") / "end_to_end.json"
PARTITIONS = 4
_SEED = 1
_HISTORY_MS = 600_000
_WARM_UPS = 1


@dataclass(frozen=True)
class Topic:
    """A topic full of records.

    Attributes:
        bootstrap: the broker's address.
        name: the topic.
        records: how many it holds.
        value_bytes: the sum of the records' values, in bytes.
    """

    bootstrap: str
    name: str
    records: int
    value_bytes: int


@dataclass(frozen=True)
class Pair:
    """One run of each, and what the worker's own counters say of its run."""

    bare: Usage
    worker: Usage
    batches: int
    pushes: int
    bytes_out: int
    prepare_ns: int

    @property
    def ratio(self) -> float:
        """CPU time of the worker as a multiple of the bare loop's."""
        return self.worker.cpu_s / self.bare.cpu_s


@dataclass(frozen=True)
class Spread:
    """The median of some runs, and how far they lie apart."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> "Spread":
        """Sum up one figure of several runs."""
        return cls(statistics.median(figures), min(figures), max(figures))


def fill_topic(bootstrap: str, records: int) -> Topic:
    """Make a topic of four partitions and write realistic records to it: keyed by service, lz4, none malformed.

    Their times lie in the last ten minutes, so that none is too old for Loki.
    """
    name = make_topic(bootstrap, PARTITIONS)
    now_ms = time.time_ns() // 1_000_000
    value_bytes = 0

    def counted(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        nonlocal value_bytes
        for chunk in chunks:
            value_bytes += sum(map(len, chunk.values))
            yield chunk

    chunks = generate(records, seed=_SEED, first_ms=now_ms - _HISTORY_MS, last_ms=now_ms)
    produce_chunks(Kafka(bootstrap_servers=[bootstrap], topics=[name]), counted(chunks))
    return Topic(bootstrap, name, records, value_bytes)


def settings_for(topic: Topic, url: str, overrides: Sequence[str] = ()) -> Settings:
    """Return the default configuration, but for where things are, with a consumer group that never was.

    Args:
        topic: what to ship.
        url: where to push to.
        overrides: `section.key=value` each, to try things out.
    """
    places = (
        f"kafka.bootstrap_servers={json.dumps([topic.bootstrap])}",
        f"kafka.topics={json.dumps([topic.name])}",
        f"kafka.group_id=bench-{uuid.uuid4().hex[:12]}",
        f"loki.url={url}",
    )
    return config.load(Path(os.devnull), env={}, overrides=(*places, *overrides))


def run_pair(topic: Topic, url: str, overrides: Sequence[str] = (), *, worker_first: bool = False) -> Pair:
    """Run the bare loop and the worker once each.

    Raises: NotMeasuredError if not every record was delivered.
    """
    settings = settings_for(topic, url, overrides)
    counters = Counters.create(1, settings.kafka.topics, labels=list(settings.labels.fields))
    try:
        arguments: dict[str, tuple[object, ...]] = {
            BARE: (settings, queue_bytes_max(settings.workers.memory_bytes_max)),
            WORKER: (0, 1, settings, SharedDescriptor(counters.fd), True),
        }
        order = (WORKER, BARE) if worker_first else (BARE, WORKER)
        usages = {target: measure(target, *arguments[target]) for target in order}
        row = counters.read(0)
    finally:
        counters.close()
    if not topic.records == row["delivered"] == row.consumed:
        raise NotMeasuredError(f"{row['delivered']} of {topic.records} records were delivered, {row.consumed} consumed")
    return Pair(
        usages[BARE], usages[WORKER], row["batches"], row["pushes"], row["bytes_out"], prepare_ns=row["prepare_ns"]
    )


def run_pairs(
    topic: Topic, url: str, pairs: int, overrides: Sequence[str] = (), *, show: Callable[[str], None] = print
) -> list[Pair]:
    """Run a pair to warm up, then so many pairs, the bare loop first in every second one.

    Args:
        topic: what to ship.
        url: where to push to.
        pairs: how many count.
        overrides: `section.key=value` each, to try things out.
        show: is told of every pair.
    """
    spawn.prepare_environment()
    measured = []
    for number in range(_WARM_UPS + pairs):
        pair = run_pair(topic, url, overrides, worker_first=bool(number % 2))
        name = "warm-up" if number < _WARM_UPS else f"pair {number}"
        bare_us, worker_us = (1e6 * usage.cpu_s / topic.records for usage in (pair.bare, pair.worker))
        show(f"{name:>8}: bare {bare_us:.2f} µs, worker {worker_us:.2f} µs a record, ratio {pair.ratio:.2f}")
        if number >= _WARM_UPS:
            measured.append(pair)
    return measured


def summarise(topic: Topic, pairs: Sequence[Pair]) -> dict[str, Spread]:
    """Return each figure by its name, unit included."""

    def per_record(seconds: Callable[[Pair], float]) -> Spread:
        return Spread.of([1e6 * seconds(pair) / topic.records for pair in pairs])

    return {
        "bare loop, CPU µs per record": per_record(lambda pair: pair.bare.cpu_s),
        "worker, CPU µs per record": per_record(lambda pair: pair.worker.cpu_s),
        "worker, of it in the kernel": per_record(lambda pair: pair.worker.system_s),
        "worker, prepare() wall µs per record": per_record(lambda pair: pair.prepare_ns / 1e9),
        "RATIO worker / bare loop": Spread.of([pair.ratio for pair in pairs]),
        "worker, peak RSS in MB": Spread.of([pair.worker.rss_peak_bytes / 1e6 for pair in pairs]),
        "bare loop, peak RSS in MB": Spread.of([pair.bare.rss_peak_bytes / 1e6 for pair in pairs]),
        "worker, records/s of wall time": Spread.of([topic.records / pair.worker.wall_s for pair in pairs]),
        "worker, records/s of CPU time": Spread.of([topic.records / pair.worker.cpu_s for pair in pairs]),
        "worker, records per batch": Spread.of([topic.records / pair.batches for pair in pairs]),
        "worker, bytes per push": Spread.of([pair.bytes_out / pair.pushes for pair in pairs]),
    }


def table(figures: dict[str, Spread]) -> str:
    """Return the figures as lines of text."""
    lines = [f"{'':<40}{'median':>12}{'lowest':>12}{'highest':>12}"]
    for name, spread in figures.items():
        digits = 2 if spread.median < 100 else 0
        cells = (f"{figure:>12,.{digits}f}" for figure in asdict(spread).values())
        lines.append(f"{name:<40}{''.join(cells)}")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Return what the figures depend on: the processor, and what runs on it in which version."""
    models = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    said = subprocess.run([parts.locate("nginx"), "-v"], capture_output=True, text=True, check=True).stderr
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "librdkafka": confluent_kafka.libversion()[0],
        **{name: version(name) for name in ("confluent-kafka", "msgspec", "numpy", "polars", "python-snappy")},
        "shipper-native": native.describe(wanted=True),
        "kafka": parts.PARTS["kafka"].version,
        "nginx": said.strip().rpartition("/")[2],
    }


def write_results(path: Path, topic: Topic, pairs: Sequence[Pair], overrides: Sequence[str]) -> None:
    """Write every run and their summary as JSON."""
    content = {
        "machine": machine(),
        "topic": {
            "records": topic.records,
            "bytes_per_record": round(topic.value_bytes / topic.records, 1),
            "partitions": PARTITIONS,
            "compression": "lz4",
        },
        "workers": 1,
        "overrides": list(overrides),
        "figures": {name: asdict(spread) for name, spread in summarise(topic, pairs).items()},
        "pairs": [{"ratio": pair.ratio, **asdict(pair)} for pair in pairs],
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
