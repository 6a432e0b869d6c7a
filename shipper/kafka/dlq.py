"""The dead letter topic: what Loki can never take is kept there, as it was, with the reason.

A letter is confirmed or it is still ours: a record's offset may pass only when its letter is confirmed, so a dead
letter topic that fails makes partitions wait. Nothing is dropped.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from shipper.kafka.connection import Complaints, common_settings, create_client, explain
from shipper.kafka.trouble import OnError, Throttle, Trouble, error_of, is_fatal
from shipper.records import Message, RecordBatch, Rejected
from shipper.settings import Settings

_RETRY_WAIT_S = 5.0
_COMPLAIN_EVERY_S = 30.0
_CLOSE_STEP_S = 0.1
_SILENT_S = 30.0  # with min.insync.replicas unmet, or no leader, the producer tries for ever and says nothing
_TOO_LARGE = frozenset({"MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE"})
_NO_TOPIC = frozenset({"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION"})

Headers = list[tuple[str, str | bytes | None]]


@dataclass(eq=False, slots=True)
class _Letter:
    """Compared by identity: two records may have equal letters."""

    ticket: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    origin: str

    @property
    def size_bytes(self) -> int:
        parts = [self.key, self.value, *(part for header in self.headers for part in header)]
        return sum(map(len, filter(None, parts)))


def dead_letter_headers(record: Message, rejected: Rejected) -> list[tuple[str, bytes]]:
    """Return what a letter says about its record and the reason, each value as UTF-8 text."""
    headers = {
        "dlq.reason": rejected.reason.value,
        "dlq.detail": rejected.detail,
        "dlq.topic": record.topic(),
        "dlq.partition": str(record.partition()),
        "dlq.offset": str(record.offset()),
        "dlq.timestamp_ms": str(record.timestamp()[1]),
    }
    return [(name, text.encode(errors="backslashreplace")) for name, text in headers.items()]


def producer_settings(settings: Settings) -> dict[str, object]:
    """Return librdkafka's settings for the producer of letters; `[kafka.client]` wins over speed, never over safety."""
    speed = {
        "compression.type": "lz4",
        "linger.ms": 10,
        "queue.buffering.max.kbytes": 65_536,
        # How long a missing topic is waited for before its letters come back to be sent again.
        "topic.metadata.propagation.max.ms": 5_000,
        # A batch is refused as a whole when it exceeds the topic's limit: small ones only hold large letters alone.
        "batch.size": 65_536,
    }
    safety = {
        "enable.idempotence": True,
        # What idempotence needs; librdkafka refuses to make a producer whose user set them otherwise.
        "acks": "all",
        "max.in.flight": 5,
        "retries": 2_147_483_647,
        "queuing.strategy": "fifo",
        "transactional.id": None,  # a letter waits for no transaction
        "delivery.report.only.error": False,  # a letter that nobody confirms would hold up its partition for ever
        "message.timeout.ms": 0,  # for ever
        "message.max.bytes": 1_000_000_000,  # the topic's own limit decides
    }
    wishes = {**speed, **common_settings(settings.kafka)}
    # In this order: many settings have two names, and of those librdkafka takes what is said last.
    return {**{key: value for key, value in wishes.items() if key not in safety}, **safety}


class DeadLetters:
    """Sends letters and says when they are confirmed. For one thread; nothing here raises for trouble with Kafka.

    Args:
        settings: the configuration.
        on_error: is told why letters are not taken; they are sent again and again.
        retry_wait_s: pause before a refused letter is sent again, in seconds.
        clock: monotonic seconds.
        sleep: waits so many seconds.
        make_producer: makes the producer from librdkafka's settings.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_error: OnError,
        retry_wait_s: float = _RETRY_WAIT_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        make_producer: Callable[[dict[str, Any]], Producer] = Producer,
    ) -> None:
        self._settings, self._on_error = settings, on_error
        self._retry_wait_s, self._clock, self._sleep = retry_wait_s, clock, sleep
        self._make_producer = make_producer
        self._topic = settings.dead_letter.topic
        self._complaints = Complaints()
        self._throttle = Throttle(_COMPLAIN_EVERY_S, clock)
        self._producer: Producer | None = None  # made when it is first needed: most workers never have a dead letter
        self._broken = False
        self._unsent: deque[_Letter] = deque()
        self._sent: set[_Letter] = set()
        self._heard_at = clock()  # when a letter had an answer, or none was out
        self._stuck: set[_Letter] = set()  # complained of, and not confirmed since
        self._refused: deque[tuple[float, _Letter]] = deque()  # with the time to send them again
        self._unconfirmed: Counter[int] = Counter()  # letters by ticket
        self._confirmed: list[int] = []

    def send(self, ticket: int, batch: RecordBatch, rejected: Sequence[Rejected]) -> None:
        """Begin to send a letter for each rejected record of a batch.

        Args:
            ticket: the batch's number; `poll` returns it once all letters sent under it are confirmed.
            batch: the batch.
            rejected: which of its rows, and why; with none, `poll` will not name the ticket.

        Raises: ConfigError if librdkafka does not take `[kafka.client]` for a producer.
        """
        if not rejected:
            return
        for it in rejected:
            record = batch.messages[it.row]
            headers: Headers = [*batch.headers(it.row), *dead_letter_headers(record, it)]
            origin = f"{record.topic()}/{record.partition()}/{record.offset()}"
            self._unsent.append(_Letter(ticket, record.key(), record.value(), headers, origin))
        self._unconfirmed[ticket] += len(rejected)
        self._send()

    def poll(self) -> list[int]:
        """Return the tickets whose letters are all confirmed, each once. Does not block."""
        self._serve(0)
        self._send()
        self._miss_answers()
        confirmed, self._confirmed = self._confirmed, []
        return confirmed

    @property
    def is_stuck(self) -> bool:
        """Whether a letter that was complained of is not confirmed, though others may be."""
        return bool(self._stuck)

    @property
    def pending(self) -> int:
        """Letters that are not confirmed."""
        return self._unconfirmed.total()

    def close(self, timeout_s: float) -> bool:
        """Wait, at most `timeout_s`, until all letters are confirmed. Returns whether they are; `poll` names them."""
        deadline = self._clock() + timeout_s
        while self.pending and self._clock() < deadline:
            self._send()
            if self._producer is not None:
                self._serve(_CLOSE_STEP_S)
            else:  # it broke, and all letters wait to be sent again
                self._sleep(_CLOSE_STEP_S)
        if self._producer is not None and self.pending:
            self._producer.purge()  # letters that it holds would hold up the end of the process
        return not self.pending

    def _miss_answers(self) -> None:
        now = self._clock()
        if not self._sent:
            self._heard_at = now
        elif now > self._heard_at + _SILENT_S and self._throttle.allows("silence"):
            self._stuck |= self._sent
            self._on_error(
                Trouble.DEAD_LETTER_FAILED,
                f"the dead letter topic {self._topic} has confirmed no letter for {now - self._heard_at:.0f} s, and "
                f"{len(self._sent)} wait: look whether its partitions have a leader, and as many replicas in sync as "
                "its min.insync.replicas; the partitions whose letters wait, wait too",
            )

    def _serve(self, wait_s: float) -> None:
        """Let the producer call back, within `wait_s`."""
        if self._producer is None:
            return
        try:
            self._producer.poll(wait_s)
        except (KafkaException, SystemError) as raised:
            self._on_client_error(error_of(raised))

    def _send(self) -> None:
        """Hand to the producer what is due, as far as its queue takes it."""
        if self._broken:
            self._replace_producer()
        now = self._clock()
        while self._refused and self._refused[0][0] <= now:
            self._unsent.append(self._refused.popleft()[1])
        while self._unsent and self._hand_over(self._unsent[0]):
            self._unsent.popleft()

    def _hand_over(self, letter: _Letter) -> bool:
        """Returns whether the letter left the queue of unsent ones."""
        producer = self._producer if self._producer is not None else self._create_producer()
        self._producer = producer
        try:
            producer.produce(
                self._topic,
                value=letter.value,
                key=letter.key,
                headers=letter.headers,
                on_delivery=partial(self._on_delivery, letter),
            )
        except BufferError:
            if len(producer):
                return False  # its queue is full; the next poll goes on here
            self._refuse(letter, KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "larger than the producer's whole queue"))
        except KafkaException as error:
            self._refuse(letter, error.args[0])
        else:
            self._sent.add(letter)
        return True

    def _create_producer(self) -> Producer:
        return create_client(
            self._make_producer, {**producer_settings(self._settings), "error_cb": self._on_client_error}
        )

    def _replace_producer(self) -> None:
        """After a fatal error an idempotent producer never sends again; a new one sends what this one has not."""
        if self._producer is not None:
            self._producer.purge()
        self._producer, self._broken = None, False
        self._unsent.extend(self._sent)
        self._sent.clear()

    def _on_delivery(self, letter: _Letter, error: KafkaError | None, _: object) -> None:
        if letter not in self._sent:
            return  # a replaced producer's word on a letter that is on its way again
        self._sent.discard(letter)
        self._heard_at = self._clock()
        if error:
            self._refuse(letter, error)
            return
        self._stuck.discard(letter)
        self._unconfirmed[letter.ticket] -= 1
        if not self._unconfirmed[letter.ticket]:
            del self._unconfirmed[letter.ticket]
            self._confirmed.append(letter.ticket)

    def _refuse(self, letter: _Letter, error: KafkaError) -> None:
        self._stuck.add(letter)
        self._refused.append((self._clock() + self._retry_wait_s, letter))
        self._broken |= is_fatal(error)
        if self._throttle.allows(error.name()):
            self._on_error(Trouble.DEAD_LETTER_FAILED, self._sentence(letter, error))

    def _sentence(self, letter: _Letter, error: KafkaError) -> str:
        wait = "the partitions whose letters are refused wait until then"
        if error.name() in _TOO_LARGE:
            return (
                f"the dead letter topic {self._topic} refuses the letter of {letter.origin}, {letter.size_bytes} bytes "
                f"with its headers, as too large: raise the topic's max.message.bytes above that; {wait}"
            )
        if error.name() in _NO_TOPIC:
            return f"the dead letter topic {self._topic} does not exist: make it with `shipper topics create`; {wait}"
        servers = self._settings.kafka.bootstrap_servers
        return f"dead letter topic {self._topic}: {explain(self._complaints.cause_of(error), servers)}; {wait}"

    def _on_client_error(self, error: KafkaError) -> None:
        self._complaints(error)
        self._broken |= is_fatal(error)
        if self._throttle.allows(error.name()):
            cause = self._complaints.cause_of(error)
            self._on_error(Trouble.KAFKA_ERROR, explain(cause, self._settings.kafka.bootstrap_servers))
