"""Where each counter lies in a worker's row: a table of int64 words, and nothing else.

A row, in words of 8 bytes:

| words | what |
|---|---|
| `SEQUENCE` | the seqlock: odd while the worker is in the middle of an update |
| `HEARTBEAT_NS` | monotonic time of the last turn of the worker's loop; 0 before the first |
| `PROGRESS_NS` | monotonic time of the last acknowledged progress; 0 before the first |
| `BLOCKS_USED` | partition blocks in use, freed ones below the highest included |
| `PUSH_LIMIT` | lanes that may push at once, written by the supervisor; 0 before it says so |
| `PEERS["loki"]`, `PEERS["kafka"]` | state (an index of `STATES`), since when (ms since the epoch), error (UTF-8) |
| `SLOTS[name]` | one word each, the table below |
| `BLOCKS` … | 4096 blocks of 9 words, one per partition: what they mean stands at `snapshot.PartitionLook` |

The slots, by name:

| slot | counts |
|---|---|
| `consumed` | records taken from Kafka, those that were taken a second time after a crash included |
| `delivered` | records that Loki acknowledged |
| `filtered` | records that a rule left out; `filtered.empty` and `filtered.0` … `filtered.63` by rule |
| `dead_lettered` | records confirmed in the dead letter topic; `dead_lettered.<reason>` by `records.Reason` |
| `in_flight` | records taken and not yet settled |
| `abandoned` | records given back unsettled, by a crash or a revoked partition: somebody consumes them again |
| `bytes_in` | bytes of the values taken from Kafka |
| `bytes_out` | compressed bytes sent to Loki, those that were sent again included |
| `batches` | batches prepared |
| `pushes` | push requests sent, retries included; `pushes.<outcome>` by `OUTCOMES` |
| `retries` | push requests that were sent again |
| `malformed` | records shipped raw because they could not be parsed; `malformed.<reason>` by `records.Reason` |
| `demoted.<i>` | records whose value of a label went to structured metadata, by label |
| `label_values.<i>` | gauge: distinct values of a label that the worker's present process has seen, by label |
| `lost_to_retention` | records that Kafka deleted before they were read |
| `commits`, `commit_errors` | offset commits that Kafka took, and that it refused |
| `kafka_errors` | errors that the Kafka client reported |
| `prepare_ns` | time spent preparing batches, in nanoseconds |
| `push_us` | sum of the push requests' times, in microseconds |
| `push_latency.<i>` | push requests by the bucket of their time (`LATENCY_BOUNDS_S`), the last without bound |
| `in_flight_bytes`, `memory_bytes_max` | gauges: bytes held by records in flight, and the worker's bound on memory |
"""

from typing import Literal

from shipper.records import Reason

WORD_BYTES = 8
TEXT_BYTES = 256
RULES_MAX = 64
LABELS_MAX = 32
PARTITIONS_MAX = 4096

State = Literal["ok", "retrying", "refusing"]
STATES: tuple[State, ...] = ("ok", "retrying", "refusing")
"""How Loki or Kafka is seen, from good to bad: what is called `refusing` needs a person."""

OUTCOMES = (
    "delivered",
    "rate_limited",
    "stream_limit",
    "refused_entries",
    "unauthorized",
    "not_loki",
    "too_large",
    "blocked",
    "server_error",
    "timeout",
    "connection",
)
"""What became of a push request: 204 · 429 by rate · 429 by streams · 400 about entries · 401 and 403 · 404, HTML, a
400 that is not Loki's, other strange answers · 413 · 260, and refusals by the tenant's settings · 5xx · no answer in
time · no connection, or one that broke."""

LATENCY_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

EMPTY_RULE = "empty"
FAMILIES: dict[str, tuple[str, ...]] = {
    "filtered": (EMPTY_RULE, *map(str, range(RULES_MAX))),
    "dead_lettered": tuple(Reason),
    "malformed": tuple(Reason),
    "demoted": tuple(map(str, range(LABELS_MAX))),
    "label_values": tuple(map(str, range(LABELS_MAX))),
    "pushes": OUTCOMES,
    "push_latency": tuple(map(str, range(len(LATENCY_BOUNDS_S) + 1))),
}
"""Slots that are counted by kind: `filtered.empty`, `pushes.delivered`, …"""

TOTALS = (
    "consumed",
    "delivered",
    "filtered",
    "dead_lettered",
    "in_flight",
    "abandoned",
    "bytes_in",
    "bytes_out",
    "batches",
    "pushes",
    "retries",
    "malformed",
    "lost_to_retention",
    "commits",
    "commit_errors",
    "kafka_errors",
    "prepare_ns",
    "push_us",
)
GAUGES = ("in_flight_bytes", "memory_bytes_max")

SEQUENCE = 0
HEARTBEAT_NS = 1
PROGRESS_NS = 2
BLOCKS_USED = 3
PUSH_LIMIT = 4
PEER_WORDS = 3 + TEXT_BYTES // WORD_BYTES
PEERS = {"loki": 5, "kafka": 5 + PEER_WORDS}

_SLOTS_FIRST = 5 + 2 * PEER_WORDS
_NAMES = (*TOTALS, *GAUGES, *(f"{family}.{kind}" for family, kinds in FAMILIES.items() for kind in kinds))
SLOTS: dict[str, int] = {name: _SLOTS_FIRST + position for position, name in enumerate(_NAMES)}
"""Word of each slot in its row."""

BLOCKS = _SLOTS_FIRST + len(SLOTS)
BLOCK_WORDS = 9
(
    KEY,
    OWNED,
    COMMITTED,
    HIGH_WATERMARK,
    LAST_SETTLED_TIMESTAMP_MS,
    PAUSED,
    TARGET,
    LOW_WATERMARK,
    OLDEST_TIMESTAMP_MS,
) = range(BLOCK_WORDS)
ROW_WORDS = BLOCKS + PARTITIONS_MAX * BLOCK_WORDS


def partition_key(topic_index: int, partition: int) -> int:
    """Pack what names a partition into the word that is 0 in a free block."""
    return (topic_index << 32 | partition) + 1


def unpack_key(key: int) -> tuple[int, int]:
    """Return (topic index, partition) of a block's key."""
    return (key - 1) >> 32, (key - 1) & 0xFFFFFFFF
