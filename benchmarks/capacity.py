"""`python -m benchmarks.capacity`: measures the constants of `shipper capacity` anew.

python -m benchmarks.capacity                # prints them, about five minutes
python -m benchmarks.capacity --write        # writes shipper/tools/capacity.toml
"""

import tempfile
import time
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import requests
import typer

from benchmarks.cases import BASE, Case
from benchmarks.end_to_end import Topic, fill_topic, run_pair, settings_for, ship
from benchmarks.measured import Usage, cpu_s
from shipper import native
from shipper.devstack.kafka import KafkaServer
from shipper.devstack.loki import LokiServer
from shipper.devstack.nginx import NginxSink
from shipper.process import spawn
from shipper.tools import capacity

CONSTANTS = Path(capacity.__file__).with_suffix(".toml")
_HEAD = """\
# What one thing costs. `python -m benchmarks.capacity --write` measures the first table anew, and writes this file:
# {when}, {how}.
"""
_SIZES = (Case("120", record_bytes=120), replace(BASE, records=500_000), Case("1,500", 200_000, 1_500))
_STREAMS = (Case("5", streams=5), Case("5,000", streams=5_000))
_WORKERS = (Case("1 worker", spread=True), Case("2 workers", spread=True, workers=2))
_PARTITIONS = tuple(Case(f"{n} partitions", 200_000, partitions=n, spread=True) for n in (1, 10, 100, 500))
_RUNS = 3


def main(
    *,
    scale: Annotated[float, typer.Option(help="Share of the records that each measurement has.")] = 1.0,
    write: Annotated[bool, typer.Option("--write", help="Write them to shipper/tools/capacity.toml.")] = False,
) -> None:
    """Measure what a record, a byte, a stream and a partition cost, shipper and Loki."""
    spawn.prepare_environment()
    with (
        tempfile.TemporaryDirectory(prefix="shipper-bench-") as folder,
        KafkaServer(Path(folder, "kafka")) as kafka,
        NginxSink(Path(folder, "nginx")) as sink,
    ):
        measured = _measure(kafka, sink.url, Path(folder), scale)
    document = tomllib.loads(CONSTANTS.read_text(encoding="utf-8"))
    head = _HEAD.format(
        when=time.strftime("%Y-%m-%d", time.gmtime()),
        how=f"{psutil.cpu_count()} cores, scale {scale:g}, native code: {native.describe(wanted=True)}",
    )
    tables = {"measured": measured, "assumed": document["assumed"]}
    text = head + "".join(
        f"\n[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in table.items())
        for name, table in tables.items()
    )
    print(text)
    if write:
        CONSTANTS.write_text(text, encoding="utf-8")


def _measure(kafka: KafkaServer, url: str, folder: Path, scale: float) -> dict[str, float]:
    def topic_for(case: Case) -> Topic:
        return fill_topic(kafka.bootstrap, replace(case, records=max(2_000, int(case.records * scale))))

    print("record sizes", flush=True)
    topics = [topic_for(case) for case in _SIZES]
    sizes = [topic.value_bytes / topic.case.records for topic in topics]
    per_byte_us, base_us = np.polyfit(sizes, [_worker_us(topic, url) for topic in topics], 1).tolist()
    base = topics[1]
    pair = run_pair(base, url)
    snappy = pair.bytes_out / base.value_bytes
    lz4 = _bytes_on_disk(folder / "kafka", base.name) / base.value_bytes
    print("streams", flush=True)
    few_us, many_us = (_worker_us(topic_for(case), url) for case in _STREAMS)
    print("workers", flush=True)
    alone, together = (_best(topic_for(case), url, lambda usage: usage.wall_s) for case in _WORKERS)
    print("partitions", flush=True)
    memory_mb = [_memory_mb(topic_for(case), url) for case in _PARTITIONS]
    counts = [case.partitions for case in _PARTITIONS]
    print(*(f"    {count} partitions: {mb:.0f} MB" for count, mb in zip(counts, memory_mb, strict=True)), sep="\n")
    partition_mb, worker_mb = np.polyfit(counts, memory_mb, 1).tolist()
    print("Loki", flush=True)
    loki_us, chunks = zip(*(_loki(topic) for topic in topics[1:]), strict=True)
    loki_per_byte_us, loki_base_us = np.polyfit(sizes[1:], loki_us, 1).tolist()
    batch_records = settings_for(base, url).kafka.batch_records_max
    return {
        "worker_us": round(base_us, 2),
        "worker_ns_per_byte": round(1_000 * per_byte_us, 2),
        "stream_us": round(max(many_us - few_us, 0) * batch_records / capacity.distinct(5_000, batch_records), 2),
        "batch_records": batch_records,
        "scaling": round(min(alone / together / 2, 1.0), 2),
        "worker_mb": round(worker_mb),
        "partition_kb": round(max(1_000 * partition_mb, 0), 1),
        "lz4": round(lz4, 2),
        "snappy": round(snappy, 2),
        "loki_us": round(max(loki_base_us, 0), 2),
        "loki_ns_per_byte": round(1_000 * loki_per_byte_us, 2),
        "chunk": round(chunks[0], 2),
    }


def _best(topic: Topic, url: str, figure: Callable[[Usage], float]) -> float:
    """Return the least of some runs: what else the machine does only adds to it."""
    return min(figure(ship(topic, url)) for _ in range(_RUNS))


def _worker_us(topic: Topic, url: str) -> float:
    return 1e6 * _best(topic, url, lambda usage: usage.cpu_s) / topic.case.records


def _memory_mb(topic: Topic, url: str) -> float:
    return max(ship(topic, url).rss_peak_bytes for _ in range(_RUNS)) / 1e6


def _bytes_on_disk(folder: Path, topic: str) -> int:
    return sum(log.stat().st_size for log in folder.glob(f"**/{topic}-*/*.log"))


def _loki(topic: Topic) -> tuple[float, float]:
    """Ship into a new Loki; returns its CPU µs per entry, flush and all, and the chunks' share of the records."""
    with tempfile.TemporaryDirectory(prefix="shipper-bench-") as folder, LokiServer(Path(folder)) as loki:
        process = psutil.Process(loki.pid)
        before = cpu_s(process)
        ship(topic, loki.url)
        requests.post(f"{loki.url}/flush", timeout=60).raise_for_status()
        chunks = Path(folder, "data", "chunks")
        last, deadline = -1, time.monotonic() + 60
        while time.monotonic() < deadline:
            now = sum(file.stat().st_size for file in chunks.glob("**/*") if file.is_file())
            if now and now == last:
                break
            last = now
            time.sleep(3)
        return 1e6 * (cpu_s(process) - before) / topic.case.records, last / topic.value_bytes


if __name__ == "__main__":
    typer.run(main)
