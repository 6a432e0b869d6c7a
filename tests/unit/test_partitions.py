"""Partitions whose assignment Kafka's client refuses."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPosition

from shipper.kafka.identity import Identity
from shipper.kafka.partitions import Partitions
from shipper.records import TopicPartition
from shipper.settings import Kafka

AT = TopicPartition("logs", 0)


class ScriptedConsumer:
    """Answers offset 0 to all that it is asked; takes an assignment once `refusal` is None."""

    def __init__(self) -> None:
        self.refusal: KafkaError | None = None
        self.assigned: list[int] = []

    def committed(self, asked: list[KafkaPosition], **_: object) -> list[KafkaPosition]:
        return [KafkaPosition(it.topic, it.partition, 0) for it in asked]

    offsets_for_times = committed

    def incremental_assign(self, positions: list[KafkaPosition]) -> None:
        if self.refusal:
            raise KafkaException(self.refusal)
        self.assigned += [it.partition for it in positions]

    def get_watermark_offsets(self, _: KafkaPosition, **__: object) -> tuple[int, int]:
        return -1001, -1001

    def pause(self, _: Sequence[KafkaPosition]) -> None: ...

    resume = pause


class Ear:
    def __init__(self) -> None:
        self.told: list[Mapping[TopicPartition, int]] = []

    def on_assigned(self, partitions: Mapping[TopicPartition, int]) -> None:
        self.told.append(partitions)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what else a listener is told fails the test
        pytest.fail(name)


def test_a_partition_that_could_not_be_assigned_is_tried_again() -> None:
    consumer, ear = ScriptedConsumer(), Ear()
    partitions = Partitions(
        cast("Consumer", consumer),
        Kafka(),
        ear,
        lambda _, text: pytest.fail(text),
        lambda _: {AT.topic: Identity("one", 1)},
    )
    partitions.look(1)
    partitions.add([AT])
    consumer.refusal = KafkaError(KafkaError._STATE)
    with pytest.raises(KafkaException):
        partitions.place(1)
    assert (partitions.read, set(partitions.unplaced), ear.told) == (set(), {AT}, [])
    consumer.refusal = None
    partitions.place(1)
    assert (partitions.read, partitions.unplaced, ear.told, consumer.assigned) == ({AT}, {}, [{AT: 0}], [0])
