"""Which canaries are out, which were seen in Loki, and when the next ones are due. Pure: clocks are passed in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from shipper.records import TopicPartition

_DOUBLINGS_MAX = 16


@dataclass(slots=True)
class _Partition:
    """One partition's canaries; `seen_s` is when the newest of them that Loki shows was written."""

    seen_s: float
    written_s: float = float("-inf")
    out: dict[int, float] = field(default_factory=dict)
    """Number → when it was written."""


class Freshness(NamedTuple):
    """The partition whose newest visible canary is the oldest, and when that one was written."""

    at: TopicPartition
    seen_s: float


class Sightings:
    """Follows the canaries of all partitions.

    A partition whose canaries are not seen gets fewer and fewer new ones: the pause doubles with each that is out. So
    an outage of days leaves some dozen, not thousands, and what comes late is still noticed.

    Args:
        every_s: pause between two canaries of a partition that are seen in time.
        age_max_s: older ones are given up: Loki takes none of that age.
    """

    def __init__(self, every_s: float, age_max_s: float) -> None:
        self._every_s, self._age_max_s = every_s, age_max_s
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._places: dict[int, TopicPartition] = {}
        self.written = 0
        self.seen = 0
        self.latency_s: float | None = None
        """From writing the latest canary that was seen to seeing it."""

    def set_partitions(self, partitions: Iterable[TopicPartition], now_s: float) -> None:
        """Follow these, and no others; a new one counts as seen now."""
        self._partitions = {at: self._partitions.get(at) or _Partition(seen_s=now_s) for at in partitions}
        self._places = {number: at for number, at in self._places.items() if at in self._partitions}

    def due(self, now_s: float) -> list[TopicPartition]:
        """Return the partitions whose next canary is due."""
        return [
            at
            for at, it in self._partitions.items()
            if now_s - it.written_s >= self._every_s * 2 ** min(len(it.out), _DOUBLINGS_MAX)
        ]

    def write(self, at: TopicPartition, now_s: float) -> int:
        """Return the number of a canary that is written now."""
        self.written += 1
        partition = self._partitions[at]
        partition.written_s = partition.out[self.written] = now_s
        self._places[self.written] = at
        for number in [number for number, written_s in partition.out.items() if now_s - written_s > self._age_max_s]:
            self.give_up(number)
        return self.written

    def give_up(self, number: int) -> None:
        """A canary will never be seen: Kafka did not take it, or a rule leaves it out."""
        if at := self._places.pop(number, None):
            self._partitions[at].out.pop(number, None)

    def see(self, numbers: Sequence[int], now_s: float) -> bool:
        """Loki shows these; returns whether any of them was not known to be there."""
        found = sorted(number for number in numbers if number in self._places)
        for number in found:
            if number not in self._places:
                continue  # an older one than one of these
            partition = self._partitions[self._places[number]]
            partition.seen_s = partition.out[number]
            self.latency_s = now_s - partition.seen_s
            self.seen += 1
            for older in [other for other in partition.out if other <= number]:
                self.give_up(older)
        return bool(found)

    @property
    def oldest_out_s(self) -> float | None:
        """When the oldest canary that is out was written; None if none is."""
        return min((written_s for it in self._partitions.values() for written_s in it.out.values()), default=None)

    @property
    def newest_out_s(self) -> float | None:
        """When the newest canary that is out was written; None if none is."""
        return max((written_s for it in self._partitions.values() for written_s in it.out.values()), default=None)

    @property
    def freshness(self) -> Freshness | None:
        """The worst of all partitions; None if there are none."""
        worst = min(self._partitions.items(), key=lambda item: item[1].seen_s, default=None)
        return Freshness(worst[0], worst[1].seen_s) if worst else None
