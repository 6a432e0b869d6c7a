"""Where a consumer group stands, and how many records wait for it: asked without joining the group."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined] # documented there, but in no __all__

from shipper.errors import KafkaUnavailableError
from shipper.kafka.connection import Complaints, common_settings, create_client, explain
from shipper.kafka.topics import Admin, Topic
from shipper.settings import Kafka

if TYPE_CHECKING:
    from concurrent.futures import Future

_ASK_S = 0.5


@dataclass(frozen=True, slots=True)
class Position:
    """One partition: what it holds, `low` up to, not including, `high`, and where the group goes on."""

    topic: str
    partition: int
    low: int
    high: int
    committed: int | None
    """None if the group never committed here, or its offset expired."""


def backlog(admin: Admin, kafka: Kafka, topics: Iterable[Topic], *, timeout_s: float = 10.0) -> dict[str, int]:
    """Return for each topic the records that the group `kafka.group_id` would ship if it began now.

    A partition without a committed offset counts from where `kafka.start` would begin. Offsets that hold no record
    (compaction, transactions) count too.

    Raises: KafkaUnavailableError with the way out, also where the group or a topic is forbidden to us.
    """
    waiting: dict[str, int] = {}
    for at in positions(admin, kafka, topics, timeout_s=timeout_s):
        start = at.low if kafka.start == "earliest" else at.high
        begin = start if at.committed is None else max(at.low, at.committed)
        waiting[at.topic] = waiting.get(at.topic, 0) + max(0, at.high - begin)
    return waiting


def positions(admin: Admin, kafka: Kafka, topics: Iterable[Topic], *, timeout_s: float = 10.0) -> list[Position]:
    """Return where each partition of these topics stands. Raises KafkaUnavailableError, as `backlog` does."""
    partitions = [TopicPartition(topic.name, number) for topic in topics for number in range(topic.partitions)]
    if not partitions:
        return []
    committed = _committed(kafka, partitions, timeout_s)
    lows = _offsets(admin, partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call] # untyped there
    highs = _offsets(admin, partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call] # untyped there
    for at in committed:
        if at.error is not None:
            raise KafkaUnavailableError(f"topic {at.topic}: {explain(at.error, kafka.bootstrap_servers)}")
    return [
        Position(
            at.topic,
            at.partition,
            lows[at.topic, at.partition],
            highs[at.topic, at.partition],
            at.offset if at.offset >= 0 else None,
        )
        for at in committed
    ]


def ends_of(admin: Admin, topics: Iterable[Topic]) -> dict[tuple[str, int], int]:
    """Return the end of each partition, open transactions included. Raises KafkaUnavailableError."""
    partitions = [TopicPartition(topic.name, number) for topic in topics for number in range(topic.partitions)]
    return _offsets(admin, partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call] # untyped there


def _committed(kafka: Kafka, partitions: list[TopicPartition], timeout_s: float) -> list[TopicPartition]:
    """Ask as a consumer that never joins.

    An admin client can ask too, but librdkafka 2.16 crashes there when the group's coordinator is still loading.
    """
    complaints = Complaints()
    consumer = create_client(Consumer, {**common_settings(kafka), "group.id": kafka.group_id, "error_cb": complaints})
    deadline = time.monotonic() + timeout_s
    try:
        while True:
            try:
                return consumer.committed(partitions, timeout=_ASK_S)
            except KafkaException as error:
                # A refused group comes as a message; a coordinator that loads, by the call; an outage, by callback.
                message = consumer.poll(0)
                told = message.error() if message else None
                if told or time.monotonic() > deadline:
                    cause = told or complaints.cause_of(error.args[0])
                    raise KafkaUnavailableError(explain(cause, kafka.bootstrap_servers)) from error
    finally:
        consumer.close()


def _offsets(admin: Admin, partitions: list[TopicPartition], which: OffsetSpec) -> dict[tuple[str, int], int]:
    def ask(at: TopicPartition) -> "Future[Any]":
        return admin.client.list_offsets({at: which})[at]

    return {(at.topic, at.partition): admin.answer(partial(ask, at)).offset for at in partitions}
