"""The whole worker against a bare consume loop: the same topic, the same consumer settings, the same minutes.

What counts is the ratio of a pair, one run of each, one right after the other: on a shared machine both are slow
together.
"""

import json
import os
import statistics
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.measured import BARE, WORKER, NotMeasuredError, Usage, measure, together
from shipper import config
from shipper.devstack.generate import Chunk
from shipper.devstack.kafka import make_topic
from shipper.devstack.produce import produce_chunks
from shipper.kafka.consumer import queue_bytes_max
from shipper.process import spawn
from shipper.process.counters import Counters
from shipper.process.spawn import SharedDescriptor
from shipper.settings import Kafka, Settings

_WARM_UPS = 1
_COUNTED = ("delivered", "filtered", "bytes_out")
_TOPIC_COMPRESSION = {"none": "uncompressed"}


@dataclass(frozen=True)
class Topic:
    """A topic full of records.

    Attributes:
        case: what it was filled for.
        bootstrap: the broker's address.
        name: the topic.
        value_bytes: the sum of the records' values, in bytes.
    """

    case: Case
    bootstrap: str
    name: str
    value_bytes: int


@dataclass(frozen=True)
class Pair:
    """One run of each, and what the workers' own counters say of theirs."""

    bare: Usage
    worker: Usage
    """Of all workers together: CPU time is their sum, memory that of the largest, wall time the longest."""
    bytes_out: int

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


def fill_topic(bootstrap: str, case: Case) -> Topic:
    """Make a topic, and write the case's records to it."""
    compression = _TOPIC_COMPRESSION.get(case.compression, case.compression)
    name = make_topic(bootstrap, case.partitions, {"compression.type": compression})
    value_bytes = 0

    def counted(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        nonlocal value_bytes
        for chunk in chunks:
            value_bytes += sum(map(len, chunk.values))
            yield chunk

    produce_chunks(Kafka(bootstrap_servers=[bootstrap], topics=[name]), counted(case.chunks()))
    return Topic(case, bootstrap, name, value_bytes)


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
    return topic.case.configure(
        config.load(Path(os.devnull), env={}, overrides=(*places, *topic.case.settings, *overrides))
    )


def ship(topic: Topic, url: str, overrides: Sequence[str] = ()) -> Usage:
    """Let the case's workers ship the topic; returns what they used together."""
    return _ship(settings_for(topic, url, overrides), topic.case)[0]


def _ship(settings: Settings, case: Case) -> tuple[Usage, Counter[str]]:
    """Ship; returns what the workers used together, and the sums of their own counters.

    Raises: NotMeasuredError if not every record was delivered, or filtered where there are filters.
    """
    counters = Counters.create(
        case.workers,
        settings.kafka.topics,
        labels=list(settings.labels.fields),
        rules=[rule.name for rule in settings.filters],
    )
    try:
        shared = SharedDescriptor(counters.fd)
        with ThreadPoolExecutor(case.workers) as pool:
            arguments = ((WORKER, index, case.workers, settings, shared, True) for index in range(case.workers))
            usage = together(list(pool.map(lambda of: measure(*of), arguments)))
        total: Counter[str] = Counter()
        for index in range(case.workers):
            row = counters.read(index)
            total.update({name: row[name] for name in _COUNTED})
    finally:
        counters.close()
    if total["delivered"] + total["filtered"] != case.records or (total["filtered"] and not settings.filters):
        raise NotMeasuredError(f"{case.name}: {case.records} records were to be shipped, and it counts {dict(total)}")
    return usage, total


def run_pair(topic: Topic, url: str, overrides: Sequence[str] = (), *, worker_first: bool = False) -> Pair:
    """Run the bare loop and the workers once each.

    Raises: NotMeasuredError if not every record was delivered.
    """
    settings = settings_for(topic, url, overrides)
    bare_arguments = (BARE, settings, queue_bytes_max(settings.workers.memory_bytes_max))
    if worker_first:
        (worker, total), bare = _ship(settings, topic.case), measure(*bare_arguments)
    else:
        bare, (worker, total) = measure(*bare_arguments), _ship(settings, topic.case)
    return Pair(bare, worker, total["bytes_out"])


def run_pairs(
    topic: Topic, url: str, overrides: Sequence[str] = (), *, pairs: int, show: Callable[[str], None] = print
) -> list[Pair]:
    """Run a pair to warm up, then so many pairs, the bare loop first in every second one.

    Args:
        topic: what to ship.
        url: where to push to.
        overrides: `section.key=value` each, to try things out.
        pairs: how many count.
        show: is told of every pair.
    """
    spawn.prepare_environment()
    measured = []
    for number in range(_WARM_UPS + pairs):
        pair = run_pair(topic, url, overrides, worker_first=bool(number % 2))
        name = "warm-up" if number < _WARM_UPS else f"pair {number}"
        bare_us, worker_us = (1e6 * usage.cpu_s / topic.case.records for usage in (pair.bare, pair.worker))
        show(f"{name:>8}: bare {bare_us:.2f} µs, worker {worker_us:.2f} µs a record, ratio {pair.ratio:.2f}")
        if number >= _WARM_UPS:
            measured.append(pair)
    return measured


def run_beside(
    topic: Topic,
    other: Topic,
    url: str,
    overrides: Sequence[str] = (),
    *,
    pairs: int,
    show: Callable[[str], None] = print,
) -> Spread:
    """Ship two topics in turns, after a pair to warm up, every second time the other one first.

    Args:
        topic: one case's.
        other: that of the case that it is compared with.
        url: where to push to.
        overrides: `section.key=value` each, to try things out.
        pairs: how many count.
        show: is told of every pair.

    Returns: CPU time per record of the one as a multiple of the other's, one right after the other.
    """
    ratios = []
    for number in range(_WARM_UPS + pairs):
        turn = (topic, other) if number % 2 else (other, topic)
        us = {of.name: 1e6 * ship(of, url, overrides).cpu_s / of.case.records for of in turn}
        ratio = us[topic.name] / us[other.name]
        show(
            f"  beside {other.case.name}: {us[other.name]:.2f} and {us[topic.name]:.2f} µs a record, ratio {ratio:.2f}"
        )
        if number >= _WARM_UPS:
            ratios.append(ratio)
    return Spread.of(ratios)


@dataclass(frozen=True)
class Figures:
    """What a case's pairs come to; CPU time in µs per record, memory in MB."""

    ratio: Spread
    worker_us: Spread
    bare_us: Spread
    rss_mb: Spread
    records_per_s: Spread


def summarise(case: Case, pairs: Sequence[Pair]) -> Figures:
    """Sum up pairs."""

    def per_record(seconds: Callable[[Pair], float]) -> Spread:
        return Spread.of([1e6 * seconds(pair) / case.records for pair in pairs])

    return Figures(
        ratio=Spread.of([pair.ratio for pair in pairs]),
        worker_us=per_record(lambda pair: pair.worker.cpu_s),
        bare_us=per_record(lambda pair: pair.bare.cpu_s),
        rss_mb=Spread.of([pair.worker.rss_peak_bytes / 1e6 for pair in pairs]),
        records_per_s=Spread.of([case.records / pair.worker.wall_s for pair in pairs]),
    )
