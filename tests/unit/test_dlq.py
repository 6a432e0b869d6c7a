"""Letters whose producer refuses, breaks or is full: nothing is lost, and no ticket is confirmed early or twice."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st

from messages import StoredMessage
from shipper.kafka.dlq import DeadLetters, dead_letter_headers, producer_settings
from shipper.kafka.trouble import Trouble
from shipper.records import Reason, RecordBatch, Rejected
from shipper.settings import Kafka, Settings

FATAL = KafkaError(KafkaError._FATAL, "sequence lost", True)  # noqa: FBT003 - confluent_kafka's own order
TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "too large")
FORBIDDEN = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "not for you")


@dataclass
class Sent:
    value: bytes | None
    on_delivery: Callable[[KafkaError | None, object], None]


class ScriptedProducer:
    """What DeadLetters uses of a producer; tests say what becomes of each letter."""

    def __init__(self) -> None:
        self.queue: list[Sent] = []
        self.room = 1000
        self.raises: KafkaError | None = None
        self.poll_raises: Exception | None = None
        self.purged = False

    def produce(
        self, _: str, *, value: bytes | None, on_delivery: Callable[[KafkaError | None, object], None], **__: object
    ) -> None:
        if self.raises:
            raise KafkaException(self.raises)
        if len(self.queue) >= self.room:
            raise BufferError
        self.queue.append(Sent(value, on_delivery))

    def deliver(self, error: KafkaError | None = None) -> Sent:
        letter = self.queue.pop(0)
        letter.on_delivery(error, None)
        return letter

    def poll(self, _: float) -> int:
        if self.poll_raises:
            raise self.poll_raises
        return 0

    def purge(self) -> None:
        self.purged = True

    def __len__(self) -> int:
        return len(self.queue)


class Desk:
    """Dead letters with a clock and producers of its own."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.troubles: list[tuple[Trouble, str]] = []
        self.producers: list[ScriptedProducer] = []
        self.letters = DeadLetters(
            Settings(kafka=Kafka(bootstrap_servers=["kafka-1:9092"])),
            on_error=lambda kind, text: self.troubles.append((kind, text)),
            retry_wait_s=5.0,
            clock=lambda: self.now_s,
            sleep=self.sleep,
            make_producer=self.make_producer,
        )

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def make_producer(self, _: dict[str, Any]) -> Any:  # noqa: ANN401 - stands for a producer
        self.producers.append(ScriptedProducer())
        return self.producers[-1]

    @property
    def producer(self) -> ScriptedProducer:
        return self.producers[-1]

    def send(self, ticket: int, *values: bytes) -> None:
        batch = RecordBatch("logs", [StoredMessage(value, ("logs", 3, 40 + row)) for row, value in enumerate(values)])
        self.letters.send(ticket, batch, [Rejected(row, Reason.NOT_JSON, "why") for row in range(len(values))])


def test_a_ticket_is_confirmed_once_and_only_when_all_its_letters_are() -> None:
    desk = Desk()
    desk.send(1, b"a", b"b")
    desk.send(2, b"c")
    desk.producer.deliver()
    assert (desk.letters.poll(), desk.letters.pending) == ([], 2)
    desk.producer.deliver()
    desk.producer.deliver()
    assert (desk.letters.poll(), desk.letters.pending) == ([1, 2], 0)
    assert desk.letters.poll() == []


def test_a_producer_that_tries_for_ever_without_a_word_is_said_again_and_again_until_it_answers() -> None:
    desk = Desk()
    desk.now_s = 1_000.0
    desk.letters.poll()
    desk.send(1, b"a", b"b")
    for _ in range(90):
        desk.now_s += 1
        assert desk.letters.poll() == []
    assert [kind for kind, _ in desk.troubles] == [Trouble.DEAD_LETTER_FAILED] * 2
    assert "has confirmed no letter for 31 s, and 2 wait" in desk.troubles[0][1]
    desk.producer.deliver()
    for _ in range(30):
        desk.now_s += 1
        desk.letters.poll()
    assert len(desk.troubles) == 2
    desk.producer.deliver()
    desk.now_s += 100
    assert desk.letters.poll() == [1]
    assert len(desk.troubles) == 2


def test_a_ticket_whose_later_letters_come_after_it_was_confirmed_is_confirmed_again() -> None:
    desk = Desk()
    desk.send(1, b"malformed")
    desk.producer.deliver()
    assert desk.letters.poll() == [1]
    desk.send(1, b"refused by Loki later")
    assert desk.letters.poll() == []
    desk.producer.deliver()
    assert desk.letters.poll() == [1]


def test_no_producer_is_made_before_the_first_letter() -> None:
    desk = Desk()
    desk.letters.send(1, RecordBatch("logs", []), [])
    assert (desk.letters.poll(), desk.letters.close(1), desk.producers) == ([], True, [])


@pytest.mark.parametrize("error", [FORBIDDEN, TOO_LARGE])
def test_a_refused_letter_is_said_once_and_sent_again_until_it_is_taken(error: KafkaError) -> None:
    desk = Desk()
    desk.send(1, b"a")
    for _ in range(4):
        desk.producer.deliver(error)
        assert (desk.letters.poll(), desk.producer.queue, desk.letters.pending) == ([], [], 1)
        desk.now_s += 5
        desk.letters.poll()
        assert [letter.value for letter in desk.producer.queue] == [b"a"]
    desk.producer.deliver()
    assert desk.letters.poll() == [1]
    assert [kind for kind, _ in desk.troubles] == [Trouble.DEAD_LETTER_FAILED]


def test_a_refused_letter_does_not_hold_up_the_others() -> None:
    desk = Desk()
    desk.send(1, b"a")
    desk.producer.deliver(TOO_LARGE)
    desk.send(2, b"b")
    desk.producer.deliver()
    assert desk.letters.poll() == [2]
    assert desk.letters.is_stuck, "that another one is taken mends nothing"
    desk.now_s += 5
    assert desk.letters.poll() == []
    desk.producer.deliver()
    assert (desk.letters.poll(), desk.letters.is_stuck) == ([1], False)


def test_a_letter_too_large_says_which_and_the_way_out() -> None:
    desk = Desk()
    desk.send(1, b"a" * 1000)
    desk.producer.deliver(TOO_LARGE)
    ((_, text),) = desk.troubles
    assert "logs.dlq refuses the letter of logs/3/40" in text
    assert "max.message.bytes" in text


def test_a_full_queue_waits_for_the_next_poll() -> None:
    desk = Desk()
    desk.send(1, b"a")
    desk.producer.room = 2
    desk.send(2, b"b", b"c")
    assert len(desk.producer.queue) == 2
    desk.producer.deliver()
    assert desk.letters.poll() == [1]
    assert [letter.value for letter in desk.producer.queue] == [b"b", b"c"]
    assert desk.troubles == []


def test_a_letter_that_no_queue_can_hold_is_said() -> None:
    desk = Desk()
    desk.send(1, b"a")
    desk.producer.deliver()
    desk.producer.room = 0
    desk.send(2, b"b")
    assert [kind for kind, _ in desk.troubles] == [Trouble.DEAD_LETTER_FAILED]
    assert desk.letters.pending == 1


def test_a_broken_producer_is_replaced_and_what_it_held_is_sent_again() -> None:
    desk = Desk()
    desk.send(1, b"a")
    desk.send(2, b"b")
    broken = desk.producer
    broken.deliver(FATAL)
    assert desk.letters.poll() == []
    assert broken.purged
    assert [letter.value for letter in desk.producer.queue] == [b"b"]
    desk.now_s += 5
    desk.letters.poll()
    assert [letter.value for letter in desk.producer.queue] == [b"b", b"a"]
    desk.producer.deliver()
    desk.producer.deliver()
    assert desk.letters.poll() == [2, 1]


@pytest.mark.parametrize("followed", [False, True])
def test_a_fatal_error_that_the_client_raises_replaces_the_producer_too(followed: bool) -> None:  # noqa: FBT001 - a parameter
    desk = Desk()
    desk.send(1, b"a")
    broken = desk.producer
    broken.poll_raises = KafkaException(FATAL)
    if followed:  # by another callback
        broken.poll_raises = SystemError("returned a result with an exception set")
        broken.poll_raises.__cause__ = KafkaException(FATAL)
    assert desk.letters.poll() == []
    assert broken.purged
    assert [kind for kind, _ in desk.troubles] == [Trouble.KAFKA_ERROR]
    desk.producer.deliver()
    assert desk.letters.poll() == [1]


def test_what_a_replaced_producer_confirms_late_counts_once() -> None:
    desk = Desk()
    desk.send(1, b"a", b"b")
    broken = desk.producer
    broken.raises = FATAL
    desk.send(2, b"c")
    assert desk.letters.poll() == []
    assert len(desk.producers) == 2
    broken.deliver()
    broken.deliver(KafkaError(KafkaError._PURGE_QUEUE))
    desk.now_s += 5
    desk.letters.poll()
    while desk.producer.queue:
        desk.producer.deliver()
    assert sorted(desk.letters.poll()) == [1, 2]
    assert desk.letters.pending == 0


def test_closing_says_whether_letters_are_left_and_drops_the_queue() -> None:
    desk = Desk()
    desk.send(1, b"a")
    desk.now_s = 10
    assert not desk.letters.close(0)
    assert desk.producer.purged


def test_closing_without_a_producer_waits_for_the_letters_to_be_due() -> None:
    desk = Desk()
    desk.send(1, b"a")
    desk.producer.deliver(FATAL)
    assert not desk.letters.close(1)
    assert 1 <= desk.now_s < 2
    assert len(desk.producers) == 1


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["ok", "refused", "fatal", "later"])), max_size=60))
def test_whatever_becomes_of_the_letters_each_ticket_is_confirmed_once_in_the_end(
    steps: list[tuple[int, str]],
) -> None:
    desk, confirmed, tickets = Desk(), [], 0
    for letters, then in steps:
        tickets += 1
        desk.send(tickets, *[b"%d" % number for number in range(letters + 1)])
        while then != "later" and desk.producer.queue:
            desk.producer.deliver({"ok": None, "refused": FORBIDDEN, "fatal": FATAL}[then])
        confirmed += desk.letters.poll()
        desk.now_s += 3
    for _ in range(3):
        desk.now_s += 5
        confirmed += desk.letters.poll()
        while desk.producers and desk.producer.queue:
            desk.producer.deliver()
    confirmed += desk.letters.poll()
    assert sorted(confirmed) == list(range(1, tickets + 1))
    assert desk.letters.pending == 0


def test_a_record_whose_headers_the_client_cannot_read_gets_its_letter() -> None:
    class Unreadable(StoredMessage):
        def headers(self) -> NoReturn:
            raise SystemError("returned a result with an exception set")

    desk = Desk()
    desk.letters.send(1, RecordBatch("logs", [Unreadable(b"x")]), [Rejected(0, Reason.NOT_JSON, "why")])
    assert desk.producer.deliver().value == b"x"
    assert desk.letters.poll() == [1]


def test_the_headers_say_where_the_record_was_and_why_it_is_here() -> None:
    record = StoredMessage(b"x", ("logs", 3, 41), timestamp_ms=1_700_000_000_123)
    assert dead_letter_headers(record, Rejected(0, Reason.TOO_OLD, "older than 7 d: \ud800 ü")) == [
        ("dlq.reason", b"too_old"),
        ("dlq.detail", "older than 7 d: \\ud800 ü".encode()),
        ("dlq.topic", b"logs"),
        ("dlq.partition", b"3"),
        ("dlq.offset", b"41"),
        ("dlq.timestamp_ms", b"1700000000123"),
    ]


def test_what_a_user_sets_never_weakens_delivery() -> None:
    settings = producer_settings(
        Settings(kafka=Kafka(client={"acks": 1, "enable.idempotence": False, "linger.ms": 500}))
    )
    assert (settings["acks"], settings["enable.idempotence"], settings["message.timeout.ms"]) == ("all", True, 0)
    assert settings["linger.ms"] == "500"
