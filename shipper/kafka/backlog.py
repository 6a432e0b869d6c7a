"""How many records wait: what a consumer group has not committed yet, asked without joining the group."""

from collections.abc import Iterable

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined] # documented there, but in no __all__

from shipper.kafka.topics import Admin, Topic
from shipper.settings import Kafka


def backlog(admin: Admin, kafka: Kafka, topics: Iterable[Topic]) -> dict[str, int]:
    """Return for each topic the records that the group `kafka.group_id` would ship if it began now.

    A partition without a committed offset counts from where `kafka.start` would begin. Offsets that hold no record
    (compaction, transactions) count too.

    Raises: KafkaUnavailableError with the way out, also where the group or a topic is forbidden to us.
    """
    partitions = [TopicPartition(topic.name, number) for topic in topics for number in range(topic.partitions)]
    if not partitions:
        return {}
    lows = _offsets(admin, partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call] # untyped there
    highs = _offsets(admin, partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call] # untyped there
    asked = admin.client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(kafka.group_id, partitions)])
    waiting: dict[str, int] = {}
    for answer in admin.settle(asked[kafka.group_id]).topic_partitions:
        low, high = lows[answer.topic, answer.partition], highs[answer.topic, answer.partition]
        start = low if kafka.start == "earliest" else high
        begin = max(low, answer.offset) if answer.offset >= 0 else start
        waiting[answer.topic] = waiting.get(answer.topic, 0) + max(0, high - begin)
    return waiting


def _offsets(admin: Admin, partitions: list[TopicPartition], which: OffsetSpec) -> dict[tuple[str, int], int]:
    asked = admin.client.list_offsets(dict.fromkeys(partitions, which))
    return {(at.topic, at.partition): admin.settle(future).offset for at, future in asked.items()}
