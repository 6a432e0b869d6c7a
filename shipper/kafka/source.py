"""Reads batches of records from Kafka: pinned partitions, or a share of a consumer group; one loop for both."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPosition

from shipper.errors import KafkaUnavailableError
from shipper.kafka.assignment import pinned
from shipper.kafka.connection import Complaints, create_client, explain
from shipper.kafka.consumer import consumer_settings
from shipper.kafka.identity import Identities, Identity
from shipper.kafka.partitions import Listener, Partitions
from shipper.kafka.positions import (
    Answers,
    commit_and_confirm,
    high_offsets,
    kafka_positions,
    low_offsets,
    names,
)
from shipper.kafka.reader import Reader, batches
from shipper.kafka.trouble import OnError, Throttle, Trouble, is_fatal
from shipper.records import RecordBatch, TopicPartition
from shipper.settings import Settings

_TIMEOUT_S = 10.0
_ASK_TIMEOUT_S = 2.0  # while records flow: a broker that takes longer is asked again later
_ASK_AGAIN_S = 1.0
_HIGHS_EVERY_S = 5.0
_BOUNDS_EVERY_S = 15.0  # less than half the time for which a worker counts Kafka as in trouble after a complaint
_COMPLAIN_EVERY_S = 30.0
_POLL_BYTES = 4 * 1024 * 1024
_FINAL = frozenset({"UNKNOWN_TOPIC_OR_PART", "TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED"})
_NO_MEMBER = frozenset({"UNKNOWN_MEMBER_ID", "ILLEGAL_GENERATION"})
_FOREIGN_GROUP = "; other consumers are in this group: give shipper a kafka.group_id of its own, or stop them"
_OUT_OF_RANGE = frozenset({"_AUTO_OFFSET_RESET", "_LOG_TRUNCATION", "OFFSET_OUT_OF_RANGE"})


class Source:
    """A worker's consumer, for one thread.

    Args:
        settings: the configuration.
        worker: this worker's index, 0 … workers - 1.
        workers: workers on this host.
        queue_bytes_max: bound on librdkafka's queue, in bytes.
        listener: is told which partitions come and go.
        on_error: is told what goes wrong; the source goes on by itself.
        new_partitions_every_s: how often new partitions are looked for.
        bounds_every_s: how often Kafka is asked for the first offset and the end of all partitions.
        clock: monotonic seconds.
        sleep: waits so many seconds.
        make_consumer: makes the consumer from librdkafka's settings.
        identify: asks Kafka, within so many seconds, for the topics of `[kafka]`; None for a client of its own.

    Raises: ConfigError if librdkafka does not take a setting of `[kafka.client]`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        worker: int,
        workers: int,
        queue_bytes_max: int,
        listener: Listener,
        on_error: OnError,
        new_partitions_every_s: float = 30.0,
        bounds_every_s: float = _BOUNDS_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        make_consumer: Callable[[dict[str, Any]], Consumer] = Consumer,
        identify: Callable[[float], Mapping[str, Identity]] | None = None,
    ) -> None:
        self._kafka = settings.kafka
        self._worker, self._workers = worker, workers
        self._listener, self._on_error = listener, on_error
        self._clock, self._sleep = clock, sleep
        self._new_partitions_every_s = new_partitions_every_s
        self._look_at = clock() + new_partitions_every_s
        self._bounds_every_s = bounds_every_s
        self._place_at = self._highs_at = self._bounds_at = clock()
        self._complaints = Complaints()
        self._throttle = Throttle(_COMPLAIN_EVERY_S, clock)
        self._fatal: KafkaError | None = None
        self._consumer: Consumer = create_client(
            make_consumer,
            {
                "topic.metadata.refresh.interval.ms": max(10, int(new_partitions_every_s * 1000)),
                **consumer_settings(self._kafka, worker=worker, queue_bytes_max=queue_bytes_max),
                "error_cb": self._on_client_error,
                "on_commit": self._on_commit,
            },
        )
        self._reader = Reader(self._consumer, clock)
        self._partitions = Partitions(
            self._consumer,
            self._kafka,
            listener,
            on_error,
            identify or Identities(self._kafka, self._complaints),
            clock=clock,
            sleep=sleep,
        )

    def open(self, timeout_s: float = _TIMEOUT_S) -> None:
        """Connect. Pinned partitions are placed when this returns; a group's come while polling.

        Raises: KafkaUnavailableError if Kafka does not answer in time, refuses us, or lacks a topic.
        """
        deadline = self._clock() + timeout_s
        while True:
            try:
                self._begin(max(deadline - self._clock(), _ASK_AGAIN_S))
            except KafkaException as error:
                refusal: KafkaError = error.args[0]
                if refusal.name() in _FINAL or self._clock() + _ASK_AGAIN_S > deadline:
                    self._consumer.poll(0)  # brings the complaints, which say more than a call's own error
                    raise KafkaUnavailableError(self._explain(refusal)) from error
                self._sleep(_ASK_AGAIN_S)  # such as a coordinator or a leader that is being elected
            else:
                return

    def _begin(self, timeout_s: float) -> None:
        self._partitions.look(timeout_s)
        if self._kafka.assignment == "group":
            self._consumer.subscribe(
                self._kafka.topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            return
        self._take_new()
        self._partitions.place(timeout_s)

    def poll(self, records_max: int, wait_s: float, bytes_max: int = _POLL_BYTES) -> list[RecordBatch]:
        """Return the records that come within `wait_s`: one batch per topic, none if none came.

        To be called often, also while paused: it keeps us in the group and brings the callbacks. It returns early with
        `records_max` records, or `bytes_max` bytes of values, which what librdkafka holds ready may exceed.

        Raises: KafkaUnavailableError if this consumer can never go on, though a new one can.
        """
        self._look_around()
        messages = self._reader.read(records_max, wait_s, bytes_max)
        if any(map(Message.error, messages)):  # an error's value() is its text: it must not pass for a record
            messages = self._without_errors(messages)
        if self._fatal:
            raise KafkaUnavailableError(f"{self._explain(self._fatal)}; is there a second host with this node_index?")
        return batches(self._kafka.topics, messages)

    def close(self, timeout_s: float = _TIMEOUT_S) -> bool:
        """Give up all partitions, after `on_revoked`, and disconnect.

        Returns: whether it was done in time. librdkafka waits long for a broker that is away; it is then left behind
            in a thread that does not keep the process from ending.
        """
        self._partitions.remove(self._partitions.held, self._listener.on_revoked)
        closing = threading.Thread(target=self._consumer.close, name="kafka-close", daemon=True)
        closing.start()
        closing.join(timeout_s)
        return not closing.is_alive()

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        """The partitions that are read, or paused."""
        return frozenset(self._partitions.read)

    def pause(self) -> None:
        """Stop reading all partitions for good, also those that come later; keep polling."""
        self._partitions.pause()

    def hold_back(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop reading these for a while, and of those that were held back before, read the others again."""
        self._partitions.hold_back(partitions)

    def pause_some(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop reading these partitions for as long as they are ours."""
        self._partitions.pause_for_good(partitions)

    # What Kafka holds

    @property
    def eof_offsets(self) -> Mapping[TopicPartition, int]:
        """Where reading last came to a partition's end; it may lie behind the last record (transaction markers)."""
        return self._partitions.eof_offsets

    def high_watermarks(self) -> dict[TopicPartition, int]:
        """Return each partition's end as far as known; of paused ones Kafka is asked every few seconds.

        Of all it is asked now and then: an end that only fetches tell stands still when fetching does, and the lag of
        a consumer that has silently stopped would be none. Not in a drain, whose time is short.
        """
        now = self._clock()
        ask, ask_all = now >= self._highs_at, now >= self._bounds_at and not self._partitions.paused
        if ask:
            self._highs_at = now + _HIGHS_EVERY_S
        if ask_all:
            self._bounds_at = now + self._bounds_every_s
        try:
            if ask_all:
                self._partitions.update_bounds(_ASK_TIMEOUT_S)
            self._partitions.update_highs(_ASK_TIMEOUT_S if ask and not ask_all else None)
        except KafkaException as error:
            self._complain(error.args[0])
        return dict(self._partitions.highs)

    @property
    def low_watermarks(self) -> Mapping[TopicPartition, int]:
        """Return each partition's first offset, as Kafka had it when it was last asked for all."""
        return self._partitions.lows

    def ends_now(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Ask Kafka for the end of each partition. Raises KafkaUnavailableError if one has no answer."""
        return self._answered(lambda: high_offsets(self._consumer, partitions, _TIMEOUT_S))

    def starts(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Ask Kafka for the first offset of each partition. Raises KafkaUnavailableError if one has no answer."""
        return self._answered(lambda: low_offsets(self._consumer, partitions, _TIMEOUT_S))

    def _answered(self, ask: Callable[[], Answers]) -> dict[TopicPartition, int]:
        try:
            offsets, errors = ask()
        except KafkaException as error:
            raise KafkaUnavailableError(self._explain(error.args[0])) from error
        for refusal in errors.values():
            raise KafkaUnavailableError(self._explain(refusal))
        return offsets

    # Committing

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Commit without waiting; `on_committed` or `on_error` follows while polling."""
        try:
            self._consumer.commit(offsets=kafka_positions(positions, self._partitions.topics), asynchronous=True)
        except KafkaException as error:
            self._on_commit(error.args[0], kafka_positions(positions))

    def commit_now(self, positions: Mapping[TopicPartition, int], timeout_s: float) -> bool:
        """Commit and wait, `timeout_s` at most, until Kafka holds it. Returns whether it does."""
        return not positions or commit_and_confirm(
            self._consumer,
            positions,
            timeout_s,
            topics=self._partitions.topics,
            clock=self._clock,
            sleep=self._sleep,
        )

    def _on_commit(self, error: KafkaError | None, positions: list[KafkaPosition]) -> None:
        refusal = error or next((it.error for it in positions if it.error), None)
        if refusal:
            hint = _FOREIGN_GROUP if self._kafka.assignment == "pinned" and refusal.name() in _NO_MEMBER else ""
            self._on_error(Trouble.COMMIT_FAILED, self._explain(refusal) + hint)
        taken = {TopicPartition(it.topic, it.partition): it.offset for it in positions if not (it.error or error)}
        if taken:
            self._listener.on_committed(taken)

    # Partitions that come and go

    def _take_new(self) -> None:
        """Take those of the topics' partitions that are pinned to this worker."""
        for topic, identity in self._partitions.topics.items():
            chosen = pinned(
                range(identity.partitions),
                worker=self._worker,
                workers=self._workers,
                node_index=self._kafka.node_index,
                node_count=self._kafka.node_count,
            )
            self._partitions.add({TopicPartition(topic, partition) for partition in chosen} - self._partitions.held)

    def _look_around(self) -> None:
        """Look for new pinned partitions and new topics, and place what is unplaced, when it is time to."""
        now = self._clock()
        is_unplaced = bool(self._partitions.unplaced) and now >= self._place_at
        try:
            if is_unplaced or now >= self._look_at:
                self._look_at = now + self._new_partitions_every_s
                self._partitions.look(_ASK_TIMEOUT_S)
                if self._kafka.assignment == "pinned":
                    self._take_new()
            if self._partitions.unplaced and now >= self._place_at:
                self._place_at = now + _ASK_AGAIN_S
                self._partitions.place(_ASK_TIMEOUT_S)
        except KafkaException as error:
            self._complain(error.args[0])

    def _on_assign(self, consumer: Consumer, partitions: list[KafkaPosition]) -> None:
        self._partitions.add(names(partitions))
        try:
            self._partitions.place(_ASK_TIMEOUT_S)
        except KafkaException as error:
            self._complain(error.args[0])
            consumer.incremental_assign([])  # ends the rebalance; what is unplaced is added while polling

    def _on_revoke(self, _: Consumer, partitions: list[KafkaPosition]) -> None:
        self._partitions.remove(names(partitions), self._listener.on_revoked)
        self._reader.forget(names(partitions))

    def _on_lost(self, _: Consumer, partitions: list[KafkaPosition]) -> None:
        self._partitions.remove(names(partitions), self._listener.on_lost)
        self._reader.forget(names(partitions))

    # What goes wrong

    def _without_errors(self, messages: list[Message]) -> list[Message]:
        for message in messages:
            if error := message.error():
                self._on_event(error, message)
        return [message for message in messages if not message.error()]

    def _on_event(self, error: KafkaError, message: Message) -> None:
        at, offset = TopicPartition(message.topic() or "", message.partition() or 0), message.offset()
        if error.name() == "_PARTITION_EOF":
            if offset is not None and at in self._partitions.read:
                self._partitions.eof_offsets[at] = offset
        elif error.name() in _OUT_OF_RANGE:
            self._partitions.break_off(at, offset)
        else:
            self._on_client_error(error)

    def _on_client_error(self, error: KafkaError) -> None:
        self._complaints(error)
        if is_fatal(error):
            self._fatal = error
        else:
            self._complain(error)

    def _complain(self, error: KafkaError) -> None:
        if self._throttle.allows(error.name()):
            self._on_error(Trouble.KAFKA_ERROR, self._explain(error))

    def _explain(self, error: KafkaError) -> str:
        return explain(self._complaints.cause_of(error), self._kafka.bootstrap_servers)
