"""The dead letter topic: against both brokers."""

import time
import uuid

import pytest
from confluent_kafka import Producer
from confluent_kafka.cimpl import NewTopic

from kafka_member import WAIT_S, Broker, Join, admin, embedded_differs, lines, produce, values
from shipper.devstack.kafka import make_topic
from shipper.kafka.dlq import DeadLetters
from shipper.kafka.trouble import Trouble
from shipper.records import Reason, RecordBatch, Rejected
from shipper.settings import DeadLetter, Settings


def test_confirmed_letters_are_in_the_topic_with_all_that_the_record_had(broker: Broker, join: Join) -> None:
    topic, letters_topic = make_topic(broker.bootstrap), make_topic(broker.bootstrap, 2)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    headers: list[tuple[str, str | bytes | None]] = [("x-request-id", b"\xff1"), ("none", None)]
    producer.produce(topic, b"fine")
    producer.produce(topic, b"\xffnot json", key=b"\x00k", headers=headers, timestamp=1_700_000_000_123)
    producer.produce(topic, None, key=b"tombstone")
    assert producer.flush(WAIT_S) == 0
    member = join(topic)
    member.until(lambda: len(member.messages) == 3)
    settings = Settings(kafka=member.settings.kafka, dead_letter=DeadLetter(topic=letters_topic))
    letters = DeadLetters(settings, on_error=lambda kind, text: pytest.fail(f"{kind}: {text}"))
    batch = RecordBatch(topic, member.messages)
    letters.send(7, batch, [Rejected(1, Reason.INVALID_UTF8, "byte 0 …"), Rejected(2, Reason.NOT_JSON, "empty")])
    assert letters.pending == 2
    confirmed: list[int] = []
    deadline = time.monotonic() + WAIT_S
    while not confirmed:
        assert time.monotonic() < deadline
        confirmed += letters.poll()
        time.sleep(0.01)
    assert (confirmed, letters.pending, letters.poll(), letters.close(1)) == ([7], 0, [], True)
    reader = join(letters_topic)
    reader.read(2)
    first, second = sorted(reader.messages, key=lambda it: it.key() or b"")
    assert (first.key(), first.value()) == (b"\x00k", b"\xffnot json")
    assert first.headers() == [
        *headers,
        ("dlq.reason", b"invalid_utf8"),
        ("dlq.detail", "byte 0 …".encode()),
        ("dlq.topic", topic.encode()),
        ("dlq.partition", b"0"),
        ("dlq.offset", b"1"),
        ("dlq.timestamp_ms", b"1700000000123"),
    ]
    assert (second.key(), second.value()) == (b"tombstone", None)


@embedded_differs("makes a topic as soon as it is written to")
def test_a_letter_that_the_topic_refuses_waits_until_it_is_taken(broker: Broker, join: Join) -> None:
    topic, missing = make_topic(broker.bootstrap), f"letters-{uuid.uuid4().hex[:8]}"
    produce(broker.bootstrap, topic, lines(1))
    member = join(topic)
    member.read(1)
    troubles: list[tuple[Trouble, str]] = []
    settings = Settings(kafka=member.settings.kafka, dead_letter=DeadLetter(topic=missing))
    letters = DeadLetters(settings, on_error=lambda kind, text: troubles.append((kind, text)), retry_wait_s=0.2)
    letters.send(1, member.batches[0], [Rejected(0, Reason.NOT_JSON, "why")])
    deadline = time.monotonic() + WAIT_S
    while not troubles:
        assert time.monotonic() < deadline
        assert letters.poll() == []
        time.sleep(0.05)
    assert troubles[0][0] == Trouble.DEAD_LETTER_FAILED
    assert missing in troubles[0][1]
    assert "shipper topics create" in troubles[0][1]
    client = admin(broker)  # must outlive the request
    client.create_topics([NewTopic(missing, 1, 1)])[missing].result(WAIT_S)
    confirmed: list[int] = []
    while not confirmed:
        assert time.monotonic() < deadline
        confirmed += letters.poll()
        time.sleep(0.05)
    assert values(join(missing).read(1)) == [b"0"]
