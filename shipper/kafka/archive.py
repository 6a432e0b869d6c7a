"""Topics as they lie in Kafka: where partitions begin and end, and any range of their records. Read only.

No group is joined and nothing is committed, so it can be used beside a shipper that runs.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from shipper.errors import KafkaUnavailableError
from shipper.kafka.connection import Complaints, create_client, explain
from shipper.kafka.consumer import consumer_settings
from shipper.kafka.positions import (
    Answers,
    committed_offsets,
    high_offsets,
    kafka_positions,
    low_offsets,
    offsets_at,
    partition_count,
)
from shipper.kafka.reader import Reader, batches
from shipper.records import RecordBatch, TopicPartition
from shipper.settings import Kafka

Offsets = dict[TopicPartition, int]

_QUEUE_BYTES_MAX = 16 * 1024 * 1024
_READ_RECORDS, _READ_BYTES, _READ_WAIT_S = 10_000, 4 * 1024 * 1024, 0.1
_ASK_S, _ASK_AGAIN_S = 5.0, 0.2
_UNKNOWN = frozenset({"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC"})
_FINAL = _UNKNOWN | frozenset({"TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED"})


class UnknownTopicError(KafkaUnavailableError):
    """There is no such topic, or it is hidden from us."""


class Archive:
    """Reads topics; to be used with `with`.

    Args:
        kafka: the section `[kafka]`.
        timeout_s: so long Kafka may be silent, in seconds.
        clock: monotonic seconds.

    Raises: ConfigError if librdkafka refuses `[kafka.client]`. All methods raise KafkaUnavailableError if Kafka does
        not answer in time, refuses us, or lacks a topic.
    """

    def __init__(self, kafka: Kafka, *, timeout_s: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._kafka, self._timeout_s, self._clock = kafka, timeout_s, clock
        self._complaints = Complaints()
        client = {
            **consumer_settings(kafka, worker=0, queue_bytes_max=_QUEUE_BYTES_MAX),
            "client.id": "shipper-archive",
            # Who reads ranges meets their ends: an end is not to be waited for.
            "fetch.min.bytes": 1,
            # A range whose beginning retention deletes meanwhile is read from where it begins now.
            "auto.offset.reset": "earliest",
            "error_cb": self._complaints,
        }
        client.pop("group.instance.id", None)
        self._consumer: Consumer = create_client(Consumer, client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def has(self, topic: str) -> bool:
        """Ask whether there is such a topic."""
        try:
            return bool(self.partitions([topic]))
        except UnknownTopicError:
            return False

    def partitions(self, topics: Iterable[str]) -> list[TopicPartition]:
        """Ask for the partitions of topics."""
        return [
            TopicPartition(topic, number)
            for topic in topics
            for count in self._until_answered(partial(self._count, topic)).values()
            for number in range(count)
        ]

    def lows(self, partitions: Sequence[TopicPartition]) -> Offsets:
        """Ask for the first offset that there is of each partition."""
        return self._until_answered(lambda: low_offsets(self._consumer, partitions, _ASK_S))

    def highs(self, partitions: Sequence[TopicPartition]) -> Offsets:
        """Ask for the end of each partition."""
        return self._until_answered(lambda: high_offsets(self._consumer, partitions, _ASK_S))

    def committed(self, partitions: Sequence[TopicPartition]) -> Offsets:
        """Ask for what the group `kafka.group_id` has committed; negative where it has nothing."""
        return self._until_answered(lambda: committed_offsets(self._consumer, partitions, _ASK_S).answers)

    def offsets_at(self, partitions: Sequence[TopicPartition], time_ms: int) -> Offsets:
        """Ask for the first offset of this time or later, by Kafka's timestamps; -1 where all are earlier."""
        return self._until_answered(lambda: offsets_at(self._consumer, partitions, time_ms, _ASK_S))

    def read(self, ranges: Mapping[TopicPartition, range]) -> Iterator[RecordBatch]:
        """Yield the records of these ranges of offsets, each partition in order, the partitions mingled."""
        ends = {at: span.stop for at, span in ranges.items() if span}
        topics = sorted({at.topic for at in ends})
        self._consumer.assign(kafka_positions({at: ranges[at].start for at in ends}))
        reader = Reader(self._consumer, self._clock)
        deadline = self._clock() + self._timeout_s
        while ends:
            messages = reader.read(_READ_RECORDS, _READ_WAIT_S, _READ_BYTES)
            if messages:
                deadline = self._clock() + self._timeout_s
            elif self._clock() > deadline:
                raise self._failure(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - confluent_kafka has its names so
            if any(map(Message.error, messages)):
                messages, at_end = self._without_events(messages)
            else:
                at_end = []
            for batch in batches(topics, messages):
                if wanted := self._wanted(batch, ends):
                    yield wanted
            self._leave(at_end, ends)
        self._consumer.unassign()

    def _wanted(self, batch: RecordBatch, ends: Offsets) -> RecordBatch | None:
        """Leave out what lies beyond a range, and end the ranges that are complete."""
        limits = {span.at.partition: ends.get(span.at, 0) for span in batch.spans}
        over = any(span.next_offset > limits[span.at.partition] for span in batch.spans)
        self._leave([span.at for span in batch.spans if span.next_offset >= limits[span.at.partition]], ends)
        if not over:
            return batch
        kept = [message for message in batch.messages if message.offset() < limits[message.partition()]]
        return RecordBatch(batch.topic, kept) if kept else None

    def _leave(self, partitions: Iterable[TopicPartition], ends: Offsets) -> None:
        for at in partitions:
            if at in ends:
                del ends[at]
                self._consumer.incremental_unassign(kafka_positions({at: 0}))

    def _without_events(self, messages: Sequence[Message]) -> tuple[list[Message], list[TopicPartition]]:
        at_end = []
        for message in messages:
            error = message.error()
            if error and error.name() == "_PARTITION_EOF":  # behind the last record there may be a transaction's end
                at_end.append(TopicPartition(message.topic() or "", message.partition() or 0))
            elif error and (error.name() in _FINAL or error.fatal()):
                raise self._failure(error)
            elif error:
                self._complaints(error)  # it passes, or Kafka stays silent until we give up
        return [message for message in messages if not message.error()], at_end

    def _count(self, topic: str) -> Answers:
        return Answers({TopicPartition(topic, 0): partition_count(self._consumer, topic, _ASK_S)}, {})

    def _until_answered(self, ask: Callable[[], Answers]) -> Offsets:
        """Ask until every partition has an answer: leaders and coordinators are elected, and that passes."""
        deadline = self._clock() + self._timeout_s
        while True:
            try:
                offsets, errors = ask()
                refusal = next(iter(errors.values()), None)
            except KafkaException as error:
                refusal = error.args[0]
            if refusal is None:
                return offsets
            self._consumer.poll(0)  # brings the complaints, which say more than a call's own error
            if refusal.name() in _FINAL or self._complaints.are_final or self._clock() > deadline:
                raise self._failure(refusal)
            time.sleep(_ASK_AGAIN_S)

    def _failure(self, error: KafkaError) -> KafkaUnavailableError:
        kind = UnknownTopicError if error.name() in _UNKNOWN else KafkaUnavailableError
        return kind(explain(self._complaints.cause_of(error), self._kafka.bootstrap_servers))
