"""Kafka as far as a consumer sees it: partitions, committed offsets, a group, and a broker that is away at times."""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from messages import StoredMessage
from simulation.group import Group
from simulation.world import World

TOPIC = "logs"


@dataclass(slots=True)
class Log:
    """One partition. An offset below `high` without a record is a transaction marker, or was compacted away."""

    epoch: int = 0
    """Grows when the partition is made anew."""
    low: int = 0
    high: int = 0
    committed: int = -1001
    """The group's position; OFFSET_INVALID at first."""
    records: list[StoredMessage] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)

    @property
    def last(self) -> int:
        """Where a reader stands behind the last record that is there."""
        return self.offsets[-1] + 1 if self.offsets else self.low

    def read(self, position: int, records_max: int) -> list[StoredMessage]:
        """Return the records from a position on."""
        first = bisect_left(self.offsets, max(position, self.low))
        return self.records[first : first + records_max]


class Broker:
    """The partitions of one topic, and what was committed.

    Attributes:
        logs: by partition.
        group: who holds which partition.
        is_down: whether it answers nobody.
        begun_s: when each partition was read for the first time; before that nobody misses what is deleted.
        on_committed: called with each partition, the position that it has now, and the epoch that it comes from.
    """

    def __init__(self, world: World, partitions: int) -> None:
        self._world = world
        self.logs = {partition: Log() for partition in range(partitions)}
        self.group = Group(world, self.logs)
        self.is_down = False
        self.begun_s: dict[int, float] = {}
        self.on_committed: Callable[[int, int, int], None] = lambda _partition, _position, _epoch: None

    def append(self, partition: int, value: bytes | None) -> StoredMessage:
        """Write a record at the end of a partition."""
        log = self.logs[partition]
        now_ms = self._world.now_ns() // 1_000_000
        record = StoredMessage(value, (TOPIC, partition, log.high), timestamp_ms=now_ms)
        log.records.append(record)
        log.offsets.append(log.high)
        log.high += 1
        return record

    def mark(self, partition: int) -> None:
        """End a transaction: its marker takes an offset, and nobody ever reads it."""
        self.logs[partition].high += 1

    def delete_before(self, partition: int, offset: int) -> None:
        """Let retention pass."""
        log = self.logs[partition]
        log.low = max(log.low, min(offset, log.high))
        kept = bisect_left(log.offsets, log.low)
        del log.offsets[:kept], log.records[:kept]

    def make_anew(self, partition: int) -> None:
        """Delete a partition and make it again, empty; what is committed of it stays, as Kafka lets it for a while."""
        before = self.logs[partition]
        self.logs[partition] = Log(epoch=before.epoch + 1, committed=before.committed)
        self.begun_s.pop(partition, None)

    def commit(self, positions: Mapping[int, int], epochs: Mapping[int, int], member: object = None) -> bool:
        """Take positions, unless they come from somebody who is no member any more."""
        if member is not None and not self.group.knows(member):
            return False
        for partition, position in positions.items():
            self.logs[partition].committed = position
            self.on_committed(partition, position, epochs[partition])
        return True
