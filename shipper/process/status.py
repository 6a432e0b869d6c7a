"""What `/status` says: pure functions from one look at everything to the JSON of the interface.

The names are an interface: dashboards, alerts and people's scripts build on them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from shipper.moments import rfc3339_ms
from shipper.process.canary import CanaryReport
from shipper.process.forecast import Loss
from shipper.process.history import Rates, Sample
from shipper.process.limit import Pushes
from shipper.process.slots import STATES, State
from shipper.process.snapshot import PartitionLook, PeerLook, RowSnapshot

WorkerState = Literal["starting", "running", "draining", "restarting", "done", "stopped"]
OverallState = Literal["starting", "running", "degraded", "draining"]
OVERALL_STATES: tuple[OverallState, ...] = ("starting", "running", "degraded", "draining")
_SUMMED = (
    "delivered",
    "filtered",
    "dead_lettered",
    "in_flight",
    "bytes_in",
    "bytes_out",
    "pushes",
    "retries",
)


@dataclass(frozen=True, slots=True)
class WorkerLook:
    """A worker's process as the supervisor and the operating system see it.

    Attributes:
        index: the worker's index, and its row in the counters.
        pid: None while no process runs.
        state: `restarting` from its death until the next process's first heartbeat.
        restarts: how often it was started again after it died unasked.
        cpu_percent: share of one core over the last second, in percent.
        cpu_s: processor time of all its processes so far, in seconds.
        rss_bytes: resident memory.
    """

    index: int
    pid: int | None
    state: WorkerState
    restarts: int
    cpu_percent: float = 0.0
    cpu_s: float = 0.0
    rss_bytes: int = 0


@dataclass(frozen=True, slots=True)
class PlacedPartition:
    """A partition, its topic's name, and the worker whose row it was found in."""

    topic: str
    worker: int
    look: PartitionLook


@dataclass(frozen=True)
class Look:
    """Everything at one moment: what all answers are computed from.

    Attributes:
        now_ms: wall clock, in ms since the epoch.
        now_ns: monotonic clock, the one of the heartbeats.
        rows: a snapshot per worker index, those of indexes that are no longer used included.
        workers: the processes there are, or should be.
        topics: names by topic index.
        rules: names of filters by slot.
        labels: names of labels by slot.
        draining: whether the supervisor is on its way out.
        losses: when data will be lost, by topic and partition; where it is not in sight, nothing.
        canary: what the canary last reported; None where there is none.
    """

    now_ms: int
    now_ns: int
    rows: Sequence[RowSnapshot]
    workers: Sequence[WorkerLook]
    topics: Sequence[str]
    rules: Sequence[str] = ()
    labels: Sequence[str] = ()
    draining: bool = False
    losses: Mapping[tuple[str, int], Loss] = field(default_factory=dict)
    canary: CanaryReport | None = None

    def total(self, slot: str) -> int:
        """Return the sum of a slot over all rows."""
        return sum(row[slot] for row in self.rows)

    @property
    def push_limit(self) -> int:
        """How many pushes the workers may have under way at once, all together."""
        return sum(self.rows[worker.index].push_limit for worker in self.workers)

    def partitions(self) -> list[PlacedPartition]:
        """Return each partition once, by topic and number.

        What a dead process left behind is shown until its successor runs, unless another worker has taken it over.
        """
        found: dict[tuple[str, int], PlacedPartition] = {}
        for worker in self.workers:
            for look in self.rows[worker.index].partitions():
                place = self.topics[look.topic_index], look.partition
                if look.owned or (worker.state != "running" and place not in found):
                    found[place] = PlacedPartition(place[0], worker.index, look)
        return [found[place] for place in sorted(found)]

    def peer(self, name: str) -> PeerLook:
        """Return how Loki or Kafka is seen: as the worker sees it that sees it worst, the longest-standing first."""
        seen = [self.rows[worker.index].peer(name) for worker in self.workers]
        worst: State = max((look.state for look in seen), key=STATES.index, default="ok")
        since_ms = min((look.since_ms for look in seen if look.state == worst and look.since_ms), default=0)
        told = [look for look in seen if look.error]
        latest = max(told, key=lambda look: (look.state == worst, look.since_ms)) if told else None
        return PeerLook(worst, since_ms, latest.error if latest else "")

    @property
    def state(self) -> OverallState:
        """`degraded`: a worker that ran does not, or Loki or Kafka does not take or give what it should."""
        states = {worker.state for worker in self.workers}
        if self.draining:
            return "draining"
        if states & {"restarting", "draining", "stopped"} or any(
            self.peer(name).state != "ok" for name in ("loki", "kafka")
        ):
            return "degraded"
        return "starting" if "starting" in states or not states else "running"


def lag_seconds(partition: PartitionLook, now_ms: int) -> float | None:
    """Return the age of the oldest record to be settled where there is lag, 0 where there is none, None while unknown.

    While none is taken that could be looked at, it is the age of the last settled one.
    """
    if partition.lag_records == 0:
        return 0.0
    if partition.lag_records is None or partition.next_timestamp_ms < 0:
        return None
    return max(0, now_ms - partition.next_timestamp_ms) / 1000


def heartbeat_age_s(row: RowSnapshot, now_ns: int) -> float | None:
    """Return the seconds since the last heartbeat of the worker's present process; None before its first."""
    return max(0, now_ns - row.heartbeat_ns) / 1e9 if row.heartbeat_ns else None


def describe(look: Look, rates: Rates, *, version: str, started_ms: int) -> dict[str, Any]:
    """Return the document of `GET /status`; `rates` are those of the last ten seconds."""
    loki = look.peer("loki")
    return {
        "version": version,
        "started_at": rfc3339_ms(started_ms),
        "state": look.state,
        "totals": {
            "consumed": sum(row.consumed for row in look.rows),
            **{slot: look.total(slot) for slot in _SUMMED},
        },
        "rates": {
            "records_per_s": round(rates.records_per_s, 1),
            "bytes_per_s": round(rates.bytes_per_s, 1),
        },
        "partitions": list(_describe_partitions(look)),
        "workers": list(_describe_workers(look)),
        "loki": {
            "state": loki.state,
            "last_error": loki.error or None,
            "since": rfc3339_ms(loki.since_ms) if loki.since_ms else None,
            "push_limit": look.push_limit,
        },
        "canary": _describe_canary(look.canary, look.now_ms) if look.canary else None,
    }


def pushes(look: Look) -> Pushes:
    """Return what the push limit is decided by."""
    return Pushes(
        ended=look.total("pushes"),
        pushed_back=sum(look.total(f"pushes.{outcome}") for outcome in ("rate_limited", "server_error", "timeout")),
        seconds=look.total("push_us") / 1e6,
    )


def summarise(look: Look) -> Sample:
    """Return what the history keeps of a look."""
    return Sample(
        now_ns=look.now_ns,
        now_ms=look.now_ms,
        consumed=look.total("consumed"),
        delivered=look.total("delivered"),
        bytes_in=look.total("bytes_in"),
        lag_records=sum(place.look.lag_records or 0 for place in look.partitions()),
        in_flight=look.total("in_flight"),
        cpu_percent=sum(worker.cpu_percent for worker in look.workers),
        rss_bytes=sum(worker.rss_bytes for worker in look.workers),
    )


def unready(look: Look) -> list[str]:
    """Return why shipper is not ready, one sentence each; empty when workers run, and Kafka and Loki answer."""
    reasons = ["shipper is draining"] if look.draining else []
    reasons += [
        f"worker {worker.index} is {worker.state}" for worker in look.workers if worker.state not in ("running", "done")
    ]
    peers: Iterable[tuple[str, PeerLook]] = (("Loki", look.peer("loki")), ("Kafka", look.peer("kafka")))
    said: dict[State, str] = {"retrying": "does not answer as it should", "refusing": "refuses"}
    reasons += [
        f"{name} {said[peer.state]}" + (f": {peer.error}" if peer.error else "")
        for name, peer in peers
        if peer.state != "ok"
    ]
    return reasons


def _describe_partitions(look: Look) -> Iterator[dict[str, Any]]:
    for place in look.partitions():
        age_s = lag_seconds(place.look, look.now_ms)
        loss = look.losses.get((place.topic, place.look.partition))
        yield {
            "topic": place.topic,
            "partition": place.look.partition,
            "worker": place.worker,
            "committed": place.look.committed if place.look.committed >= 0 else None,
            "high_watermark": place.look.high_watermark if place.look.high_watermark >= 0 else None,
            "lag_records": place.look.lag_records,
            "lag_seconds": round(age_s, 3) if age_s is not None else None,
            "paused": place.look.paused,
            "time_to_data_loss_s": round(loss.in_s, 1) if loss else None,
        }


def _describe_workers(look: Look) -> Iterator[dict[str, Any]]:
    for worker in look.workers:
        age_s = heartbeat_age_s(look.rows[worker.index], look.now_ns)
        yield {
            "index": worker.index,
            "pid": worker.pid,
            "state": worker.state,
            "restarts": worker.restarts,
            "cpu_percent": round(worker.cpu_percent, 1),
            "rss_bytes": worker.rss_bytes,
            "heartbeat_age_s": round(age_s, 3) if age_s is not None else None,
        }


def _describe_canary(canary: CanaryReport, now_ms: int) -> dict[str, Any]:
    return {
        "freshness_s": round(canary.freshness_s(now_ms), 3),
        "topic": canary.topic,
        "partition": canary.partition,
        "latency_s": round(canary.latency_s, 3) if canary.latency_s is not None else None,
        "written": canary.written,
        "seen": canary.seen,
        "last_error": canary.error or None,
    }
