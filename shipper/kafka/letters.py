"""What lies in the dead letter topic: letters, and the markers of those that were put back into their topic.

A *letter* is a record as it was, with six headers behind its own that say where it was and why it is here. A *marker*
holds no record: it says that a letter was put back, and where the record lies now. A crash may write the same letter
twice, even into two partitions: equal `origin`s are one letter.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from sys import intern  # a million letters have few topics and reasons
from typing import NamedTuple, Self, cast

from confluent_kafka import Consumer, KafkaError, KafkaException
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from shipper.errors import KafkaUnavailableError
from shipper.kafka.connection import Complaints, create_client, explain
from shipper.kafka.consumer import consumer_settings
from shipper.kafka.positions import Answers, high_offsets, kafka_positions, low_offsets, partition_count
from shipper.kafka.reader import Reader
from shipper.kafka.topics import passes
from shipper.records import Headers, Message, TopicPartition
from shipper.settings import Settings

LETTER_HEADERS = ("dlq.reason", "dlq.detail", "dlq.topic", "dlq.partition", "dlq.offset", "dlq.timestamp_ms")
MARKER_HEADERS = (*LETTER_HEADERS[2:], "dlq.redriven")

_QUEUE_BYTES = 16 * 1024 * 1024
_PAUSE_S = 0.1
_READ_RECORDS, _READ_BYTES, _READ_WAIT_S = 1_000, 4 * 1024 * 1024, 0.05


class Place(NamedTuple):
    """Where a record lies, or lay."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Origin(NamedTuple):
    """Which record a letter is about: where it lay, and its timestamp, since a topic made anew counts from 0 again."""

    place: Place
    timestamp_ms: int
    """Kafka's own, in milliseconds since the epoch; -1 if the record had none."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter.

    Attributes:
        at: where it lies in the dead letter topic.
        written_ms: when it was written there, in milliseconds since the epoch.
        origin: which record it is about.
        reason: one of `records.Reason`, unless another version of shipper wrote it.
        detail: the reason in words.
        key: the record's, as it was.
        value: the record's, as it was.
        headers: the record's, as they were.
    """

    at: Place
    written_ms: int
    origin: Origin
    reason: str
    detail: str
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Marker:
    """Says that the letters of an origin were put back into their topic, and where the record lies now."""

    at: Place
    written_ms: int
    origin: Origin
    to: Place


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record of the dead letter topic that is neither."""

    at: Place
    why: str


def decode(message: Message) -> Letter | Marker | Unreadable:
    """Say what a record of the dead letter topic is."""
    at = Place(intern(message.topic()), message.partition(), message.offset())
    try:
        headers = list(message.headers() or ())  # asked once only: see RecordBatch.headers
    except (SystemError, UnicodeDecodeError):
        return Unreadable(at, "the name of a header is no UTF-8")
    names = tuple(name for name, _ in headers)
    texts = [(value or b"").decode(errors="replace") for _, value in headers]
    written_ms = message.timestamp()[1]
    try:
        if names == MARKER_HEADERS:
            return Marker(at, written_ms, _origin(texts), _place(texts[-1]))
        count = len(LETTER_HEADERS)
        # The last ones are ours: a record may have had such headers before. Who copies topics may have added some.
        ours = next((n for n in range(len(names) - count, -1, -1) if names[n : n + count] == LETTER_HEADERS), None)
        if ours is None:
            return Unreadable(at, f"it has no headers {LETTER_HEADERS[0]} … {LETTER_HEADERS[-1]}")
        reason, detail, *origin = texts[ours : ours + count]
        own = (*headers[:ours], *headers[ours + count :])
        return Letter(at, written_ms, _origin(origin), intern(reason), detail, message.key(), message.value(), own)
    except ValueError as error:
        return Unreadable(at, f"its headers cannot be read: {error}")


def marker_headers(origin: Origin, to: Place) -> list[tuple[str, bytes]]:
    """Return what a marker says, each value as UTF-8 text."""
    place = origin.place
    texts = (place.topic, place.partition, place.offset, origin.timestamp_ms, to)
    return [(name, str(text).encode()) for name, text in zip(MARKER_HEADERS, texts, strict=True)]


def _origin(texts: list[str]) -> Origin:
    topic, partition, offset, timestamp_ms, *_ = texts
    return Origin(Place(intern(topic), int(partition), int(offset)), int(timestamp_ms))


def _place(text: str) -> Place:
    topic, partition, offset = text.rsplit("/", 2)
    return Place(intern(topic), int(partition), int(offset))


class LettersReader:
    """Reads the dead letter topic as a consumer that joins no group and commits nothing; to be used with `with`.

    What a transaction wrote is read when it is committed, and never if it is not: letters and markers are in accord.

    Args:
        settings: the configuration.
        timeout_s: so long Kafka may be silent, in seconds.

    Raises: ConfigError if librdkafka refuses `[kafka.client]`.
    """

    def __init__(self, settings: Settings, *, timeout_s: float = 30.0) -> None:
        self._topic, self._servers = settings.dead_letter.topic, settings.kafka.bootstrap_servers
        self._timeout_s = timeout_s
        self._complaints = Complaints()
        self._left: set[int] = set()
        """Partitions that are still read."""
        client = consumer_settings(settings.kafka, worker=0, queue_bytes_max=_QUEUE_BYTES)
        self._consumer: Consumer = create_client(Consumer, {**client, "error_cb": self._complaints})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def ends(self) -> dict[int, int]:
        """Return the present end of each partition. Raises KafkaUnavailableError, as `read` does."""
        try:
            count = partition_count(self._consumer, self._topic, self._timeout_s)
            return self._ask(high_offsets, range(count))
        except KafkaException as error:
            raise self._failure(error.args[0]) from error

    def read(
        self, ends: Mapping[int, int], starts: Mapping[int, int] | None = None
    ) -> Iterator[Letter | Marker | Unreadable]:
        """Yield what lies in the topic, each partition in the order of its offsets, the partitions mingled.

        Args:
            ends: partition → the offset before which it is read; partitions that are not named are not read.
            starts: partition → the offset to begin at; else the first one that there is.

        Raises: KafkaUnavailableError if the topic is missing, or Kafka is silent or refuses us.
        """
        try:
            self._consumer.assign([])
            lows = self._ask(low_offsets, ends)
            self._left.clear()
            self._begin(
                {partition: max(low, (starts or {}).get(partition, 0)) for partition, low in lows.items()}, ends
            )
            yield from self._read(ends)
        except KafkaException as error:
            raise self._failure(error.args[0]) from error

    def _read(self, ends: Mapping[int, int]) -> Iterator[Letter | Marker | Unreadable]:
        reader = Reader(self._consumer)
        deadline = time.monotonic() + self._timeout_s
        while self._left:
            messages = reader.read(_READ_RECORDS, _READ_WAIT_S, _READ_BYTES)
            if messages:
                deadline = time.monotonic() + self._timeout_s
            elif time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - its name there
            for message in messages:
                if error := message.error():
                    self._on_event(error, message.partition() or 0, ends)
                    continue
                record = cast("Message", message)
                partition, offset = record.partition(), record.offset()
                if offset < ends[partition]:
                    yield decode(record)
                if offset >= ends[partition] - 1:
                    self._end(partition)

    def _on_event(self, error: KafkaError, partition: int, ends: Mapping[int, int]) -> None:
        if error.name() == "_PARTITION_EOF":  # before the end there may be nothing but the mark of a transaction
            self._end(partition)
        elif error.name() in {"_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE"}:  # retention was quicker than we are
            self._end(partition)
            self._begin(self._ask(low_offsets, [partition]), ends)
        else:
            raise KafkaException(error)

    def _begin(self, offsets: Mapping[int, int], ends: Mapping[int, int]) -> None:
        begun = {partition: offset for partition, offset in offsets.items() if offset < ends[partition]}
        self._consumer.incremental_assign(kafka_positions({self._at(it): offset for it, offset in begun.items()}))
        self._left |= begun.keys()

    def _end(self, partition: int) -> None:
        if partition in self._left:
            self._left.discard(partition)
            self._consumer.incremental_unassign(kafka_positions({self._at(partition): 0}))

    def _ask(self, ask: Callable[..., Answers], partitions: Iterable[int]) -> dict[int, int]:
        asked = [TopicPartition(self._topic, partition) for partition in partitions]
        again = Retrying(
            retry=retry_if_exception(passes),
            stop=stop_after_delay(self._timeout_s),
            wait=wait_fixed(_PAUSE_S),
            reraise=True,
        )
        return again(self._ask_once, ask, asked)

    def _ask_once(self, ask: Callable[..., Answers], asked: list[TopicPartition]) -> dict[int, int]:
        offsets, errors = ask(self._consumer, asked, self._timeout_s)
        for error in errors.values():
            raise KafkaException(error)
        return {at.partition: offset for at, offset in offsets.items()}

    def _at(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)

    def _failure(self, error: KafkaError) -> KafkaUnavailableError:
        if error.name() in {"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC"}:
            return KafkaUnavailableError(
                f"the dead letter topic {self._topic} does not exist: make it with `shipper topics create`, or correct "
                "dead_letter.topic"
            )
        return KafkaUnavailableError(explain(self._complaints.cause_of(error), self._servers))
