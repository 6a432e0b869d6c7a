"""Where reading begins, and what happens when Kafka is not as it must be: against both brokers."""

import time
import uuid

import pytest
from confluent_kafka.cimpl import NewPartitions

from kafka_member import WAIT_S, Broker, Join, Member, admin, delete_records, lines, produce, values
from shipper.devstack.kafka import make_topic
from shipper.devstack.server import free_port
from shipper.errors import KafkaUnavailableError
from shipper.kafka.offsets import OffsetTracker
from shipper.kafka.trouble import Trouble
from shipper.records import TopicPartition

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("assignment", ["pinned", "group"])
def test_committed_offsets_are_kept_for_the_next_consumer(broker: Broker, join: Join, assignment: str) -> None:
    topic = make_topic(broker.bootstrap, 2)
    for partition in (0, 1):
        produce(broker.bootstrap, topic, lines(10), partition=partition)
    member = join(topic, assignment=assignment)
    member.read(20)
    member.source.commit({TopicPartition(topic, 0): 4})
    member.until(lambda: member.committed.get(TopicPartition(topic, 0)) == 4)
    assert member.source.commit_now({TopicPartition(topic, 1): 9}, WAIT_S)
    member.tracker = OffsetTracker()  # so that closing commits nothing more
    member.leave()
    assert values(join(topic, assignment=assignment).read(7)) == [*lines(6, 4), b"9"]


def test_latest_begins_at_the_end_and_a_restart_skips_nothing(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap)
    produce(broker.bootstrap, topic, lines(10))
    member = join(topic, start="latest")
    assert member.assigned == [{TopicPartition(topic, 0): 10}]
    member.leave()
    produce(broker.bootstrap, topic, lines(5, 10))
    assert values(join(topic, start="latest").read(5)) == lines(5, 10)


@pytest.mark.parametrize("assignment", ["pinned", "group"])
@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_new_partitions_are_noticed_and_read_from_their_start(
    broker: Broker, join: Join, assignment: str, start: str
) -> None:
    topic = make_topic(broker.bootstrap, 1)
    member = join(topic, assignment=assignment, start=start, new_partitions_every_s=0.5)
    member.until(lambda: member.partitions)
    member.source.hold_back([TopicPartition(topic, 2)])
    client = admin(broker)  # must outlive the request
    client.create_partitions([NewPartitions(topic, 3)])[topic].result(WAIT_S)
    produce(broker.bootstrap, topic, lines(10), partition=2)
    member.until(lambda: member.partitions == {0, 1, 2})
    assert member.found == []
    member.source.hold_back([])
    assert values(member.read(10)) == lines(10)


def test_records_deleted_before_they_were_read_are_said_loudly(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap)
    produce(broker.bootstrap, topic, lines(100))
    member, at = join(topic), TopicPartition(topic, 0)
    assert member.source.commit_now({at: 10}, WAIT_S)
    member.leave()
    delete_records(broker, topic, before=30)
    later = join(topic)
    assert later.assigned == [{at: 30}]
    assert values(later.read(70)) == lines(70, 30)
    ((kind, text),) = later.troubles
    assert kind == Trouble.OFFSET_OUT_OF_RANGE
    assert text.startswith(f"{topic}/0: 20 records from offset 10 on were deleted")
    assert later.gone == 20


def test_records_deleted_before_anything_was_committed_are_said_loudly(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap)
    produce(broker.bootstrap, topic, lines(100))
    first = join(topic)
    first.acknowledges = False
    first.read(100)
    first.leave()
    delete_records(broker, topic, before=30)
    later = join(topic)
    assert values(later.read(70)) == lines(70, 30)
    assert "30 records from offset 0 on were deleted" in later.troubles[0][1]
    assert later.gone == 30


def test_records_deleted_while_paused_are_said_loudly_and_reading_goes_on(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap)
    produce(broker.bootstrap, topic, lines(100))
    member, at = join(topic), TopicPartition(topic, 0)
    member.read(100)
    member.source.hold_back([at])
    produce(broker.bootstrap, topic, lines(100, 100))
    delete_records(broker, topic, before=130)
    member.source.hold_back([])
    assert values(member.read(170)) == [*lines(100), *lines(70, 130)]
    assert [kind for kind, _ in member.troubles] == [Trouble.OFFSET_OUT_OF_RANGE]
    assert "30 records from offset 100 on were deleted" in member.troubles[0][1]
    assert member.gone == 30
    assert len(member.assigned) == 1
    assert member.lost == []


def test_a_committed_offset_behind_the_end_begins_anew_and_is_said(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap)
    produce(broker.bootstrap, topic, lines(10))
    member, at = join(topic), TopicPartition(topic, 0)
    assert member.source.commit_now({at: 50}, WAIT_S)
    member.leave()
    later = join(topic)
    assert values(later.read(10)) == lines(10)
    assert "ends at offset 10, before 50" in later.troubles[0][1]


def test_nobody_at_the_address_is_said_with_the_address() -> None:
    address = f"127.0.0.1:{free_port()}"
    member = Member(address, ["logs"], "group")
    with pytest.raises(KafkaUnavailableError, match=address):
        member.source.open(timeout_s=1)


@pytest.mark.parametrize("assignment", ["pinned", "group"])
def test_a_missing_topic_is_said_with_the_way_out(join: Join, assignment: str) -> None:
    topic = f"missing-{uuid.uuid4().hex[:8]}"
    with pytest.raises(KafkaUnavailableError, match=f"{topic}.*shipper topics create"):
        join(topic, assignment=assignment)


def test_closing_is_bounded_and_reading_goes_on_after_an_outage(
    request: pytest.FixtureRequest, broker: Broker, group_id: str
) -> None:
    server_dir = request.getfixturevalue("server_dir")
    with type(broker)(server_dir("outage")) as own:
        topic = make_topic(own.bootstrap, 2)
        produce(own.bootstrap, topic, lines(100))
        member = Member(own.bootstrap, [topic], group_id)
        member.source.open()
        member.read(100)
        own.stop()
        positions = {TopicPartition(topic, 0): 50}
        began = time.monotonic()
        assert not member.source.commit_now(positions, 0.5)
        assert time.monotonic() - began < 5
        member.until(lambda: any(kind == Trouble.KAFKA_ERROR for kind, _ in member.troubles))
        own.start()
        produce(own.bootstrap, topic, lines(100, 100))
        assert values(member.read(200)) == lines(200)
        deadline = time.monotonic() + WAIT_S
        while not member.source.commit_now(positions, 1):
            assert time.monotonic() < deadline
            member.poll()
        own.stop()
        member.tracker = OffsetTracker()
        member.source.commit(positions)
        began = time.monotonic()
        member.source.close(1)
        assert time.monotonic() - began < 10
