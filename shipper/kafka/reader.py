"""Takes from a consumer what one poll may hold: bounded in records, bytes and time."""

import time
from collections.abc import Callable, Iterable, Sequence
from operator import methodcaller
from typing import cast

from confluent_kafka import Consumer, Message

from shipper.records import Message as Record
from shipper.records import RecordBatch, TopicPartition

_RECORD_BYTES_FIRST = 8192  # before anything is known of the records' size


class Reader:
    """Reads in chunks, each as large as records of the size of the last chunk may be.

    A chunk is what librdkafka holds ready. It waits for one record only, never for a chunk: where records were small
    and are large all of a sudden, a chunk that is waited for takes a hundred times the memory that it was to take.

    Args:
        consumer: what to read from.
        clock: monotonic seconds.
    """

    def __init__(self, consumer: Consumer, clock: Callable[[], float] = time.monotonic) -> None:
        self._consumer, self._clock = consumer, clock
        self._record_bytes: float = _RECORD_BYTES_FIRST
        self._left: set[TopicPartition] = set()

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Drop what the present `read` has of these: they are taken away while it consumes, and may come back in it."""
        self._left.update(partitions)

    def read(self, records_max: int, wait_s: float, bytes_max: int) -> list[Message]:
        """Return records, and what librdkafka tells in their place, in the order in which they came.

        Args:
            records_max: at most so many.
            wait_s: for so long at most, in seconds; less when one of the bounds is reached.
            bytes_max: for values, in bytes; exceeded by a part of one chunk, never by more than librdkafka held ready.
        """
        found: list[Message] = []
        deadline, room = self._clock() + wait_s, bytes_max
        while True:
            records = min(records_max - len(found), max(1, int(room / self._record_bytes)))
            chunk = self._consumer.consume(records, 0)
            if not chunk:
                chunk = self._consumer.consume(1, max(0.0, deadline - self._clock()))
            if self._left:
                found = [it for it in found if (it.topic(), it.partition()) not in self._left]
                self._left.clear()
            if not chunk:
                return found
            size = sum(map(len, chunk))
            self._record_bytes = max(size / len(chunk), self._record_bytes / 2, 1)  # one small record says little
            room -= size
            found += chunk
            if len(found) >= records_max or room <= 0 or self._clock() >= deadline:
                return found


def batches(topics: Sequence[str], messages: Sequence[Message]) -> list[RecordBatch]:
    """Return one batch per topic, none if there are no messages; `topics` are all that they may come from."""
    if not messages:
        return []
    records = cast("Sequence[Record]", messages)
    if len(topics) == 1:
        return [RecordBatch(topics[0], records)]
    by_topic: dict[str, list[Record]] = {}
    for topic, record in zip(map(methodcaller("topic"), records), records, strict=True):
        by_topic.setdefault(topic, []).append(record)
    return [RecordBatch(topic, rows) for topic, rows in by_topic.items()]
