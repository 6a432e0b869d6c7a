"""Reading ranges of topics without joining a group: against the embedded broker and the real one."""

from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as KafkaPosition

from kafka_member import WAIT_S, Broker, delete_records, lines, produce
from shipper.devstack.kafka import make_topic
from shipper.devstack.server import free_port
from shipper.errors import KafkaUnavailableError
from shipper.kafka.archive import Archive, UnknownTopicError
from shipper.records import TopicPartition
from shipper.settings import Kafka


@pytest.fixture
def archive(broker: Broker, group_id: str) -> Iterator[Archive]:
    with Archive(Kafka(bootstrap_servers=[broker.bootstrap], group_id=group_id), timeout_s=WAIT_S) as opened:
        yield opened


def offsets(archive: Archive, ranges: dict[TopicPartition, range]) -> dict[TopicPartition, list[int]]:
    found: dict[TopicPartition, list[int]] = {}
    for batch in archive.read(ranges):
        for message in batch.messages:
            assert message.value() == b"%d" % message.offset()
            found.setdefault(TopicPartition(batch.topic, message.partition()), []).append(message.offset())
    return found


def test_ranges_are_read_exactly_one_after_another_and_several_at_once(broker: Broker, archive: Archive) -> None:
    topics = [make_topic(broker.bootstrap, 2), make_topic(broker.bootstrap)]
    first, second, third = (TopicPartition(topics[0], 0), TopicPartition(topics[0], 1), TopicPartition(topics[1], 0))
    for at in (first, second, third):
        produce(broker.bootstrap, at.topic, lines(3_000), partition=at.partition)
    assert archive.partitions(topics) == [first, second, third]
    assert archive.highs([first, second, third]) == dict.fromkeys((first, second, third), 3_000)
    assert offsets(archive, {first: range(3_000)}) == {first: list(range(3_000))}
    several = {first: range(10), second: range(2_990, 3_000), third: range(7, 8)}
    assert offsets(archive, several) == {at: list(span) for at, span in several.items()}
    assert offsets(archive, {first: range(5, 5), third: range(2, 4)}) == {third: [2, 3]}
    assert offsets(archive, {}) == {}


def test_what_retention_has_deleted_of_a_range_is_left_out(broker: Broker, archive: Archive) -> None:
    topic = make_topic(broker.bootstrap)
    produce(broker.bootstrap, topic, lines(100))
    delete_records(broker, topic, before=40)
    at = TopicPartition(topic, 0)
    assert archive.lows([at]) == {at: 40}
    assert offsets(archive, {at: range(20, 60)}) == {at: list(range(40, 60))}
    assert offsets(archive, {at: range(20, 30)}) == {}


def test_times_and_commits_are_told_and_nothing_is_committed(broker: Broker, archive: Archive, group_id: str) -> None:
    topic = make_topic(broker.bootstrap)
    at = TopicPartition(topic, 0)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    for number in range(10):
        producer.produce(topic, b"%d" % number, timestamp=1_700_000_000_000 + 1_000 * number)
    assert producer.flush(WAIT_S) == 0
    assert archive.offsets_at([at], 1_700_000_003_500) == {at: 4}
    assert archive.offsets_at([at], 1_700_000_004_000) == {at: 4}
    assert archive.offsets_at([at], 1_800_000_000_000)[at] in {-1, 10}
    assert archive.committed([at])[at] < 0
    assert offsets(archive, {at: range(10)}) == {at: list(range(10))}
    assert archive.committed([at])[at] < 0
    committing = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group_id, "log_level": 0})
    committing.commit(offsets=[KafkaPosition(topic, 0, 6)], asynchronous=False)
    committing.close()
    assert archive.committed([at]) == {at: 6}


@pytest.mark.slow  # a client asks for a topic that is not there for some seconds
def test_a_topic_that_is_missing_is_told_apart_from_a_broker_that_is(broker: Broker, archive: Archive) -> None:
    topic = make_topic(broker.bootstrap)
    produce(broker.bootstrap, topic, lines(1))
    assert archive.has(topic)
    assert not archive.has("no-such-topic")
    with pytest.raises(UnknownTopicError, match="`shipper topics create`"):
        archive.partitions(["no-such-topic"])
    away = Kafka(bootstrap_servers=[f"127.0.0.1:{free_port()}"])
    with Archive(away, timeout_s=1) as nobody, pytest.raises(KafkaUnavailableError, match="start Kafka there"):
        nobody.partitions(["logs"])
