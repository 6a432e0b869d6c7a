"""What `/metrics` says: a look in the text format of Prometheus, and the page that documents each metric.

`python -m shipper.process.metrics` prints docs/metrics.md.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from shipper.process import slots
from shipper.process.snapshot import RowSnapshot
from shipper.process.status import OVERALL_STATES, Look, heartbeat_age_s, lag_seconds

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Sample = tuple[str, tuple[str, ...], float]


class Described(NamedTuple):
    """A metric: its name as Prometheus shows it, its type, its labels, and what it says."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str


_WORKER = ("worker",)
_PARTITION = ("topic", "partition", "worker")

METRICS = (
    Described("shipper_info", "gauge", ("version",), "Always 1; the version is in the label."),
    Described("shipper_start_time_seconds", "gauge", (), "When the supervisor started, in seconds since the epoch."),
    Described(
        "shipper_state", "gauge", ("state",), "1 for the present state: starting, running, degraded or draining."
    ),
    Described("shipper_loki_state", "gauge", ("state",), "1 for how Loki is seen: ok, retrying or refusing."),
    Described("shipper_kafka_state", "gauge", ("state",), "1 for how Kafka is seen: ok, retrying or refusing."),
    Described(
        "shipper_push_limit", "gauge", _WORKER, "Pushes that may be under way at once; it adapts to what Loki takes."
    ),
    Described(
        "shipper_records_consumed_total",
        "counter",
        _WORKER,
        "Records taken from Kafka, those taken a second time after a crash included.",
    ),
    Described("shipper_records_delivered_total", "counter", _WORKER, "Records that Loki acknowledged."),
    Described(
        "shipper_records_filtered_total",
        "counter",
        ("worker", "rule"),
        "Records left out by a filter; rule empty: records without a value.",
    ),
    Described(
        "shipper_records_dead_lettered_total",
        "counter",
        ("worker", "reason"),
        "Records confirmed in the dead letter topic, by reason.",
    ),
    Described(
        "shipper_records_malformed_total",
        "counter",
        ("worker", "reason"),
        "Records shipped raw because they could not be parsed, by reason; they count as delivered too.",
    ),
    Described(
        "shipper_records_label_demoted_total",
        "counter",
        ("worker", "label"),
        "Records whose value of a label went to structured metadata, by label.",
    ),
    Described(
        "shipper_label_values",
        "gauge",
        ("worker", "label"),
        "Distinct values of a label since the worker's process started; each makes streams. Counted up to 10,000.",
    ),
    Described(
        "shipper_records_abandoned_total",
        "counter",
        _WORKER,
        "Records given back to Kafka unsettled, by a crash or a revoked partition; they are consumed again.",
    ),
    Described(
        "shipper_records_lost_to_retention_total",
        "counter",
        _WORKER,
        "Records that Kafka deleted before they were read. Anything but 0 is lost data.",
    ),
    Described("shipper_records_in_flight", "gauge", _WORKER, "Records taken and not yet settled."),
    Described("shipper_in_flight_bytes", "gauge", _WORKER, "Bytes held by records in flight."),
    Described("shipper_memory_max_bytes", "gauge", _WORKER, "Bound on the worker's memory (workers.memory_bytes_max)."),
    Described("shipper_received_bytes_total", "counter", _WORKER, "Bytes of the values taken from Kafka."),
    Described("shipper_sent_bytes_total", "counter", _WORKER, "Compressed bytes sent to Loki, re-sent ones included."),
    Described("shipper_batches_total", "counter", _WORKER, "Batches prepared."),
    Described("shipper_pushes_total", "counter", ("worker", "outcome"), "Push requests, retries included, by outcome."),
    Described("shipper_push_retries_total", "counter", _WORKER, "Push requests that were sent again."),
    Described("shipper_push_duration_seconds", "histogram", _WORKER, "Time from sending a push request to its answer."),
    Described("shipper_commits_total", "counter", _WORKER, "Offset commits that Kafka took."),
    Described(
        "shipper_commit_errors_total", "counter", _WORKER, "Offset commits that failed; the next one covers them."
    ),
    Described("shipper_kafka_errors_total", "counter", _WORKER, "Errors that the Kafka client reported."),
    Described("shipper_prepare_seconds_total", "counter", ("worker",), "Time spent preparing batches."),
    Described("shipper_partition_committed_offset", "gauge", _PARTITION, "Next offset to consume after a crash."),
    Described("shipper_partition_high_watermark_offset", "gauge", _PARTITION, "Offset after the last record in Kafka."),
    Described(
        "shipper_partition_lag_records", "gauge", _PARTITION, "Records between the committed offset and the end."
    ),
    Described(
        "shipper_partition_lag_seconds",
        "gauge",
        _PARTITION,
        "Age of the oldest record not settled yet; 0 where there is no lag.",
    ),
    Described(
        "shipper_partition_paused", "gauge", _PARTITION, "1 while fetching is paused: a bound on memory, or Loki."
    ),
    Described(
        "shipper_partition_time_to_data_loss_seconds",
        "gauge",
        _PARTITION,
        "Time until a record is lost if all goes on as in the last minutes; not there where no loss is in sight.",
    ),
    Described(
        "shipper_canary_freshness_seconds",
        "gauge",
        (),
        "Age of the newest canary that Loki shows, in the partition where it is the oldest; only with canary.every_s.",
    ),
    Described(
        "shipper_canary_latency_seconds",
        "gauge",
        (),
        "From writing the latest canary to Kafka to seeing it in Loki; only with canary.every_s.",
    ),
    Described("shipper_worker_up", "gauge", _WORKER, "1 while the worker's process runs and its loop turns."),
    Described("shipper_worker_restarts_total", "counter", _WORKER, "Restarts of a worker that died unasked."),
    Described("shipper_worker_cpu_seconds_total", "counter", _WORKER, "Processor time of the worker, over restarts."),
    Described("shipper_worker_resident_memory_bytes", "gauge", _WORKER, "Resident memory of the worker's process."),
    Described("shipper_worker_heartbeat_age_seconds", "gauge", _WORKER, "Time since the worker's loop turned last."),
)

_BY_SLOT = {
    "shipper_records_consumed_total": "consumed",
    "shipper_records_delivered_total": "delivered",
    "shipper_records_abandoned_total": "abandoned",
    "shipper_records_lost_to_retention_total": "lost_to_retention",
    "shipper_records_in_flight": "in_flight",
    "shipper_in_flight_bytes": "in_flight_bytes",
    "shipper_memory_max_bytes": "memory_bytes_max",
    "shipper_received_bytes_total": "bytes_in",
    "shipper_sent_bytes_total": "bytes_out",
    "shipper_batches_total": "batches",
    "shipper_push_retries_total": "retries",
    "shipper_commits_total": "commits",
    "shipper_commit_errors_total": "commit_errors",
    "shipper_kafka_errors_total": "kafka_errors",
}
_BY_FAMILY = {
    "shipper_records_dead_lettered_total": "dead_lettered",
    "shipper_records_malformed_total": "malformed",
    "shipper_pushes_total": "pushes",
}
_BY_LABEL = {"shipper_records_label_demoted_total": "demoted", "shipper_label_values": "label_values"}
_BY_PEER = {"shipper_loki_state": "loki", "shipper_kafka_state": "kafka"}


def render(look: Look, *, version: str, started_ms: int) -> bytes:
    """Return the body of `GET /metrics`, UTF-8 of the type `CONTENT_TYPE`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Looked(look, version, started_ms))
    return generate_latest(registry)


def document() -> str:
    """Return docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "What `GET /metrics` answers on the address of `status.listen`, in the text format of Prometheus.",
        "Counters belong to a worker's index and go on after its restart; only a restart of shipper sets them to 0.",
        "",
        "<!-- Written by `python -m shipper.process.metrics`; a test compares. -->",
        "",
        "| metric | type | labels | what it says |",
        "|---|---|---|---|",
        *(f"| `{metric.name}` | {metric.kind} | {_listed(metric.labels)} | {metric.help} |" for metric in METRICS),
        "",
        "At every look, summed over workers: consumed = delivered + filtered + dead-lettered + in flight + abandoned.",
        "`GET /status` shows *consumed* without the abandoned ones, since they are consumed, and counted, again.",
        "",
        f"Reasons (`reason`): {_listed(slots.FAMILIES['malformed'])}; docs/log-format.md explains each.",
        f"Outcomes (`outcome`): {_listed(slots.OUTCOMES)}.",
        f"States of Loki and Kafka (`state`): {_listed(slots.STATES)}.",
        "",
    ]
    return "\n".join(lines)


def _listed(values: Sequence[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)


class _Looked(Collector):
    """Gives prometheus_client one look, family by family."""

    def __init__(self, look: Look, version: str, started_ms: int) -> None:
        self._look = look
        self._version = version
        self._started_ms = started_ms

    def collect(self) -> Iterable[Metric]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for metric in METRICS:
            if metric.kind == "histogram":
                yield self._push_durations(metric)
            else:
                form = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                families[metric.name] = form(metric.name, metric.help, labels=metric.labels)
        for name, labels, value in self._samples():
            families[name].add_metric(labels, value)
        yield from families.values()

    def _push_durations(self, metric: Described) -> HistogramMetricFamily:
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        bounds = (*(f"{bound}" for bound in slots.LATENCY_BOUNDS_S), "+Inf")
        for index, row in enumerate(self._look.rows):
            counted, buckets = 0, []
            for bound, number in zip(bounds, row.family("push_latency").values(), strict=True):
                counted += number
                buckets.append((bound, counted))
            family.add_metric([str(index)], buckets, row["push_us"] / 1e6)
        return family

    def _samples(self) -> Iterator[Sample]:
        look = self._look
        yield "shipper_info", (self._version,), 1
        yield "shipper_start_time_seconds", (), self._started_ms / 1000
        for overall in OVERALL_STATES:
            yield "shipper_state", (overall,), look.state == overall
        for name, peer in _BY_PEER.items():
            for state in slots.STATES:
                yield name, (state,), look.peer(peer).state == state
        for index, row in enumerate(look.rows):
            yield from self._row_samples(str(index), row)
        yield from self._worker_samples()
        yield from self._partition_samples()
        if look.canary:
            yield "shipper_canary_freshness_seconds", (), look.canary.freshness_s(look.now_ms)
            if look.canary.latency_s is not None:
                yield "shipper_canary_latency_seconds", (), look.canary.latency_s

    def _row_samples(self, worker: str, row: RowSnapshot) -> Iterator[Sample]:
        for name, slot in _BY_SLOT.items():
            yield name, (worker,), row[slot]
        for name, family in _BY_FAMILY.items():
            for kind, number in row.family(family).items():
                yield name, (worker, kind), number
        rules = (slots.EMPTY_RULE, *self._look.rules)
        for rule, number in zip(rules, row.family("filtered").values(), strict=False):
            yield "shipper_records_filtered_total", (worker, rule), number
        for name, family in _BY_LABEL.items():
            for label, number in zip(self._look.labels, row.family(family).values(), strict=False):
                yield name, (worker, label), number
        yield "shipper_prepare_seconds_total", (worker,), row["prepare_ns"] / 1e9

    def _worker_samples(self) -> Iterator[Sample]:
        for worker in self._look.workers:
            labels = (str(worker.index),)
            yield "shipper_worker_up", labels, worker.state == "running"
            yield "shipper_worker_restarts_total", labels, worker.restarts
            yield "shipper_push_limit", labels, self._look.rows[worker.index].push_limit
            yield "shipper_worker_cpu_seconds_total", labels, worker.cpu_s
            yield "shipper_worker_resident_memory_bytes", labels, worker.rss_bytes
            age_s = heartbeat_age_s(self._look.rows[worker.index], self._look.now_ns)
            if age_s is not None:
                yield "shipper_worker_heartbeat_age_seconds", labels, age_s

    def _partition_samples(self) -> Iterator[Sample]:
        for place in self._look.partitions():
            labels = (place.topic, str(place.look.partition), str(place.worker))
            loss = self._look.losses.get((place.topic, place.look.partition))
            values = {
                "committed_offset": place.look.committed if place.look.committed >= 0 else None,
                "high_watermark_offset": place.look.high_watermark if place.look.high_watermark >= 0 else None,
                "lag_records": place.look.lag_records,
                "lag_seconds": lag_seconds(place.look, self._look.now_ms),
                "paused": place.look.paused,
                "time_to_data_loss_seconds": loss.in_s if loss else None,
            }
            for name, value in values.items():
                if value is not None:
                    yield f"shipper_partition_{name}", labels, value


if __name__ == "__main__":
    sys.stdout.write(document())
