"""How many records wait: what a consumer group has not committed yet, asked without joining the group."""

import time
from collections.abc import Iterable
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


def backlog(admin: Admin, kafka: Kafka, topics: Iterable[Topic], *, timeout_s: float = 10.0) -> dict[str, int]:
    """Return for each topic the records that the group `kafka.group_id` would ship if it began now.

    A partition without a committed offset counts from where `kafka.start` would begin. Offsets that hold no record
    (compaction, transactions) count too.

    Raises: KafkaUnavailableError with the way out, also where the group or a topic is forbidden to us.
    """
    partitions = [TopicPartition(topic.name, number) for topic in topics for number in range(topic.partitions)]
    if not partitions:
        return {}
    committed = _committed(kafka, partitions, timeout_s)
    lows = _offsets(admin, partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call] # untyped there
    highs = _offsets(admin, partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call] # untyped there
    waiting: dict[str, int] = {}
    for at in committed:
        if at.error is not None:
            raise KafkaUnavailableError(f"topic {at.topic}: {explain(at.error, kafka.bootstrap_servers)}")
        low, high = lows[at.topic, at.partition], highs[at.topic, at.partition]
        start = low if kafka.start == "earliest" else high
        begin = max(low, at.offset) if at.offset >= 0 else start
        waiting[at.topic] = waiting.get(at.topic, 0) + max(0, high - begin)
    return waiting


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
