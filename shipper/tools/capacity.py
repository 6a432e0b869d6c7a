"""How many workers, partitions, hosts, ingesters and bytes a load needs: a model with measured constants. Pure.

The constants, and where each was measured or that it was assumed, are in `capacity.toml`, and nowhere else;
docs/capacity.md explains the model.
"""

import math
import tomllib
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

_DAY_S = 86_400
_US, _MB, _GB = 1_000_000, 1_000_000, 1_000_000_000
_STREAMS_MAX, _LINE_BYTES_MAX, _RATE_BYTES_MAX = 5_000, 262_144, 4 * 1024 * 1024
"""Loki's limits by default: streams of a tenant, bytes of a line, bytes/s of a tenant."""
_TRIED_WORKERS = 2
_WORKERS_SPARE = 1
"""Cores of a host that are left to its system, the supervisor, and librdkafka's threads."""


@dataclass(frozen=True)
class Constants:
    """What one thing costs; capacity.toml says how each is known.

    Attributes:
        worker_us: CPU µs of a worker per record, whatever its size.
        worker_ns_per_byte: CPU ns of a worker per byte of a record.
        stream_us: CPU µs of a worker per stream in a batch.
        batch_records: records in a full batch.
        scaling: throughput of a core with two workers, as a share of that with one.
        worker_mb: memory of a worker under load, without partitions.
        partition_kb: memory of a worker per partition that it reads.
        lz4: size of a topic on disk, as a share of its records.
        snappy: size of pushes, as a share of the records.
        loki_us: CPU µs of Loki per entry and copy, whatever its size.
        loki_ns_per_byte: CPU ns of Loki per byte of an entry and copy.
        chunk: size of Loki's chunks, as a share of the records.
        streams_per_ingester: streams that an ingester holds in memory (assumed).
        ingester_cores: cores of one ingester (assumed).
    """

    worker_us: float
    worker_ns_per_byte: float
    stream_us: float
    batch_records: int
    scaling: float
    worker_mb: float
    partition_kb: float
    lz4: float
    snappy: float
    loki_us: float
    loki_ns_per_byte: float
    chunk: float
    streams_per_ingester: int
    ingester_cores: int

    @classmethod
    def load(cls) -> "Constants":
        """Read the constants that come with the package."""
        return cls.of(tomllib.loads(resources.files("shipper.tools").joinpath("capacity.toml").read_text("utf-8")))

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Constants":
        """Take the constants of a document: those that were measured, and those that were assumed."""
        return cls(**document["measured"], **document["assumed"])


@dataclass(frozen=True)
class Load:
    """What there is to ship, and how much room there is to be.

    Attributes:
        records_per_s: on the average.
        record_bytes: of one record's value, on the average.
        peak: how many times the average the busiest minutes are.
        streams: label sets that write at the same time.
        outage_s: the longest time that Loki may be away, in seconds.
        catch_up_s: in how many seconds the backlog of it is to be shipped, while records go on coming.
        utilisation: share of a core that is planned with.
        kafka_days: how long Kafka keeps records.
        loki_days: how long Loki keeps entries.
        kafka_copies: replication factor of the topic.
        loki_copies: replication factor of Loki's ingesters.
        host_cores: cores of a host that runs workers.
    """

    records_per_s: float
    record_bytes: float
    peak: float = 3.0
    streams: int = 25
    outage_s: float = 1_800
    catch_up_s: float = 3_600
    utilisation: float = 0.6
    kafka_days: float = 3
    loki_days: float = 90
    kafka_copies: int = 3
    loki_copies: int = 3
    host_cores: int = 8


@dataclass(frozen=True)
class Figure:
    """One line of a plan: what, how much, in which unit, and how it came about."""

    name: str
    value: float
    unit: str
    why: str


@dataclass(frozen=True)
class Plan:
    """What a load needs."""

    load: Load
    figures: tuple[Figure, ...]
    warnings: tuple[str, ...] = field(default=())

    def __getitem__(self, name: str) -> float:
        return next(figure.value for figure in self.figures if figure.name == name)


def plan(load: Load, constants: Constants) -> Plan:
    """Work out what a load needs."""
    size, average = load.record_bytes, load.records_per_s
    streams_in_batch = distinct(load.streams, constants.batch_records)
    worker_us = constants.worker_us + constants.worker_ns_per_byte * size / 1_000
    worker_us += constants.stream_us * streams_in_batch / constants.batch_records
    catching_up = average * (1 + load.outage_s / load.catch_up_s)
    busiest = max(average * load.peak, catching_up)
    per_core = load.utilisation * _US / worker_us
    per_worker = per_core if busiest <= per_core else per_core * constants.scaling
    workers = max(1, math.ceil(busiest / per_worker))
    hosts = math.ceil(workers / max(load.host_cores - _WORKERS_SPARE, 1)) + 1
    partitions = workers * 2 if workers > 1 else 4
    memory_mb = constants.worker_mb + constants.partition_kb * math.ceil(partitions / workers) / 1_000
    bytes_per_s = average * size
    loki_us = constants.loki_us + constants.loki_ns_per_byte * size / 1_000
    loki_cores = busiest * loki_us * load.loki_copies / _US / load.utilisation
    ingesters = max(
        load.loki_copies,
        math.ceil(loki_cores / constants.ingester_cores),
        math.ceil(load.streams * load.loki_copies / constants.streams_per_ingester),
    )
    stored = bytes_per_s * _DAY_S * constants.chunk
    figures = (
        Figure("busiest", busiest, "records/s", _busiest_why(load, catching_up)),
        Figure("cpu_per_record", worker_us, "µs", f"{size:,.0f} bytes, {streams_in_batch:,.0f} streams in a batch"),
        Figure("workers", workers, "", f"{per_worker:,.0f} records/s each, at {load.utilisation:.0%} of a core"),
        Figure("partitions", partitions, "", "two to a worker, so that workers can be doubled"),
        Figure("hosts", hosts, "", f"{load.host_cores} cores each, one of them spare; and one host that may fail"),
        Figure("worker_memory", memory_mb, "MB", f"{math.ceil(partitions / workers)} partitions each"),
        Figure("memory", memory_mb * workers, "MB", "all workers"),
        Figure("network_in", bytes_per_s * constants.lz4 / _MB, "MB/s", f"lz4: {constants.lz4:.0%} of the records"),
        Figure("network_out", bytes_per_s * constants.snappy / _MB, "MB/s", f"snappy: {constants.snappy:.0%}"),
        Figure(
            "kafka_disk",
            bytes_per_s * constants.lz4 * load.kafka_days * _DAY_S * load.kafka_copies / _GB,
            "GB",
            f"{load.kafka_days:g} days, {load.kafka_copies} copies, lz4",
        ),
        Figure("loki_cores", loki_cores, "", f"{loki_us:.1f} µs per entry and copy, {load.loki_copies} copies"),
        Figure("ingesters", ingesters, "", f"{constants.ingester_cores} cores each; {load.loki_copies} at least"),
        Figure("s3_per_day", stored / _GB, "GB", f"chunks are {constants.chunk:.0%} of the records"),
        Figure("s3", stored * load.loki_days / _GB, "GB", f"{load.loki_days:g} days"),
    )
    return Plan(load, figures, tuple(_warnings(load, workers)))


def distinct(streams: int, records: int) -> float:
    """Return how many of so many streams are in a batch of so many records, where all are as busy."""
    return streams * -math.expm1(records * math.log1p(-1 / streams)) if streams > 1 else 1.0


def _busiest_why(load: Load, catching_up: float) -> str:
    if load.records_per_s * load.peak >= catching_up:
        return f"the peak, {load.peak:g} times the average"
    return f"catching up {load.outage_s / 60:g} minutes in {load.catch_up_s / 60:g}, while records go on coming"


def _warnings(load: Load, workers: int) -> list[str]:
    found = []
    if load.kafka_days * _DAY_S < 2 * (load.outage_s + load.catch_up_s):
        found.append(
            "Kafka keeps records for less than twice the outage and its catching up: records may be deleted unread"
        )
    if load.streams > _STREAMS_MAX:
        found.append(
            "Loki refuses more than 5,000 streams of a tenant by default: limits_config.max_global_streams_per_user"
        )
    if load.record_bytes > _LINE_BYTES_MAX:
        found.append("Loki refuses lines of more than 256 KiB by default: such records become dead letters")
    if load.records_per_s * load.record_bytes * load.peak > _RATE_BYTES_MAX:
        found.append(
            "Loki takes 4 MB/s of a tenant and 3 MB/s of a stream by default: ingestion_rate_mb, per_stream_rate_limit"
        )
    if workers > _TRIED_WORKERS:
        found.append("more than two workers at once were not measured: what more of them do together is arithmetic")
    return found
