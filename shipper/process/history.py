"""The last ten minutes, a sample a second: what the live page draws, and where rates come from."""

from itertools import pairwise
from typing import NamedTuple

SAMPLES_MAX = 600
RATE_WINDOW_S = 10.0


class Sample(NamedTuple):
    """Totals and gauges over all workers at one moment; totals never go down."""

    now_ns: int
    now_ms: int
    consumed: int
    delivered: int
    bytes_in: int
    lag_records: int
    in_flight: int
    cpu_percent: float
    rss_bytes: int


class Rates(NamedTuple):
    """What went through per second: records and bytes taken from Kafka, and records delivered to Loki."""

    records_per_s: float = 0.0
    delivered_per_s: float = 0.0
    bytes_per_s: float = 0.0


def rates_between(earlier: Sample, later: Sample) -> Rates:
    """Return the rates from one sample to a later one; zero where no time passed."""
    passed_s = (later.now_ns - earlier.now_ns) / 1e9
    if passed_s <= 0:
        return Rates()
    return Rates(
        (later.consumed - earlier.consumed) / passed_s,
        (later.delivered - earlier.delivered) / passed_s,
        (later.bytes_in - earlier.bytes_in) / passed_s,
    )


class History:
    """A bounded run of samples; one thread records, any thread reads."""

    def __init__(self) -> None:
        # Replaced, never changed: readers in other threads keep the tuple that they got.
        self._samples: tuple[Sample, ...] = ()

    def record(self, sample: Sample) -> None:
        """Add a sample; the oldest one goes when there are more than ten minutes of them."""
        self._samples = (*self._samples[1 - SAMPLES_MAX :], sample)

    def rates(self) -> Rates:
        """Return the rates over the last ten seconds, or as many as there are."""
        samples = self._samples
        if not samples:
            return Rates()
        newest = samples[-1]
        within = (sample for sample in samples if (newest.now_ns - sample.now_ns) / 1e9 <= RATE_WINDOW_S)
        return rates_between(next(within), newest)

    def columns(self, since_ms: int = 0) -> dict[str, list[float]]:
        """Return the samples after `since_ms` as columns of equal length, the oldest first.

        The first sample of all gives no row of its own, since rates need two. `t` is in ms since the epoch.
        """
        samples = self._samples
        rows = [
            (later, rates_between(earlier, later)) for earlier, later in pairwise(samples) if later.now_ms > since_ms
        ]
        return {
            "t": [sample.now_ms for sample, _ in rows],
            "records_per_s": [round(rates.records_per_s, 1) for _, rates in rows],
            "delivered_per_s": [round(rates.delivered_per_s, 1) for _, rates in rows],
            "bytes_per_s": [round(rates.bytes_per_s, 1) for _, rates in rows],
            "lag_records": [sample.lag_records for sample, _ in rows],
            "in_flight": [sample.in_flight for sample, _ in rows],
            "cpu_percent": [round(sample.cpu_percent, 1) for sample, _ in rows],
            "rss_bytes": [sample.rss_bytes for sample, _ in rows],
        }
