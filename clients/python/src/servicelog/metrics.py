"""What became of the records, in numbers."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_BOUNDS_MS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 60_000, 600_000)


@dataclass(frozen=True, slots=True)
class Metrics:
    """The state of delivery. Every record that was logged is sent, queued, spilled or dropped.

    Attributes:
        logged: records that were handed over.
        sent: records that Kafka has confirmed.
        queued, queued_bytes: those in memory.
        spilled: those on disk.
        spilled_total: those that were ever written to disk by this process.
        taken_over: those on disk that an earlier process had left; they are counted as sent, too, when they are.
        dropped: by reason: `queue_full`, `spill_full`, `refused`, `closed`.
        kafka_away: whether Kafka does not answer now.
        latency_ms: `p50`, `p99` and `max` of the time from the producer's queue to Kafka's confirmation; the
            percentiles are upper bounds of classes.
    """

    logged: int
    sent: int
    queued: int
    queued_bytes: int
    spilled: int
    spilled_total: int
    taken_over: int
    dropped: Mapping[str, int]
    kafka_away: bool
    latency_ms: Mapping[str, float]


class Latencies:
    """Times in classes."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS_MS) + 1)
        self._max_ms = 0.0

    def add(self, time_ms: float) -> None:
        """Count one."""
        self._counts[bisect_left(_BOUNDS_MS, time_ms)] += 1
        self._max_ms = max(self._max_ms, time_ms)

    def summary(self) -> dict[str, float]:
        """Percentiles and maximum; zeros where nothing was counted."""
        return {"p50": self._percentile(0.5), "p99": self._percentile(0.99), "max": self._max_ms}

    def _percentile(self, part: float) -> float:
        wanted, seen = part * sum(self._counts), 0
        for bound, count in zip((*_BOUNDS_MS, self._max_ms), self._counts, strict=True):
            seen += count
            if count and seen >= wanted:
                return min(float(bound), self._max_ms)
        return 0.0
