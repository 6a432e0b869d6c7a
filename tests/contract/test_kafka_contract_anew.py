"""A topic that is deleted and made again under the same name: against the real Kafka, which gives topics ids."""

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as KafkaPosition

from kafka_member import WAIT_S, Broker, Join, lines, make_again, only_kafka, produce, values
from shipper.devstack.kafka import make_topic
from shipper.kafka.identity import Identity
from shipper.kafka.trouble import Trouble
from shipper.records import TopicPartition

pytestmark = pytest.mark.slow


@only_kafka
def test_a_topic_made_again_is_read_from_its_start_though_it_is_longer_already(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap, 2)
    both = [TopicPartition(topic, number) for number in (0, 1)]
    for partition, count in enumerate((10, 50)):
        produce(broker.bootstrap, topic, lines(count), partition=partition)
    member = join(topic, new_partitions_every_s=0.5)
    member.read(60)
    member.source.hold_back(both)  # nothing is fetched, so no error tells of it
    make_again(broker, topic, 2)
    for partition in (0, 1):
        produce(broker.bootstrap, topic, lines(30, 100), partition=partition)
    member.source.hold_back([])

    def all_is_found() -> bool:
        # At every look the end is one of the topic as it was, or as it is.
        assert member.source.high_watermarks().items() <= {(at, end) for at in both for end in (10, 30, 50)}
        return all(
            {(number, offset, b"%d" % (100 + offset)) for offset in range(30)} <= {*member.found} for number in (0, 1)
        )

    member.until(all_is_found)
    said = [text for kind, text in member.troubles if kind == Trouble.OFFSET_OUT_OF_RANGE]
    assert "was deleted and made again" in said[0]
    member.until(lambda: {*member.lost[0]} == {*both} and member.tracker.next_offset(both[1]) == 30)
    assert member.source.high_watermarks() == dict.fromkeys(both, 30)


@only_kafka
@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_an_offset_committed_of_an_earlier_topic_counts_for_nothing(broker: Broker, join: Join, start: str) -> None:
    topic = make_topic(broker.bootstrap)
    produce(broker.bootstrap, topic, lines(30))
    member = join(topic, start=start)
    at = TopicPartition(topic, 0)
    late = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": member.settings.kafka.group_id})
    assert member.source.commit_now({at: 20}, WAIT_S)
    (held,) = late.committed([KafkaPosition(*at)], timeout=WAIT_S)
    assert held.metadata
    member.leave()
    # A commit that was on its way when the topic went: Kafka takes it for the new one.
    other = Identity("of-an-earlier-topic", 1).note
    late.commit(offsets=[KafkaPosition(*at, 20, other)], asynchronous=False)
    late.close()
    later = join(topic, start=start)
    assert values(later.read(30)) == lines(30)
    ((kind, text),) = later.troubles
    assert kind == Trouble.OFFSET_OUT_OF_RANGE
    assert "offset 20 was committed of an earlier topic" in text
