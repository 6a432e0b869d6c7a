"""Reading the dead letter topic: against both brokers."""

import uuid
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from kafka_member import WAIT_S, Broker
from messages import StoredMessage
from shipper.devstack.kafka import make_topic
from shipper.errors import KafkaUnavailableError
from shipper.kafka.dlq import dead_letter_headers
from shipper.kafka.letters import Letter, LettersReader, Marker, Origin, Place, Unreadable, marker_headers
from shipper.kafka.positions import Answers, high_offsets
from shipper.records import Reason, Rejected
from shipper.settings import DeadLetter, Kafka, Settings


def settings_for(broker: Broker, topic: str) -> Settings:
    kafka = Kafka(bootstrap_servers=[broker.bootstrap], group_id=uuid.uuid4().hex)
    return Settings(kafka=kafka, dead_letter=DeadLetter(topic=topic))


def headers_of(offset: int) -> list[tuple[str, str | bytes | None]]:
    record = StoredMessage(b"", ("logs", 0, offset), timestamp_ms=5)
    return [*dead_letter_headers(record, Rejected(0, Reason.NOT_JSON, "why"))]


def test_letters_are_read_to_their_present_end_and_markers_as_their_transaction_ended(broker: Broker) -> None:
    topic = make_topic(broker.bootstrap, 3)
    letters = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    for offset in range(500):
        letters.produce(topic, b"%d" % offset, partition=offset % 2, headers=headers_of(offset))
    letters.produce(topic, b"junk", partition=0)
    assert letters.flush(WAIT_S) == 0
    redrive = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0, "transactional.id": topic})
    redrive.init_transactions(WAIT_S)
    for offset, end in ((7, redrive.commit_transaction), (8, redrive.abort_transaction)):
        redrive.begin_transaction()
        marker = marker_headers(Origin(Place("logs", 0, offset), 5), Place("logs", 0, 900))
        redrive.produce(topic, None, b"logs/0/%d" % offset, partition=1, headers=[*marker])
        redrive.flush(WAIT_S)
        end(WAIT_S)

    with LettersReader(settings_for(broker, topic)) as reader:
        ends = reader.ends()
        letters.produce(topic, b"later", partition=0, headers=headers_of(1_000))
        assert letters.flush(WAIT_S) == 0
        found = list(reader.read(ends))
        again = list(reader.read({1: ends[1]}, {1: 249}))

    assert sorted(it.origin.place.offset for it in found if isinstance(it, Letter)) == list(range(500))
    assert [it.origin.place.offset for it in found if isinstance(it, Marker)] == [7]
    assert [it.at for it in found if isinstance(it, Unreadable)] == [Place(topic, 0, 250)]
    assert [it.at.offset for it in again] == [249, 250]


def test_a_missing_dead_letter_topic_is_said_with_the_way_out(broker: Broker) -> None:
    with (
        LettersReader(settings_for(broker, f"missing-{uuid.uuid4().hex[:8]}")) as reader,
        pytest.raises(KafkaUnavailableError, match="does not exist: make it with `shipper topics create`"),
    ):
        reader.ends()


def test_a_leader_that_moves_is_asked_again(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = make_topic(broker.bootstrap, 2)
    answers = [KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION)), KafkaException(KafkaError(5))]

    def ask(*arguments: Any) -> Answers:  # noqa: ANN401 - handed on
        if answers:
            raise answers.pop()
        return high_offsets(*arguments)

    monkeypatch.setattr("shipper.kafka.letters.high_offsets", ask)
    with LettersReader(settings_for(broker, topic)) as reader:
        assert reader.ends() == {0: 0, 1: 0}
