"""A table in a compacted topic of one partition: a key's last record is its row, a record without a value deletes it.

Every instance reads the topic whole when it starts, and follows it from then on; rows lie in memory. Whoever writes
does so in a transaction (`table_writer`), so all agree on what a row is and on which of two writers was first.
"""

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, Self, cast

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import Message as KafkaMessage

from shipper.errors import CannotStartError, KafkaUnavailableError
from shipper.kafka.connection import Complaints, create_client, explain
from shipper.kafka.consumer import consumer_settings
from shipper.kafka.positions import high_offsets, kafka_positions, low_offsets, partition_count
from shipper.logs import log
from shipper.records import Message, TopicPartition
from shipper.settings import Kafka

VERSION_HEADER = "version"

_QUEUE_BYTES = 4 * 1024 * 1024
_READ_RECORDS, _READ_WAIT_S = 1_000, 0.2
_ASK_AGAIN_S = 0.2
_COMPLAIN_EVERY_S = 30.0
_LOOK_EVERY_S, _LOOK_TIMEOUT_S = 5.0, 2.0
_GONE = frozenset({"_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE"})


class Row(NamedTuple):
    """What a key has now.

    Attributes:
        value: bytes.
        version: changes with each write, and never comes back.
        written_ms: when it was written, in milliseconds since the epoch.
    """

    value: bytes
    version: str
    written_ms: int


class Table:
    """Reads and follows; to be used with `with`. Its methods may be called from any thread.

    Args:
        kafka: the section `[kafka]`.
        topic: compacted, of one partition; it exists.
        timeout_s: so long Kafka may be silent where something is waited for, in seconds.

    Raises: ConfigError if librdkafka refuses `[kafka.client]`.
    """

    def __init__(self, kafka: Kafka, topic: str, *, timeout_s: float = 30.0) -> None:
        self.topic, self.timeout_s = topic, timeout_s
        self._at = TopicPartition(topic, 0)
        self._servers = kafka.bootstrap_servers
        self._complaints = Complaints()
        self._rows: dict[str, Row] = {}
        self._position = -1
        self._is_assigned = False
        self._complete_at = self._looked_at = time.monotonic()
        self._moved = threading.Condition()
        self._listeners: list[Callable[[str], None]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"table-{topic}", daemon=True)
        client = {
            **consumer_settings(kafka, worker=0, queue_bytes_max=_QUEUE_BYTES),
            "client.id": "shipper-table",
            "fetch.min.bytes": 1,  # a row is to be known at once
            "error_cb": self._complaints,
        }
        client.pop("group.instance.id", None)
        self._consumer: Consumer = create_client(Consumer, client)
        # A client that is being polled answers no question of another thread's.
        self._asker: Consumer = create_client(Consumer, client)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Read the whole topic, then follow it. Raises KafkaUnavailableError, or CannotStartError if it is no table."""
        try:
            self._is_a_table()
            self._begin()
            self._thread.start()
            self.catch_up()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Follow no more; the rows stay as they are."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._consumer.close()
        self._asker.close()

    def get(self, key: str) -> Row | None:
        """Return a key's row."""
        return self._rows.get(key)

    def items(self) -> Iterator[tuple[str, Row]]:
        """Return all rows, sorted by key."""
        return iter(sorted(self._rows.copy().items()))

    def listen(self, listener: Callable[[str], None]) -> None:
        """Have it called, on a thread of its own, with the key of each row that changes. It must not block or raise."""
        self._listeners.append(listener)

    def catch_up(self) -> None:
        """Wait until all that is committed now has been read. Raises KafkaUnavailableError."""
        self.wait_for(self._ask(self._end))

    def wait_for(self, position: int) -> None:
        """Wait until all before this offset has been read. Raises KafkaUnavailableError."""
        with self._moved:
            if not self._moved.wait_for(lambda: self._position >= position or self._stopping.is_set(), self.timeout_s):
                raise self._failure(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - confluent_kafka has its names so

    @property
    def is_followed(self) -> bool:
        """Say whether somebody still reads the topic."""
        return self._thread.is_alive()

    @property
    def behind_s(self) -> float:
        """So long ago, in seconds, it was last seen to hold all that is in the topic."""
        return time.monotonic() - self._complete_at

    def _is_a_table(self) -> None:
        partitions = self._ask(lambda: partition_count(self._asker, self.topic, self.timeout_s))
        if partitions != 1:
            raise CannotStartError(
                f"topic {self.topic} has {partitions} partitions, and a table has one: name another topic, or delete "
                "this one and run `shipper topics create`"
            )

    def _end(self) -> int:
        return self._offset(high_offsets)

    def _offset(self, ask: Callable[..., tuple[dict[TopicPartition, int], dict[TopicPartition, KafkaError]]]) -> int:
        offsets, errors = ask(self._asker, [self._at], self.timeout_s)
        for error in errors.values():
            raise KafkaException(error)
        return offsets[self._at]

    def _ask(self, ask: Callable[[], int]) -> int:
        """Ask until there is an answer: leaders are elected, and that passes."""
        deadline = time.monotonic() + self.timeout_s
        while True:
            try:
                return ask()
            except KafkaException as failed:
                error: KafkaError = failed.args[0]
                if self._complaints.are_final or self._stopping.is_set() or time.monotonic() > deadline:
                    raise self._failure(error) from failed
                time.sleep(_ASK_AGAIN_S)

    def _begin(self) -> None:
        self._consumer.assign(kafka_positions({self._at: self._ask(partial(self._offset, low_offsets))}))
        self._is_assigned = True

    def _follow(self) -> None:
        told_at = -_COMPLAIN_EVERY_S
        while not self._stopping.is_set():
            try:
                if not self._is_assigned:
                    self._begin()
                first = self._consumer.consume(1, _READ_WAIT_S)  # more than one would be waited for
                self._take([*first, *self._consumer.consume(_READ_RECORDS, 0)] if first else [])
                self._look()
            except Exception as error:  # noqa: BLE001 - what it holds stays good, and it goes on trying, whatever it is
                if time.monotonic() - told_at > _COMPLAIN_EVERY_S:
                    told_at = time.monotonic()
                    log(
                        "warn", f"topic {self.topic} cannot be followed; what was read stays in force", error=str(error)
                    )
                self._stopping.wait(_ASK_AGAIN_S)

    def _look(self) -> None:
        """See now and then whether all is read: a consumer that is cut off is as silent as one with nothing to read."""
        if time.monotonic() - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = time.monotonic()
        offsets, errors = high_offsets(self._asker, [self._at], _LOOK_TIMEOUT_S)
        for error in errors.values():
            raise KafkaException(error)
        if self._position >= offsets[self._at]:
            self._complete_at = time.monotonic()

    def _take(self, messages: list[KafkaMessage]) -> None:
        """Take all of them, and tell of them, whatever is among them; an error is raised afterwards."""
        changed: list[str] = []
        position = self._position
        failed: KafkaError | None = None
        for message in messages:
            error = message.error()
            if error is None:
                record = cast("Message", message)
                changed.append(self._apply(record))
                position = record.offset() + 1
            elif error.name() == "_PARTITION_EOF":
                position = max(position, message.offset() or 0)
            elif error.name() in _GONE:  # the topic was deleted and made again: it is read from its start
                changed += self._rows
                self._rows.clear()
                position, self._is_assigned = -1, False
                break
            else:
                failed = error
        if messages:
            with self._moved:
                self._position = position
                self._moved.notify_all()
        for key in changed:
            for listener in self._listeners:
                listener(key)
        if failed:
            raise KafkaException(failed)

    def _apply(self, record: Message) -> str:
        key, value = (record.key() or b"").decode(errors="replace"), record.value()
        if value is None:
            self._rows.pop(key, None)
        else:
            headers = dict(record.headers() or ())
            version = headers.get(VERSION_HEADER) or str(record.offset()).encode()
            self._rows[key] = Row(value, version.decode(errors="replace"), record.timestamp()[1])
        return key

    def _failure(self, error: KafkaError) -> KafkaUnavailableError:
        return KafkaUnavailableError(explain(self._complaints.cause_of(error), self._servers))
