"""When a partition will lose data, if shipping goes on as in the last minutes. Pure: clocks are passed in.

The model. A record that is next to be shipped was written at t. It can be shipped until the first of

    t + retention.ms                 Kafka deletes it (not before; it waits until its whole segment is that old)
    retention.bytes written after it Kafka deletes it (by whole segments, too)
    t + entry_age_max_s              Loki refuses it: reject_old_samples_max_age, counted from the entry's own time

Behind it stand `lag` records, taken as spread evenly between t and now, and behind them those that are written from
now on, at the rate of the last minutes. Shipping takes them in order, at its own rate of the last minutes. Loss is in
sight if a record comes to its end before shipping comes to it; the time to data loss is the time until the first such
end. Further away than the bound itself, rates of minutes foretell nothing: that counts as out of sight.

What it does not know: how large records are on Kafka's disk. They count with the bytes of their values, as they are
before compression, which foretells a bound in bytes too early. But where Kafka still keeps shipped records before the
next one, those are deleted first, one for each that is written: so the later of the two counts.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile

from shipper.process.snapshot import PartitionLook

WINDOW_S = 120.0
"""What "the last minutes" are."""
_WINDOW_MIN_S = 5.0
_SAMPLE_S = 5.0


class Bound(StrEnum):
    """What ends a record's time."""

    RETENTION_MS = "retention.ms"
    RETENTION_BYTES = "retention.bytes"
    ENTRY_AGE = "entry_age_max_s"


@dataclass(frozen=True, slots=True)
class Retention:
    """How long Kafka keeps a topic's records: seconds, and bytes per partition; None where that is no bound."""

    age_s: float | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """Data will be lost in `in_s` seconds, because of `bound`."""

    in_s: float
    bound: Bound


@dataclass(frozen=True, slots=True)
class Backlog:
    """A partition's records that wait, and how fast they come and go.

    Attributes:
        records: how many wait; at least 1.
        age_s: of the one that is next, by Kafka's timestamp.
        shipped_per_s: at which they go.
        written_per_s: at which they come.
    """

    records: int
    age_s: float
    shipped_per_s: float
    written_per_s: float

    def loss_by_age(self, age_max_s: float) -> float | None:
        """Return the seconds until a record gets older than this before it is shipped; None if none will."""
        left_s = age_max_s - self.age_s
        if left_s <= 0:
            return 0.0
        if self.shipped_per_s <= 0:
            return left_s
        # Each record of the backlog is that much younger than the one before it, and shipped that much later.
        falls_behind_s = 1 / self.shipped_per_s - self.age_s / self.records
        if falls_behind_s > 0:
            records = left_s / falls_behind_s
            if records <= self.records:
                return records / self.shipped_per_s
        if self.written_per_s <= self.shipped_per_s:
            return None
        # The backlog grows until as much waits as is written in the longest time that a record may wait.
        return (age_max_s * self.written_per_s - self.records) / (self.written_per_s - self.shipped_per_s)

    def loss_by_size(self, records_left: float) -> float | None:
        """Return the seconds until Kafka deletes what was not shipped; None if it will not.

        Args:
            records_left: how many more may be written before the one that is next is deleted.
        """
        if self.written_per_s <= self.shipped_per_s:
            return None
        return max(0.0, records_left) / (self.written_per_s - self.shipped_per_s)


@dataclass(frozen=True, slots=True)
class _Sample:
    at_s: float
    committed: int
    high_watermark: int


class Forecast:
    """Looks at partitions again and again, and says which will lose data.

    Args:
        window_s: the time over which rates are taken.
    """

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._samples: dict[tuple[str, int], deque[_Sample]] = {}

    def losses(
        self,
        partitions: Iterable[tuple[str, PartitionLook]],
        *,
        now_s: float,
        now_ms: int,
        entry_age_max_s: float,
        retentions: Mapping[str, Retention],
        record_bytes: float | None,
    ) -> dict[tuple[str, int], Loss]:
        """Return the partitions for which loss is in sight.

        Args:
            partitions: all there are, with their topics.
            now_s: monotonic clock.
            now_ms: wall clock, in ms since the epoch.
            entry_age_max_s: Loki's bound on the age of an entry.
            retentions: Kafka's by topic, as far as known.
            record_bytes: the average size of a record's value; None while none was seen.
        """
        found, samples = {}, {}
        for topic, look in partitions:
            place = topic, look.partition
            samples[place] = self._remember(place, look, now_s)
            bounds = retentions.get(topic, Retention()), entry_age_max_s, record_bytes
            ends = list(self._ends(look, samples[place], now_ms, *bounds))
            if ends:
                found[place] = min(ends, key=lambda loss: loss.in_s)
        self._samples = samples
        return found

    def _remember(self, place: tuple[str, int], look: PartitionLook, now_s: float) -> deque[_Sample]:
        samples = self._samples.get(place, deque())
        if look.committed < 0 or look.high_watermark < 0:
            return deque()
        if samples and (look.committed < samples[-1].committed or look.high_watermark < samples[-1].high_watermark):
            samples = deque()  # made anew, or read again: no rate leads from there to here
        for _ in list(takewhile(lambda sample: now_s - sample.at_s > self._window_s, samples)):
            samples.popleft()
        if not samples or now_s - samples[-1].at_s >= _SAMPLE_S:
            samples.append(_Sample(now_s, look.committed, look.high_watermark))
        return samples

    def _ends(
        self,
        look: PartitionLook,
        samples: deque[_Sample],
        now_ms: int,
        retention: Retention,
        entry_age_max_s: float,
        record_bytes: float | None,
    ) -> Iterator[Loss]:
        if not look.lag_records:
            return
        if look.low_watermark > look.committed:
            yield Loss(0.0, Bound.RETENTION_MS if retention.size_bytes is None else Bound.RETENTION_BYTES)
        passed_s = samples[-1].at_s - samples[0].at_s
        if look.next_timestamp_ms < 0 or passed_s < _WINDOW_MIN_S:
            return
        backlog = Backlog(
            look.lag_records,
            max(0, now_ms - look.next_timestamp_ms) / 1000,
            (samples[-1].committed - samples[0].committed) / passed_s,
            (samples[-1].high_watermark - samples[0].high_watermark) / passed_s,
        )
        ages = {Bound.ENTRY_AGE: entry_age_max_s, Bound.RETENTION_MS: retention.age_s}
        for bound, age_s in ages.items():
            if age_s is not None and (in_s := backlog.loss_by_age(age_s)) is not None and in_s <= age_s:
                yield Loss(in_s, bound)
        if retention.size_bytes is not None and record_bytes and look.low_watermark >= 0:
            by_size = retention.size_bytes / record_bytes - look.lag_records
            in_s = backlog.loss_by_size(max(by_size, look.committed - look.low_watermark))
            if in_s is not None and in_s <= entry_age_max_s:
                yield Loss(in_s, Bound.RETENTION_BYTES)
