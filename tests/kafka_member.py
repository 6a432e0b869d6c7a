"""A worker as far as Kafka sees it, and what the tests of the Kafka side do to brokers."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka import TopicPartition as KafkaPosition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from shipper.devstack.broker import EmbeddedBroker
from shipper.devstack.kafka import KafkaServer
from shipper.kafka.offsets import OffsetTracker
from shipper.kafka.source import Source
from shipper.kafka.trouble import Trouble
from shipper.records import Message, RecordBatch, TopicPartition
from shipper.settings import Kafka, Settings

WAIT_S = 90.0
POLL_S = 0.1
QUEUE_BYTES = 8 * 1024 * 1024

Broker = EmbeddedBroker | KafkaServer
Found = tuple[int, int, bytes | None]
"""(partition, offset, value)"""


def embedded_differs(how: str) -> pytest.MarkDecorator:
    """Parametrise `broker` for a test that the embedded broker cannot pass; `how` says what it does instead."""
    differs = pytest.mark.xfail(strict=True, reason=f"the embedded broker {how}")
    embedded = pytest.param("embedded", marks=[differs, pytest.mark.slow])  # it waits in vain until it gives up
    return pytest.mark.parametrize("broker", [embedded, pytest.param("kafka", marks=pytest.mark.kafka)], indirect=True)


only_kafka = pytest.mark.parametrize("broker", [pytest.param("kafka", marks=pytest.mark.kafka)], indirect=True)
"""For what the embedded broker does only by chance: to give a partition on that a member gave up."""


class Member:
    """A worker as far as Kafka sees it: polls, acknowledges all that it reads unless told not to, commits."""

    def __init__(self, bootstrap: str, topics: Sequence[str], group_id: str, **more: Any) -> None:  # noqa: ANN401 - keys of [kafka], and of the source
        self.assigned: list[Mapping[TopicPartition, int]] = []
        self.revoked: list[Sequence[TopicPartition]] = []
        self.lost: list[Sequence[TopicPartition]] = []
        self.committed: dict[TopicPartition, int] = {}
        self.troubles: list[tuple[Trouble, str]] = []
        self.gone = 0
        self.batches: list[RecordBatch] = []
        self.tracker = OffsetTracker()
        self.acknowledges = True
        self.left = False
        self.skipped_s = 0.0
        """What its clock is ahead: a test does not wait for what comes every few seconds."""
        source = {name: more.pop(name) for name in ("worker", "workers", "new_partitions_every_s") if name in more}
        self.settings = Settings(
            kafka=Kafka(bootstrap_servers=[bootstrap], topics=list(topics), group_id=group_id, **more)
        )
        self.source = Source(
            self.settings,
            **{"worker": 0, "workers": 1, **source},
            queue_bytes_max=QUEUE_BYTES,
            listener=self,
            on_error=lambda kind, text: self.troubles.append((kind, text)),
            clock=lambda: time.monotonic() + self.skipped_s,
        )

    def on_assigned(self, partitions: Mapping[TopicPartition, int]) -> None:
        self.assigned.append(partitions)
        for at, start in partitions.items():
            self.tracker.assigned(at, start)

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        positions = {at: offset for at, offset in self.tracker.committable().items() if at in partitions}
        assert self.source.commit_now(positions, 5)
        self.tracker.drop(partitions)
        self.revoked.append(partitions)

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        self.tracker.drop(partitions)
        self.lost.append(partitions)

    def on_committed(self, positions: Mapping[TopicPartition, int]) -> None:
        self.tracker.committed(positions)
        self.committed.update(positions)

    def on_gone(self, records: int) -> None:
        self.gone += records

    def leave(self, timeout_s: float = 10.0) -> None:
        """Close, once; a member that leaves commits what it acknowledged."""
        if not self.left:
            self.left = True
            assert self.source.close(timeout_s)

    def poll(self) -> list[RecordBatch]:
        batches = self.source.poll(1000, POLL_S)
        for batch in batches:
            self.batches.append(batch)
            self.tracker.taken(len(self.batches), batch.spans)
            if self.acknowledges:
                self.tracker.settled(len(self.batches), [span.at for span in batch.spans])
        return batches

    def until(self, condition: Callable[[], object], *others: "Member") -> None:
        """Poll, and let the other members poll, until the condition holds."""
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline, (condition, self.troubles, self.found)
            for member in (self, *others):
                member.poll()

    def read(self, records: int, *others: "Member") -> list[Found]:
        """Poll until this many records were read; returns them by partition and offset."""
        self.until(lambda: len(self.found) >= records, *others)
        return self.found

    @property
    def messages(self) -> list[Message]:
        return [message for batch in self.batches for message in batch.messages]

    @property
    def found(self) -> list[Found]:
        return sorted((it.partition(), it.offset(), it.value()) for it in self.messages)

    @property
    def partitions(self) -> set[int]:
        return {at.partition for at in self.source.assigned}


Join = Callable[..., Member]


def produce(
    bootstrap: str, topic: str, values: Sequence[bytes | None], *, partition: int = 0, compression: str = "none"
) -> None:
    """Write the values to a partition and wait until they are there."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "log_level": 0,
            "message.max.bytes": 2_000_000,
            "compression.type": compression,
        }
    )
    for value in values:
        producer.produce(topic, value, partition=partition)
    assert producer.flush(WAIT_S) == 0


def admin(broker: Broker) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})


def delete_records(broker: Broker, topic: str, *, before: int, partition: int = 0) -> None:
    client = admin(broker)
    for future in client.delete_records([KafkaPosition(topic, partition, before)]).values():
        future.result(WAIT_S)


def make_again(broker: Broker, topic: str, partitions: int) -> None:
    """Delete a topic and make it again, as soon as Kafka has forgotten it."""
    client = admin(broker)
    client.delete_topics([topic], operation_timeout=WAIT_S)[topic].result(WAIT_S)
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(KafkaException):  # the old one is there still
            client.create_topics([NewTopic(topic, partitions, 1)])[topic].result(WAIT_S)
            return
        time.sleep(POLL_S)
    pytest.fail(f"{topic} could not be made again")


def lines(count: int, first: int = 0) -> list[bytes | None]:
    return [b"%d" % number for number in range(first, first + count)]


def values(found: Sequence[Found]) -> list[bytes | None]:
    return [value for _, _, value in found]
