"""The thread that delivers, step by step, with a producer that fails as it is told."""

from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, KafkaException

from servicelog.console import Console
from servicelog.record_queue import RecordQueue
from servicelog.sender import Sender
from servicelog.settings import Settings

_RECORDS = [b"record-%d" % n for n in range(8)]
_DeliveryReport = Callable[[KafkaError | None, "Confirmed"], None]


class Confirmed:
    """A message that was delivered."""

    def latency(self) -> float:
        return 0.01


class Producer:
    """Keeps what it is given; `report` says what became of it."""

    def __init__(self) -> None:
        self.delivered: list[bytes] = []
        self.held: list[tuple[bytes, _DeliveryReport]] = []

    def produce(self, topic: str, record: bytes, key: str, on_delivery: _DeliveryReport) -> None:
        assert (topic, key) == ("logs", "s")
        if len(record) > 100:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        self.held.append((record, on_delivery))

    def poll(self, _: float) -> None:
        pass

    def report(self, code: int | None) -> None:
        held, self.held = self.held, []
        for record, on_delivery in held:
            if code is None:
                self.delivered.append(record)
            on_delivery(None if code is None else KafkaError(code), Confirmed())


def sender_of(queue: RecordQueue, producer: Producer) -> Sender:
    sender = Sender(Settings(service="s", stderr="never"), queue, Console(1), window_bytes=3 * len(_RECORDS[0]))
    sender._producer = producer
    return sender


def test_what_the_producer_gives_back_goes_before_what_came_later() -> None:
    queue, producer = RecordQueue(10_000, drop_oldest=True), Producer()
    sender = sender_of(queue, producer)
    for record in _RECORDS:
        queue.put(record)
    sender._step()
    assert len(producer.held) == 3
    producer.report(KafkaError._MSG_TIMED_OUT)
    assert sender.away
    while sender.waiting or len(queue):
        sender._not_before_s = 0
        sender._step()
        producer.report(None)
    assert producer.delivered == _RECORDS
    assert (sender.sent, sender.away, dict(sender.dropped)) == (8, False, {})


def test_a_record_that_kafka_refuses_for_good_holds_up_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    queue, producer = RecordQueue(10_000, drop_oldest=True), Producer()
    sender = sender_of(queue, producer)
    queue.put(_RECORDS[0])
    sender._step()
    producer.report(KafkaError.MSG_SIZE_TOO_LARGE)
    queue.put(b"x" * 101)  # this one the client refuses itself
    queue.put(_RECORDS[1])
    sender._step()
    producer.report(None)
    assert producer.delivered == [_RECORDS[1]]
    assert (sender.sent, dict(sender.dropped), sender.waiting) == (1, {"refused": 2}, 0)
    assert "Kafka refuses a record for good" in capsys.readouterr().err
