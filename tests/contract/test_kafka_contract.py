"""What the shipper relies on when it reads from Kafka: against the embedded broker and the real one."""

import time

import pytest
from confluent_kafka import Producer

from kafka_member import QUEUE_BYTES, WAIT_S, Broker, Join, delete_records, lines, produce, values
from shipper.devstack.kafka import make_topic
from shipper.records import TopicPartition

MIB = 1024 * 1024


def test_records_come_in_order_and_whole_with_their_offsets(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap, 2)
    produce(broker.bootstrap, topic, lines(2500), partition=0)
    produce(broker.bootstrap, topic, lines(2500, 5000), partition=1)
    member = join(topic)
    assert member.read(5000) == [
        (partition, offset, b"%d" % (offset + 5000 * partition)) for partition in (0, 1) for offset in range(2500)
    ]
    for partition in (0, 1):
        offsets = [it.offset() for it in member.messages if it.partition() == partition]
        assert offsets == sorted(offsets)
    assert max(map(len, member.batches)) <= 1000


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_any_bytes_come_back_as_they_were(broker: Broker, join: Join, compression: str) -> None:
    topic = make_topic(broker.bootstrap)
    sent = [b"", None, bytes(range(256)), b"x" * 900_000, '{"message": "füße 🎉"}'.encode()]
    produce(broker.bootstrap, topic, sent, compression=compression)
    assert values(join(topic).read(len(sent))) == sent


def test_records_that_are_large_all_of_a_sudden_come_in_small_batches(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap)
    produce(broker.bootstrap, topic, lines(1000))
    produce(broker.bootstrap, topic, [b"x" * 20_000] * 2500)
    member = join(topic)
    polled: list[int] = []
    received = 0
    deadline = time.monotonic() + WAIT_S
    while received < 3500:
        assert time.monotonic() < deadline
        batches = member.source.poll(10_000, 2.0, MIB)
        polled.append(sum(len(value or b"") for batch in batches for value in batch.values))
        received += sum(map(len, batches))
    assert max(polled) < MIB + 2 * QUEUE_BYTES  # librdkafka's queue may be exceeded by a fetch


def test_keys_headers_and_timestamps_come_back_as_they_were(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    headers: list[tuple[str, str | bytes | None]] = [("a", b"1"), ("a", b"\xff\x00"), ("ü", None), ("empty", b"")]
    producer.produce(topic, b"v", key=b"\x00k", headers=headers, timestamp=1_700_000_000_123)
    producer.produce(topic, b"v")
    assert producer.flush(WAIT_S) == 0
    member = join(topic)
    member.read(2)
    rich, bare = member.messages
    assert (rich.key(), rich.headers()) == (b"\x00k", headers)
    assert rich.timestamp() == (1, 1_700_000_000_123)
    assert (bare.key(), bare.headers()) == (None, None)


def test_each_batch_is_of_one_topic(broker: Broker, join: Join) -> None:
    topics = [make_topic(broker.bootstrap), make_topic(broker.bootstrap)]
    for topic in topics:
        produce(broker.bootstrap, topic, lines(100))
    member = join(*topics)
    member.read(200)
    for batch in member.batches:
        assert {it.topic() for it in batch.messages} == {batch.topic}
    assert {batch.topic for batch in member.batches} == set(topics)


def test_workers_read_every_partition_once(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap, 5)
    for partition in range(5):
        produce(broker.bootstrap, topic, lines(10), partition=partition)
    members = [join(topic, worker=worker, workers=2) for worker in (0, 1)]
    assert [member.partitions for member in members] == [{0, 2, 4}, {1, 3}]
    members[0].read(30)
    members[1].read(20)
    assert len(set(members[0].found) | set(members[1].found)) == 50


def test_closing_commits_what_is_acknowledged_and_no_more(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap)
    produce(broker.bootstrap, topic, lines(10))
    member = join(topic)
    member.read(10)
    member.acknowledges = False
    produce(broker.bootstrap, topic, lines(5, 10))
    member.read(15)
    member.leave()
    assert [list(partitions) for partitions in member.revoked] == [[TopicPartition(topic, 0)]]
    assert values(join(topic).read(5)) == lines(5, 10)


def test_a_paused_source_is_polled_and_loses_nothing(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap, 2)
    for partition in (0, 1):
        produce(broker.bootstrap, topic, lines(3000), partition=partition)
    member, both = join(topic), [TopicPartition(topic, partition) for partition in (0, 1)]
    for _ in range(2):
        member.read(len(member.found) + 500)
        member.source.hold_back(both)
        member.source.hold_back(both)
        before = len(member.found)
        for _ in range(3):
            member.poll()
        assert len(member.found) == before
        member.source.hold_back([])
    assert values(member.read(6000)) == lines(3000) * 2


def test_a_partition_that_is_held_back_waits_alone_and_loses_nothing(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap, 3)
    for partition in range(3):
        produce(broker.bootstrap, topic, lines(1000), partition=partition)
    member, places = join(topic), [TopicPartition(topic, partition) for partition in range(3)]
    member.source.hold_back(places[:2])
    member.read(1000)
    member.source.hold_back(places[1:])
    member.read(2000)
    for _ in range(3):
        member.poll()
    assert {partition for partition, _, _ in member.found} == {0, 2}
    member.source.hold_back([])
    assert values(member.read(3000)) == lines(1000) * 3


def test_a_partition_that_reached_its_target_stays_paused(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap, 2)
    member = join(topic)
    member.source.pause_some([TopicPartition(topic, 0)])
    member.source.hold_back([TopicPartition(topic, 0), TopicPartition(topic, 1)])
    member.source.hold_back([])
    for partition in (0, 1):
        produce(broker.bootstrap, topic, lines(10), partition=partition)
    member.read(10)
    for _ in range(5):
        member.poll()
    assert {partition for partition, _, _ in member.found} == {1}


def test_watermarks_are_where_a_partition_begins_and_ends(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap, 2)
    produce(broker.bootstrap, topic, lines(100))
    delete_records(broker, topic, before=40)
    member, full, empty = join(topic), TopicPartition(topic, 0), TopicPartition(topic, 1)
    assert member.source.starts([full, empty]) == {full: 40, empty: 0}
    assert member.source.ends_now([full, empty]) == {full: 100, empty: 0}
    assert member.source.high_watermarks() == {full: 100, empty: 0}
    assert member.assigned == [{full: 40, empty: 0}]


def test_the_high_watermark_follows_the_topic_paused_or_not(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap)
    member, at = join(topic), TopicPartition(topic, 0)
    produce(broker.bootstrap, topic, lines(10))
    member.until(lambda: member.source.high_watermarks()[at] == 10)
    member.source.pause()
    produce(broker.bootstrap, topic, lines(10))
    # A fetch that was under way when it paused may know the new end already.
    assert member.source.high_watermarks()[at] in (10, 20)
    member.skipped_s += 5
    assert member.source.high_watermarks()[at] == 20


def test_the_end_of_a_partition_is_reported(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap, 2)
    produce(broker.bootstrap, topic, lines(10))
    member = join(topic)
    member.until(lambda: member.source.eof_offsets == {TopicPartition(topic, 0): 10, TopicPartition(topic, 1): 0})
    assert values(member.found) == lines(10)


def test_the_end_behind_a_transaction_marker_is_reported(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": topic, "log_level": 0})
    producer.init_transactions(WAIT_S)
    producer.begin_transaction()
    producer.produce(topic, b"once")
    producer.commit_transaction(WAIT_S)
    producer.begin_transaction()
    producer.produce(topic, b"never")
    producer.flush(WAIT_S)
    producer.abort_transaction(WAIT_S)
    member, at = join(topic), TopicPartition(topic, 0)
    assert member.source.ends_now([at]) == {at: 4}
    member.until(lambda: member.source.eof_offsets.get(at) == 4)
    assert values(member.found) == [b"once"]
