"""Which records have a dead letter: their coordinates, eight bytes each."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from shipper.records import Bools, Int64s, RecordBatch, TopicPartition

_Keys = npt.NDArray[np.uint64]
# Odd, so that multiplying by them loses nothing: the golden ratio, and splitmix64's.
_OFFSET_FACTOR, _TIME_FACTOR = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)


class Letters:
    """The dead letters of some partitions.

    A letter is told by its record's partition, offset and timestamp: a topic that is made anew counts from 0 again.
    One that was written twice, as after a crash, is one.

    Args:
        batches: what the dead letter topic holds.
        partitions: whose letters are wanted.
    """

    def __init__(self, batches: Iterable[RecordBatch], partitions: Iterable[TopicPartition]) -> None:
        found: dict[TopicPartition, list[_Keys]] = {at: [] for at in partitions}
        for batch in batches:
            origins: dict[TopicPartition, list[tuple[int, int]]] = {}
            for row in range(len(batch)):
                at, offset, timestamp_ms = _origin(batch, row)
                if at in found:
                    origins.setdefault(at, []).append((offset, timestamp_ms))
            for at, pairs in origins.items():
                found[at].append(_keys(*np.array(pairs, np.int64).T))
        self._keys = {at: np.unique(np.concatenate(keys)) for at, keys in found.items() if keys}

    def have(self, batch: RecordBatch) -> Bools:
        """Say of each row whether it has a letter."""
        having = np.zeros(len(batch), np.bool_)
        for number in np.unique(batch.partitions).tolist():
            keys = self._keys.get(TopicPartition(batch.topic, number))
            if keys is not None:
                rows = np.flatnonzero(batch.partitions == number)
                asked = _keys(batch.offsets[rows], np.array(batch.timestamps_ms(rows.tolist()), np.int64))
                at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
                having[rows] = keys[at] == asked
        return having


def _keys(offsets: Int64s, timestamps_ms: Int64s) -> _Keys:
    """Return a number for each letter; that two have the same is as likely as two equal random numbers of 64 bits."""
    mixed = offsets.astype(np.uint64) * _OFFSET_FACTOR
    mixed ^= mixed >> np.uint64(29)
    keys: _Keys = mixed + timestamps_ms.astype(np.uint64) * _TIME_FACTOR
    return keys


def _origin(batch: RecordBatch, row: int) -> tuple[TopicPartition | None, int, int]:
    """Return what a letter says of its record; None as partition if it is no letter."""
    headers: Mapping[str, bytes | None] = dict(batch.headers(row))  # of two with the same name, the later one is ours
    if "dlq.reason" not in headers:
        return None, 0, 0
    try:
        names: Sequence[str] = ("dlq.topic", "dlq.partition", "dlq.offset", "dlq.timestamp_ms")
        topic, partition, offset, timestamp_ms = ((headers[name] or b"").decode() for name in names)
        return TopicPartition(topic, int(partition)), int(offset), int(timestamp_ms)
    except (KeyError, ValueError):
        return None, 0, 0
