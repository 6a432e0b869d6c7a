"""Puts the records of dead letters back into their topics, in transactions: a record and its marker, or neither.

The transactions of one dead letter topic carry one name. Who begins fences who was there before, ends what that one
left open, and only then reads the markers. So nobody who goes by the markers can be overtaken, and no record is put
back twice: not by a redrive that was killed, nor by one that runs at the same time, nor by one that wakes up late.
"""

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from shipper.errors import KafkaUnavailableError, ShipperError
from shipper.kafka.connection import Complaints, create_client, explain
from shipper.kafka.dlq import producer_settings
from shipper.kafka.letters import Letter, Place, marker_headers
from shipper.kafka.trouble import error_of, is_fatal
from shipper.settings import Settings

TRANSACTION_S = 30
"""So long a transaction may take; and so long one of a redrive that was killed may hold up the readers of a topic."""

_TIMEOUT_S = 30.0
_AGAIN_S = 0.2
# What is about a record, or about its topic, and does not pass by waiting.
_ABOUT_RECORDS = {
    "MSG_SIZE_TOO_LARGE": "it is too large for topic {topic}: raise the topic's max.message.bytes",
    "RECORD_LIST_TOO_LARGE": "it is too large for topic {topic}: raise the topic's max.message.bytes or segment.bytes",
    "INVALID_TIMESTAMP": "topic {topic} does not take its timestamp: look at the topic's message.timestamp.*.max.ms",
    "INVALID_RECORD": "topic {topic} does not take it ({said}): is the topic compacted, and it has no key?",
    "POLICY_VIOLATION": "a policy of the broker's refuses it ({said})",
    "UNKNOWN_TOPIC_OR_PART": "topic {topic} does not exist",
    "_UNKNOWN_TOPIC": "topic {topic} does not exist",
    "_UNKNOWN_PARTITION": "topic {topic} has no such partition",
    "TOPIC_AUTHORIZATION_FAILED": "this user may not write topic {topic}: grant WRITE with kafka-acls",
}
_PURGED = frozenset({"_PURGE_QUEUE", "_PURGE_INFLIGHT"})  # said of those that stood behind the guilty one


class RedriveEndedError(ShipperError):
    """This redrive can go no further; another one can."""


@dataclass(frozen=True, slots=True)
class Errand:
    """A letter whose record is to be put back.

    Attributes:
        letter: the letter.
        partition: where in its topic the record goes.
        marks: the partitions of the dead letter topic that hold a copy of the letter. Each gets a marker: retention
            deletes a partition from its start, so a letter never outlives the marker behind it.
    """

    letter: Letter
    partition: int
    marks: Sequence[int]


def redrive_settings(settings: Settings) -> dict[str, object]:
    """Return librdkafka's settings for the producer: the one of letters, with transactions."""
    return {
        **producer_settings(settings),
        "client.id": "shipper-redrive",
        "transactional.id": transactional_id(settings),
        "transaction.timeout.ms": TRANSACTION_S * 1_000,
        "message.timeout.ms": TRANSACTION_S * 1_000,
    }


def transactional_id(settings: Settings) -> str:
    """Return the name of the transactions. The dead letter topic is what is guarded, whichever groups fill it."""
    return f"shipper-redrive-{settings.dead_letter.topic}"


class Redriver:
    """Writes transactions; for one thread. Nobody else may put letters of this topic back once this is begun.

    Args:
        settings: the configuration.
        timeout_s: so long Kafka may be out of order before it is given up, in seconds.

    Raises: ConfigError if librdkafka refuses `[kafka.client]`.
    """

    def __init__(self, settings: Settings, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._topic, self._servers = settings.dead_letter.topic, settings.kafka.bootstrap_servers
        self._name = transactional_id(settings)
        self._timeout_s = timeout_s
        self._complaints = Complaints()
        silent = logging.getLogger(__name__)  # librdkafka writes of fatal errors at a level that cannot be turned off
        silent.addHandler(logging.NullHandler())
        silent.propagate = False
        self._producer: Producer = create_client(
            Producer, {**redrive_settings(settings), "error_cb": self._complaints, "logger": silent}
        )

    def begin(self) -> None:
        """Fence every redrive before this one, and end its transaction. Markers are to be read after this, not before.

        Raises: KafkaUnavailableError if Kafka does not do transactions for us.
        """
        try:
            self._producer.init_transactions(self._timeout_s)
        except KafkaException as error:
            raise self._cannot_begin(error.args[0]) from error

    def put_back(self, errands: Sequence[Errand]) -> Iterator[tuple[Errand, Place | str]]:
        """Write the records, each with its markers: together, but for those that Kafka refuses.

        Yields: each errand once, when it is committed with where its record lies now, or else with why it is refused.

        Raises: RedriveEndedError if another redrive took over; KafkaUnavailableError if Kafka is out of order. What was
            not yielded is not put back then, unless Kafka had the commit and its answer was lost; the markers tell.
        """
        if not errands:
            return
        refusal, places = self._until_settled(errands)
        if refusal is None:
            yield from zip(errands, places, strict=True)
        elif len(errands) == 1:
            topic = errands[0].letter.origin.place.topic
            yield errands[0], _ABOUT_RECORDS[refusal.name()].format(topic=topic, said=refusal.str())
        else:
            middle = len(errands) // 2
            yield from self.put_back(errands[:middle])
            yield from self.put_back(errands[middle:])

    def _until_settled(self, errands: Sequence[Errand]) -> tuple[KafkaError | None, list[Place]]:
        """Try until it is committed, or one of the records is refused; what may pass by waiting is waited for."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return None, self._transact(errands)
            except _RefusedError as refused:
                self._abort(refused.error)
                return refused.error, []
            except (KafkaException, SystemError) as failed:
                # One of them is what follows a refusal: a sequence number that the broker never saw.
                error = error_of(failed)
                self._abort(error)
                if time.monotonic() > deadline:
                    raise self._failure(error) from failed
                time.sleep(_AGAIN_S)
            except BaseException:  # Ctrl-C: an open transaction would hold up readers until it times out
                with contextlib.suppress(KafkaException):
                    self._producer.abort_transaction(self._timeout_s)
                raise

    def _transact(self, errands: Sequence[Errand]) -> list[Place]:
        self._producer.begin_transaction()
        try:
            places = self._write([_record(errand) for errand in errands])
        except KafkaException as failed:
            if failed.args[0].name() in _ABOUT_RECORDS:
                raise _RefusedError(failed.args[0]) from failed
            raise
        # Only now it is known where the records lie.
        self._write(
            [
                _marker(errand, to, Place(self._topic, partition, -1))
                for errand, to in zip(errands, places, strict=True)
                for partition in errand.marks
            ]
        )
        self._commit()
        return places

    def _write(self, records: Sequence[dict[str, Any]]) -> list[Place]:
        """Write records; returns where they lie. Raises KafkaException with the most telling error."""
        places: dict[int, Place] = {}
        errors: list[KafkaError] = []

        def on_delivery(row: int, error: KafkaError | None, message: Any) -> None:  # noqa: ANN401 - a protocol cannot say that it is ours
            if error:
                errors.append(error)
            else:
                places[row] = Place(message.topic(), message.partition(), max(-1, message.offset()))

        for row, record in enumerate(records):
            self._produce({**record, "on_delivery": partial(on_delivery, row)})
        if self._producer.flush(TRANSACTION_S):
            raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT))  # noqa: SLF001 - its name there
        if errors:
            raise KafkaException(min(errors, key=lambda error: error.name() in _PURGED))
        return [places[row] for row in range(len(records))]

    def _produce(self, record: dict[str, Any]) -> None:
        while True:
            try:
                self._producer.produce(**record)
            except BufferError:
                self._producer.poll(_AGAIN_S)
            else:
                return

    def _commit(self) -> None:
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                self._producer.commit_transaction(self._timeout_s)
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > deadline:
                    raise
            else:
                return

    def _abort(self, error: KafkaError) -> None:
        """Take back what the transaction wrote. Raises what `put_back` raises where that cannot be."""
        if is_fatal(error):
            raise self._failure(error)
        try:
            self._producer.abort_transaction(self._timeout_s)
        except (KafkaException, SystemError) as failed:
            raise self._failure(error_of(failed)) from failed

    def _failure(self, error: KafkaError) -> ShipperError:
        if is_fatal(error):
            return RedriveEndedError(
                f"another `shipper dlq redrive` of {self._topic} took over, or a transaction took longer than "
                f"{TRANSACTION_S} s ({error.str()}): run it again, once the other one has ended; it goes on where this "
                "one stopped"
            )
        sentence = explain(self._complaints.cause_of(error), self._servers)
        return KafkaUnavailableError(f"{sentence}; run it again then, it goes on where this one stopped")

    def _cannot_begin(self, error: KafkaError) -> KafkaUnavailableError:
        cause = self._complaints.cause_of(error)
        match cause.name():
            case "TRANSACTIONAL_ID_AUTHORIZATION_FAILED":
                return KafkaUnavailableError(
                    f"this user may not write transactions as {self._name}: grant WRITE on that transactional id with "
                    "kafka-acls"
                )
            case "_UNSUPPORTED_FEATURE":
                return KafkaUnavailableError(
                    f"these brokers have no transactions ({cause.str()}), so nothing was put back: a redrive without "
                    "them could put a record back twice; use brokers of Kafka 0.11 or later"
                )
            case "_TIMED_OUT" | "COORDINATOR_NOT_AVAILABLE":
                return KafkaUnavailableError(
                    f"{explain(cause, self._servers)}; nothing was put back. If other commands work: the brokers could "
                    "not begin a transaction, mostly because transaction.state.log.replication.factor is 3 there, and "
                    "there are fewer brokers"
                )
        return KafkaUnavailableError(f"{explain(cause, self._servers)}; nothing was put back")


class _RefusedError(Exception):
    """A record of the transaction is refused for good."""

    def __init__(self, error: KafkaError) -> None:
        super().__init__(error)
        self.error = error


def _record(errand: Errand) -> dict[str, Any]:
    """Return the record as it was: nothing in it says that it was put back."""
    letter = errand.letter
    return {
        "topic": letter.origin.place.topic,
        "partition": errand.partition,
        "key": letter.key,
        "value": letter.value,
        "headers": [*letter.headers],
        "timestamp": letter.origin.timestamp_ms,
    }


def _marker(errand: Errand, to: Place, at: Place) -> dict[str, Any]:
    origin = errand.letter.origin
    return {
        "topic": at.topic,
        "partition": at.partition,
        "key": str(origin.place).encode(),  # not the record's: no marker may ever replace a letter
        "value": None,
        "headers": [*marker_headers(origin, to)],
    }
