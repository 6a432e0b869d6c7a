"""What Kafka is asked about partitions, and told: many in one request, every wait bounded."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPosition

from shipper.kafka.identity import Identity
from shipper.records import TopicPartition

# What Kafka's ListOffsets request takes in place of a timestamp. `offsets_for_times` hands it on as it is, for many
# partitions at once; `get_watermark_offsets` asks one by one, and each waits until the broker has answered a fetch.
_LOW, _HIGH = -2, -1
_CONFIRM_EVERY_S = 0.05


class Answers(NamedTuple):
    """Offsets by partition, and why the other ones have none."""

    offsets: dict[TopicPartition, int]
    errors: dict[TopicPartition, KafkaError]


class Committed(NamedTuple):
    """Committed offsets, and what was written beside them."""

    answers: Answers
    notes: dict[TopicPartition, str | None]


def kafka_positions(
    positions: Mapping[TopicPartition, int], topics: Mapping[str, Identity] | None = None
) -> list[KafkaPosition]:
    """Return positions as confluent_kafka's own class; for a commit, with the topics that they are positions in."""
    notes = {topic: identity.note for topic, identity in (topics or {}).items()}
    return [KafkaPosition(*at, offset, notes.get(at.topic, "")) for at, offset in positions.items()]


def names(positions: Iterable[KafkaPosition]) -> list[TopicPartition]:
    """Return which partitions these are."""
    return [TopicPartition(it.topic, it.partition) for it in positions]


def _answers(positions: list[KafkaPosition]) -> Answers:
    return Answers(
        {TopicPartition(it.topic, it.partition): it.offset for it in positions if not it.error},
        {TopicPartition(it.topic, it.partition): it.error for it in positions if it.error},
    )


def low_offsets(consumer: Consumer, partitions: Iterable[TopicPartition], timeout_s: float) -> Answers:
    """Ask for the first offset of each partition. Raises KafkaException if nobody answers within `timeout_s`."""
    return _ask(consumer, partitions, _LOW, timeout_s)


def high_offsets(consumer: Consumer, partitions: Iterable[TopicPartition], timeout_s: float) -> Answers:
    """Ask for the end of each partition, up to which it can be read. Raises as `low_offsets` does."""
    return _ask(consumer, partitions, _HIGH, timeout_s)


def offsets_at(consumer: Consumer, partitions: Iterable[TopicPartition], time_ms: int, timeout_s: float) -> Answers:
    """Ask for the first offset of this time or later, by Kafka's timestamps; -1 where there is none.

    Raises as `low_offsets` does.
    """
    return _ask(consumer, partitions, time_ms, timeout_s)


def _ask(consumer: Consumer, partitions: Iterable[TopicPartition], what: int, timeout_s: float) -> Answers:
    asked = kafka_positions(dict.fromkeys(partitions, what))
    return _answers(consumer.offsets_for_times(asked, timeout=timeout_s) if asked else [])


def committed_offsets(consumer: Consumer, partitions: Iterable[TopicPartition], timeout_s: float) -> Committed:
    """Ask for the committed offset of each partition, negative where there is none. Raises as `low_offsets` does."""
    asked = [KafkaPosition(*at) for at in partitions]
    found = consumer.committed(asked, timeout=timeout_s) if asked else []
    return Committed(_answers(found), {TopicPartition(it.topic, it.partition): it.metadata for it in found})


def partition_count(consumer: Consumer, topic: str, timeout_s: float) -> int:
    """Ask how many partitions a topic has. Raises KafkaException if it is missing or nobody answers in time."""
    found = consumer.list_topics(topic, timeout=timeout_s).topics[topic]
    if found.error:
        raise KafkaException(KafkaError(found.error.code(), f"{topic}: {found.error.str()}"))
    return len(found.partitions)


def commit_and_confirm(
    consumer: Consumer,
    positions: Mapping[TopicPartition, int],
    timeout_s: float,
    *,
    topics: Mapping[str, Identity],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Commit and see in Kafka that it holds, within `timeout_s`.

    librdkafka's own synchronous commit cannot be bounded: while the group's coordinator is away it blocks for
    session.timeout.ms, and polling with it. So the commit goes out by itself, and is read back.

    Returns: whether Kafka holds all positions now. The commit may still arrive later when it does not.
    """
    deadline = clock() + timeout_s
    try:
        consumer.commit(offsets=kafka_positions(positions, topics), asynchronous=True)
        while (left_s := deadline - clock()) > 0:
            held, notes = committed_offsets(consumer, positions, left_s)
            of_now = {at: offset for at, offset in held.offsets.items() if not topics[at.topic].is_another(notes[at])}
            if all(of_now.get(at, -1) >= position for at, position in positions.items()):
                return True
            sleep(min(_CONFIRM_EVERY_S, left_s))
    except KafkaException:
        return False
    return False
