"""Partitions that leave while they are paused, and come back: against both brokers."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as KafkaPosition

from kafka_member import POLL_S, QUEUE_BYTES, WAIT_S, Broker, Join, delete_records, lines, only_kafka, produce, values
from shipper.devstack.kafka import make_topic
from shipper.kafka.connection import Complaints
from shipper.kafka.consumer import consumer_settings
from shipper.kafka.identity import Identities
from shipper.kafka.partitions import Partitions
from shipper.kafka.trouble import Trouble
from shipper.records import TopicPartition
from shipper.settings import Kafka


class Ear:
    """A listener that only listens."""

    def on_assigned(self, partitions: Mapping[TopicPartition, int]) -> None: ...
    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None: ...
    def on_lost(self, partitions: Sequence[TopicPartition]) -> None: ...
    def on_committed(self, positions: Mapping[TopicPartition, int]) -> None: ...
    def on_gone(self, records: int) -> None: ...


class Reading:
    """Partitions that a test gives and takes itself, as a rebalance does."""

    def __init__(self, broker: Broker, group_id: str, topic: str) -> None:
        kafka = Kafka(bootstrap_servers=[broker.bootstrap], topics=[topic], group_id=group_id)
        self.consumer = Consumer(consumer_settings(kafka, worker=0, queue_bytes_max=QUEUE_BYTES))
        self.troubles: list[Trouble] = []
        identify = Identities(kafka, Complaints())
        self.partitions = Partitions(self.consumer, kafka, Ear(), lambda kind, _: self.troubles.append(kind), identify)
        self.partitions.look(WAIT_S)
        self.at = TopicPartition(topic, 0)

    def give(self) -> None:
        self.partitions.add([self.at])
        self.place()

    def place(self) -> None:
        self.partitions.place(WAIT_S)
        assert self.partitions.read == {self.at}

    def take_away(self) -> None:
        self.partitions.remove([self.at], lambda _: None)
        assert not self.partitions.held

    def offsets(self, records: int) -> list[int | None]:
        """Poll until so many records came; returns their offsets."""
        found: list[int | None] = []
        deadline = time.monotonic() + WAIT_S
        while len(found) < records:
            assert time.monotonic() < deadline, f"{len(found)} of {records} records came"
            found += [it.offset() for it in self.consumer.consume(records - len(found), POLL_S) if not it.error()]
        return found

    def assert_silent(self) -> None:
        for _ in range(3):
            assert not [it for it in self.consumer.consume(1, POLL_S) if not it.error()]


Begin = Callable[[], Reading]


@pytest.fixture
def begin(broker: Broker, group_id: str) -> Iterator[Begin]:
    """Begins to read a topic of one partition that holds 100 records."""
    begun: list[Reading] = []

    def read() -> Reading:
        topic = make_topic(broker.bootstrap)
        produce(broker.bootstrap, topic, lines(100))
        reading = Reading(broker, group_id, topic)
        begun.append(reading)
        reading.give()
        return reading

    yield read
    for reading in begun:
        reading.consumer.close()


def test_a_partition_that_left_while_paused_is_read_when_it_comes_back(begin: Begin) -> None:
    reading = begin()
    reading.offsets(10)
    reading.partitions.hold_back([reading.at])
    reading.take_away()
    reading.partitions.hold_back([])
    reading.give()
    assert reading.offsets(100) == list(range(100))


def test_a_partition_that_comes_back_while_it_is_held_back_waits_and_misses_nothing(begin: Begin) -> None:
    reading = begin()
    reading.offsets(10)
    reading.partitions.hold_back([reading.at])
    reading.take_away()
    reading.give()
    reading.assert_silent()
    reading.partitions.hold_back([])
    assert reading.offsets(100) == list(range(100))


def test_a_partition_paused_for_good_is_read_when_it_was_given_up_and_comes_back(begin: Begin) -> None:
    reading = begin()
    reading.partitions.pause_for_good([reading.at])
    reading.take_away()
    reading.give()
    assert reading.offsets(100) == list(range(100))


@pytest.mark.parametrize("pause", [True, False])
def test_a_partition_that_broke_off_is_read_from_what_is_left(broker: Broker, begin: Begin, pause: bool) -> None:  # noqa: FBT001 - a case
    reading = begin()
    reading.offsets(10)
    if pause:
        reading.partitions.hold_back([reading.at])
    reading.partitions.break_off(reading.at, 10)
    reading.partitions.hold_back([])
    delete_records(broker, reading.at.topic, before=30)
    reading.place()
    assert reading.offsets(70) == list(range(30, 100))
    assert reading.troubles == [Trouble.OFFSET_OUT_OF_RANGE]


def test_once_all_are_paused_what_comes_later_is_not_read_either(begin: Begin) -> None:
    reading = begin()
    reading.partitions.pause()
    reading.take_away()
    reading.give()
    reading.partitions.hold_back([])
    reading.assert_silent()


@only_kafka
@pytest.mark.slow
def test_a_member_reads_what_a_rebalance_took_while_it_was_paused_and_gave_back(broker: Broker, join: Join) -> None:
    client = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 300}
    topic = make_topic(broker.bootstrap, 2)
    stays = join(topic, worker=0, assignment="group", client=client)
    stays.until(lambda: stays.partitions == {0, 1})
    stays.source.hold_back([TopicPartition(topic, partition) for partition in (0, 1)])
    guest = join(topic, worker=1, assignment="group", client=client)
    stays.until(lambda: len(stays.partitions) == len(guest.partitions) == 1, guest)
    stays.source.hold_back([])
    guest.leave()
    stays.until(lambda: stays.partitions == {0, 1})
    for partition in (0, 1):
        produce(broker.bootstrap, topic, lines(10), partition=partition)
    assert values(stays.read(20)) == lines(10) * 2


def test_the_end_of_a_partition_is_known_also_when_fetching_has_silently_stopped(broker: Broker, join: Join) -> None:
    """Else its lag would be none, and no watchdog could miss any progress."""
    topic = make_topic(broker.bootstrap, 1)
    at = TopicPartition(topic, 0)
    produce(broker.bootstrap, topic, lines(5))
    member = join(topic)
    member.read(5)
    member.source._consumer.pause([KafkaPosition(*at)])  # nobody knows of it, as of a fetcher that hangs
    produce(broker.bootstrap, topic, lines(7))
    member.skipped_s += 60
    assert member.source.high_watermarks()[at] == 12
    assert len(member.found) == 5


def test_where_a_partition_begins_is_known_also_after_records_were_deleted(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap, 1)
    at = TopicPartition(topic, 0)
    produce(broker.bootstrap, topic, lines(10))
    member = join(topic)
    member.read(10)
    member.source.high_watermarks()
    assert member.source.low_watermarks == {at: 0}
    delete_records(broker, topic, before=4)
    member.skipped_s += 60
    member.source.high_watermarks()
    assert member.source.low_watermarks == {at: 4}
