"""A worker's side of the counters: what it writes into its own row."""

import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from shipper.process import slots
from shipper.process.slots import State


def order(fence: threading.Lock) -> None:
    """Keep what is written or read before this call before what comes after it, on any processor."""
    with fence:
        pass
    with fence:
        pass


class Row:
    """A worker's side of its row. Each call is one update; `with row:` makes several calls one.

    A name that is no slot raises KeyError before anything is written.
    """

    def __init__(self, words: memoryview, rules: Sequence[str], labels: Sequence[str], fence: threading.Lock) -> None:
        self._words = words
        self._fence = fence
        self._depth = 0
        self._rules = {name: f"{position}" for position, name in enumerate(rules)}
        self._labels = {name: f"{position}" for position, name in enumerate(labels)}
        self._blocks: dict[int, int] = {}
        for block in range(words[slots.BLOCKS_USED]):
            first = slots.BLOCKS + block * slots.BLOCK_WORDS
            if words[first + slots.KEY]:
                self._blocks[words[first + slots.KEY]] = first

    def __enter__(self) -> Self:
        if self._depth == 0:
            # Odd also after a writer that died in the middle and left it odd.
            self._words[slots.SEQUENCE] = (self._words[slots.SEQUENCE] + 1) | 1
            order(self._fence)
        self._depth += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._depth -= 1
        if self._depth == 0:
            order(self._fence)
            self._words[slots.SEQUENCE] += 1

    def add(self, **deltas: int) -> None:
        """Add to slots by name: `row.add(delivered=900, filtered=100, in_flight=-1000)`, in one update.

        The caller keeps consumed = delivered + filtered + dead_lettered + in_flight + abandoned.
        """
        words = {slots.SLOTS[name]: delta for name, delta in deltas.items()}
        with self:
            for word, delta in words.items():
                self._words[word] += delta

    def count(self, family: str, kind: str, number: int = 1) -> None:
        """Add to a breakdown only, the total is `add`'s: `row.count("dead_lettered", Reason.TOO_OLD, 3)`.

        Families and kinds are those of `slots.FAMILIES`; a filter and a label are named by their names.
        """
        if family == "filtered":
            kind = self._rules.get(kind, kind)
        elif family == "demoted":
            kind = self._labels.get(kind, kind)
        word = slots.SLOTS[f"{family}.{kind}"]
        with self:
            self._words[word] += number

    def set(self, **gauges: int) -> None:
        """Set gauges (`slots.GAUGES`), in one update."""
        words = {slots.SLOTS[name]: value for name, value in gauges.items()}
        with self:
            for word, value in words.items():
                self._words[word] = value

    def label_values(self, label: str, number: int) -> None:
        """Say how many distinct values of a label were seen."""
        self.set(**{f"label_values.{self._labels.get(label, label)}": number})

    def observe_push(self, duration_s: float) -> None:
        """Add a push request's time to the latency histogram."""
        bucket = sum(duration_s > bound for bound in slots.LATENCY_BOUNDS_S)
        with self:
            self.count("push_latency", f"{bucket}")
            self.add(push_us=int(duration_s * 1e6))

    def heartbeat(self, now_ns: int) -> None:
        """Say that the loop turns; `now_ns` is `time.monotonic_ns()`, which all processes of a machine share."""
        self._words[slots.HEARTBEAT_NS] = now_ns

    def progress(self, now_ns: int) -> None:
        """Say that something was acknowledged, at the same clock."""
        self._words[slots.PROGRESS_NS] = now_ns

    @property
    def push_limit(self) -> int:
        """How many lanes may push at once, as the supervisor says; 0 before it does."""
        return self._words[slots.PUSH_LIMIT]

    def loki(self, state: State, since_ms: int, error: str = "") -> None:
        """Say how Loki is seen, and since when (ms since the epoch); an empty error keeps the last one's text."""
        self._peer("loki", state, since_ms, error)

    def kafka(self, state: State, since_ms: int, error: str = "") -> None:
        """Say how Kafka is seen, the dead letter topic included, as `loki` does."""
        self._peer("kafka", state, since_ms, error)

    def partition(self, topic_index: int, partition: int) -> "Partition":
        """Return the block of an assigned partition, with the target that it had before a restart.

        Raises: ValueError when 4096 partitions are assigned already.
        """
        key = slots.partition_key(topic_index, partition)
        first = self._blocks.get(key)
        with self:
            if first is None:
                first = self._free_block()
                self._words[slots.BLOCKS_USED] = max(
                    self._words[slots.BLOCKS_USED], (first - slots.BLOCKS) // slots.BLOCK_WORDS + 1
                )
                self._blocks[key] = first
                for word in range(slots.COMMITTED, slots.BLOCK_WORDS):
                    self._words[first + word] = -1
                self._words[first + slots.PAUSED] = 0
            self._words[first + slots.KEY] = key
            self._words[first + slots.OWNED] = 1
        return Partition(self, first)

    def repair(self) -> None:
        """Put the row in order after its writer died; the supervisor calls it before it starts the next one.

        The sequence becomes even. What was in flight becomes abandoned: those records were not committed, so they are
        consumed, and counted, again. It is computed from the settled totals, which holds however far an update got.
        Partitions are kept, so that their lag stays to be seen and their targets survive, but count as not owned.
        """
        with self:
            slot = {name: slots.SLOTS[name] for name in slots.TOTALS}
            settled = sum(self._words[slot[name]] for name in ("delivered", "filtered", "dead_lettered"))
            abandoned = max(self._words[slot["abandoned"]], self._words[slot["consumed"]] - settled)
            self._words[slot["abandoned"]] = abandoned
            self._words[slot["consumed"]] = settled + abandoned
            self._words[slot["in_flight"]] = 0
            self._words[slots.SLOTS["in_flight_bytes"]] = 0
            self._words[slots.HEARTBEAT_NS] = 0
            for peer in slots.PEERS.values():
                self._words[peer] = 0
            for first in self._blocks.values():
                self._words[first + slots.OWNED] = 0
                self._words[first + slots.PAUSED] = 0

    def _peer(self, peer: str, state: State, since_ms: int, error: str) -> None:
        first = slots.PEERS[peer]
        # Cut on a character boundary: what is left of a cut character is dropped.
        text = error.encode(errors="replace")[: slots.TEXT_BYTES].decode(errors="ignore").encode()
        padded = text.ljust(slots.TEXT_BYTES, b"\0")
        with self:
            self._words[first] = slots.STATES.index(state)
            self._words[first + 1] = since_ms
            if text:
                self._words[first + 2] = len(text)
                self._words[first + 3 : first + slots.PEER_WORDS] = memoryview(padded).cast("q")

    def _free_block(self) -> int:
        taken = set(self._blocks.values())
        for first in range(slots.BLOCKS, slots.ROW_WORDS, slots.BLOCK_WORDS):
            if first not in taken:
                return first
        for key, first in self._blocks.items():
            if not self._words[first + slots.OWNED]:
                del self._blocks[key]
                return first
        raise ValueError(f"more than {slots.PARTITIONS_MAX} partitions for one worker: start more workers")

    def _release(self, first: int) -> None:
        with self:
            self._blocks.pop(self._words[first + slots.KEY], None)
            self._words[first + slots.KEY] = 0


class Partition:
    """A worker's side of one partition's block, from its assignment until `free`."""

    def __init__(self, row: Row, first: int) -> None:
        self._row = row
        self._first = first

    def set(
        self,
        *,
        committed: int | None = None,
        high_watermark: int | None = None,
        last_settled_timestamp_ms: int | None = None,
        paused: bool | None = None,
        target: int | None = None,
        low_watermark: int | None = None,
        oldest_timestamp_ms: int | None = None,
    ) -> None:
        """Write what is given, in one update; what each means stands at `PartitionLook`."""
        values: Mapping[int, int | None] = {
            slots.COMMITTED: committed,
            slots.HIGH_WATERMARK: high_watermark,
            slots.LAST_SETTLED_TIMESTAMP_MS: last_settled_timestamp_ms,
            slots.PAUSED: paused,
            slots.TARGET: target,
            slots.LOW_WATERMARK: low_watermark,
            slots.OLDEST_TIMESTAMP_MS: oldest_timestamp_ms,
        }
        with self._row as row:
            for word, value in values.items():
                if value is not None:
                    row._words[self._first + word] = value  # noqa: SLF001 - a block is a part of its row

    @property
    def target(self) -> int:
        """Offset at which `--until-caught-up` stops; -1 where none was set, also before a restart."""
        return self._row._words[self._first + slots.TARGET]  # noqa: SLF001 - a block is a part of its row

    def free(self) -> None:
        """Give the block back when the partition is revoked: its lag is somebody else's from now on."""
        self._row._release(self._first)  # noqa: SLF001 - a block is a part of its row
