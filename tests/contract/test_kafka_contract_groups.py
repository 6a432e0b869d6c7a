"""Consumer groups: who has which partition, and from where: against both brokers."""

from typing import Any

import pytest

from kafka_member import Broker, Join, lines, only_kafka, produce, values
from shipper.devstack.kafka import make_topic
from shipper.errors import KafkaUnavailableError
from shipper.kafka.offsets import OffsetTracker
from shipper.kafka.trouble import Trouble
from shipper.records import TopicPartition

pytestmark = pytest.mark.slow


def quick(**more: Any) -> dict[str, Any]:  # noqa: ANN401 - keys of [kafka]
    """Settings of a group whose members are missed after 6 s, the least that Kafka takes."""
    return {"assignment": "group", "client": {"session.timeout.ms": 6000, "heartbeat.interval.ms": 300}, **more}


@only_kafka
def test_members_share_and_who_stays_takes_over_from_what_was_committed(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap, 4)
    stays, leaves = join(topic, worker=0, **quick()), join(topic, worker=1, **quick())
    stays.until(lambda: len(stays.partitions) == len(leaves.partitions) == 2, leaves)
    assert stays.partitions | leaves.partitions == {0, 1, 2, 3}
    for partition in range(4):
        produce(broker.bootstrap, topic, lines(10), partition=partition)
    stays.until(lambda: len(stays.found) == len(leaves.found) == 20, leaves)
    leaves.leave()  # commits what is acknowledged
    for partition in range(4):
        produce(broker.bootstrap, topic, lines(5, 10), partition=partition)
    stays.until(lambda: stays.partitions == {0, 1, 2, 3})
    stays.read(40)
    assert len({*stays.found, *leaves.found}) == 60
    assert not set(stays.found) & set(leaves.found)


@only_kafka
def test_revoking_commits_the_acknowledged_prefix_and_no_more(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap, 2)
    first = join(topic, worker=0, **quick())
    first.until(lambda: first.partitions == {0, 1})
    for partition in (0, 1):
        produce(broker.bootstrap, topic, lines(10), partition=partition)
    first.read(20)
    first.acknowledges = False
    for partition in (0, 1):
        produce(broker.bootstrap, topic, lines(10, 10), partition=partition)
    first.read(40)
    second = join(topic, worker=1, **quick())
    second.read(10, first)
    (moved,) = second.partitions
    assert [at.partition for partitions in first.revoked for at in partitions] == [moved]
    assert second.assigned[-1] == {TopicPartition(topic, moved): 10}
    assert values(second.found) == lines(10, 10)


def test_a_member_that_comes_back_in_time_moves_no_partition(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap, 4)
    stays, bounces = join(topic, worker=0, **quick()), join(topic, worker=1, **quick())
    stays.until(lambda: len(stays.partitions) == len(bounces.partitions) == 2, bounces)
    before, told = bounces.partitions, (len(stays.assigned), len(stays.revoked))
    bounces.leave()
    back = join(topic, worker=1, **quick())
    stays.until(lambda: back.partitions == before, back)
    assert (len(stays.assigned), len(stays.revoked)) == told


def test_two_members_of_one_name_do_not_both_go_on(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap)
    first = join(topic, **quick())
    first.until(lambda: first.partitions)
    second = join(topic, **quick())
    with pytest.raises(KafkaUnavailableError, match="instance"):
        first.until(lambda: False, second)
    second.until(lambda: second.partitions)


def test_a_pinned_source_in_a_group_of_others_says_that_its_commits_are_refused(join: Join, broker: Broker) -> None:
    topic = make_topic(broker.bootstrap)
    produce(broker.bootstrap, topic, lines(10))
    member = join(topic, **quick())
    member.until(lambda: member.partitions)
    stranger = join(topic)
    stranger.read(10, member)
    assert not stranger.source.commit_now(stranger.tracker.committable(), 1)
    stranger.until(lambda: stranger.troubles, member)
    assert stranger.troubles[0][0] == Trouble.COMMIT_FAILED
    assert "kafka.group_id of its own" in stranger.troubles[0][1]
    stranger.tracker = OffsetTracker()  # so that leaving commits nothing
