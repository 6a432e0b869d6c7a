"""`shipper verify` on real Kafka and real Loki: what is lost, doubled or buried is told by its coordinates."""

import time
from pathlib import Path

import pytest
import requests
from confluent_kafka import Consumer, TopicPartition

from loki_proto import Entry, Stream, encode_push
from shipper.devstack.kafka import KafkaServer, TopicFactory
from shipper.devstack.loki import LokiServer
from shipping import Shipping, Written, write

RECORDS = 600


@pytest.fixture
def shipping(kafka: KafkaServer, loki: LokiServer, topic: TopicFactory, tmp_path: Path) -> Shipping:
    return Shipping(tmp_path, bootstrap=kafka.bootstrap, loki_url=loki.url, topic=topic(3), dead_letters=topic(1))


def line(number: int, at_ms: int) -> bytes:
    return b'{"timestamp":%d,"service":"a","level":"info","userId":"u%d","message":"%d"}' % (at_ms, number, number)


def push(shipping: Shipping, labels: dict[str, str], *entries: Entry) -> None:
    """Push entries past the shipper."""
    pairs = sorted({**labels, "test": shipping.label}.items())
    stream = Stream("{" + ", ".join(f'{name}="{value}"' for name, value in pairs) + "}", entries)
    answer = requests.post(
        f"{shipping.loki_url}/loki/api/v1/push",
        data=encode_push([stream]),
        headers={"Content-Type": "application/x-protobuf"},
        timeout=30,
    )
    assert answer.status_code == 204, answer.text


def commit_without_shipping(shipping: Shipping) -> None:
    """Pass over what is in the topic, as a broken shipper would."""
    consumer = Consumer({"bootstrap.servers": shipping.bootstrap, "group.id": shipping.label})
    highs = [
        TopicPartition(shipping.topic, n, consumer.get_watermark_offsets(TopicPartition(shipping.topic, n))[1])
        for n in range(3)
    ]
    consumer.commit(offsets=highs, asynchronous=False)
    consumer.close()


def test_what_is_lost_and_what_is_doubled_is_told_by_its_coordinates(shipping: Shipping) -> None:
    now_ms = time.time_ns() // 10**6 - 60_000
    write(shipping.bootstrap, shipping.topic, (Written(line(n, now_ms + n)) for n in range(RECORDS)))
    shipping.run_until_caught_up()
    assert shipping.judge()["shipped"] == RECORDS

    # Three records that nobody ships, though they count as shipped; a shifted double; and an entry of nobody's.
    lost = [Written(line(RECORDS + n, now_ms + RECORDS + n)) for n in range(3)]
    write(shipping.bootstrap, shipping.topic, lost)
    commit_without_shipping(shipping)
    labels = {"service": "a", "level": "info"}
    shifted = Entry((now_ms + 5) * 10**6 + 999_999, line(5, now_ms + 5).decode(), (("user_id", "u5"),))
    other_metadata = Entry(now_ms * 10**6 + 777_777, line(6, now_ms + 6).decode(), (("user_id", "u7"),))
    push(shipping, labels, shifted, other_metadata)

    found = shipping.verify(code=1)
    assert found["totals"]["missing"] == 3
    assert [one["line"] for one in sorted(found["missing"], key=lambda one: str(one["line"]))] == [
        (record.value or b"").decode() for record in lost
    ]
    assert {one["labels"]["service"] for one in found["missing"]} == {"a"}
    assert {one["reason"] for one in found["missing"]} == {"not in Loki"}
    assert found["totals"]["unexpected"] == 2
    assert sorted(one["line"] for one in found["unexpected"]) == [shifted.line, other_metadata.line]
    assert {one["reason"] for one in found["unexpected"]} == {"no record explains it"}
