"""What a reader sees of a worker's row: one consistent look, copied out of the shared memory."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shipper.process import slots
from shipper.process.slots import State


@dataclass(frozen=True, slots=True)
class PartitionLook:
    """One partition of a worker, as the worker last wrote it.

    Attributes:
        topic_index: position in `Counters.topics`.
        partition: number of the partition.
        owned: whether the worker's present process was assigned it; False is left over from one that died.
        committed: next offset to consume after a crash; -1 while unknown.
        high_watermark: offset after the last record in Kafka; -1 while unknown.
        last_settled_timestamp_ms: Kafka's timestamp of the last settled record, in ms since the epoch; -1 where none.
        paused: whether fetching is paused.
        target: offset at which `--until-caught-up` stops; -1 where it runs for ever.
        low_watermark: first offset that Kafka still has; -1 while unknown.
        oldest_timestamp_ms: Kafka's timestamp of the first record that is taken and not settled; -1 where none is.
    """

    topic_index: int
    partition: int
    owned: bool
    committed: int
    high_watermark: int
    last_settled_timestamp_ms: int
    paused: bool
    target: int
    low_watermark: int
    oldest_timestamp_ms: int

    @property
    def lag_records(self) -> int | None:
        """Records between the committed offset and the end of the partition; None while either is unknown."""
        if self.committed < 0 or self.high_watermark < 0:
            return None
        return max(0, self.high_watermark - self.committed)

    @property
    def next_timestamp_ms(self) -> int:
        """Kafka's timestamp of the next record to be settled: while none is taken, of the last settled; -1 for none."""
        return self.oldest_timestamp_ms if self.oldest_timestamp_ms >= 0 else self.last_settled_timestamp_ms

    @property
    def records_to_go(self) -> int:
        """Records that this run still has to settle: the lag, up to the target where there is one."""
        end = self.high_watermark if self.target < 0 else min(self.high_watermark, self.target)
        return max(0, end - max(self.committed, 0))


@dataclass(frozen=True, slots=True)
class PeerLook:
    """How a worker sees Loki or Kafka; `since_ms` is 0 before the worker said anything."""

    state: State
    since_ms: int
    error: str


class RowSnapshot:
    """A worker's row at one moment; `snapshot["pushes"]` and `snapshot["pushes.delivered"]` are its slots.

    Args:
        words: the row's words up to the last partition block in use.
    """

    __slots__ = ("_words",)

    def __init__(self, words: Sequence[int]) -> None:
        self._words = words

    def __getitem__(self, slot: str) -> int:
        return self._words[slots.SLOTS[slot]]

    @property
    def consumed(self) -> int:
        """Records taken and not given back: equals delivered + filtered + dead_lettered + in_flight, at every look."""
        return self["consumed"] - self["abandoned"]

    @property
    def heartbeat_ns(self) -> int:
        """Monotonic time of the last turn of the worker's loop; 0 before its first."""
        return self._words[slots.HEARTBEAT_NS]

    @property
    def progress_ns(self) -> int:
        """Monotonic time of the last acknowledged progress; 0 before the first."""
        return self._words[slots.PROGRESS_NS]

    @property
    def push_limit(self) -> int:
        """How many lanes the supervisor lets push at once; 0 before it says so."""
        return self._words[slots.PUSH_LIMIT]

    def family(self, name: str) -> dict[str, int]:
        """Return the slots of a family by kind, in the order of `slots.FAMILIES`."""
        return {kind: self[f"{name}.{kind}"] for kind in slots.FAMILIES[name]}

    def peer(self, name: str) -> PeerLook:
        """Return how the worker sees `loki` or `kafka`."""
        first = slots.PEERS[name]
        state, since_ms, text_bytes, *text = self._words[first : first + slots.PEER_WORDS]
        raw = array("q", text).tobytes()
        return PeerLook(slots.STATES[state], since_ms, raw[:text_bytes].decode(errors="replace"))

    def partitions(self) -> Iterator[PartitionLook]:
        """Yield the partitions in the order of their blocks."""
        for first in range(slots.BLOCKS, len(self._words), slots.BLOCK_WORDS):
            block = self._words[first : first + slots.BLOCK_WORDS]
            if block[slots.KEY]:
                topic_index, partition = slots.unpack_key(block[slots.KEY])
                yield PartitionLook(
                    topic_index,
                    partition,
                    owned=bool(block[slots.OWNED]),
                    committed=block[slots.COMMITTED],
                    high_watermark=block[slots.HIGH_WATERMARK],
                    last_settled_timestamp_ms=block[slots.LAST_SETTLED_TIMESTAMP_MS],
                    paused=bool(block[slots.PAUSED]),
                    target=block[slots.TARGET],
                    low_watermark=block[slots.LOW_WATERMARK],
                    oldest_timestamp_ms=block[slots.OLDEST_TIMESTAMP_MS],
                )
