"""Writes rows of a table, one at a time among all who write it, anywhere.

The writers of one table share the name of their transactions. Who begins fences who was there before, then reads the
table to its end; as long as nobody fences it in turn, nobody else has written, and what it knows of a row is what the
row is. So "only if the row is still as I saw it" is decided without a database: a commit that succeeds proves it.
"""

import logging
import threading
import time
import uuid
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Producer

from shipper.errors import KafkaUnavailableError, ShipperError
from shipper.kafka.connection import Complaints, common_settings, create_client, explain
from shipper.kafka.table import VERSION_HEADER, Row, Table
from shipper.kafka.trouble import error_of
from shipper.settings import Kafka

ANY: Final = "*"
"""As the version that is expected: whatever there is, or is not."""

_TRANSACTION_S = 10
_AGAIN_S = 0.05


class ConflictError(ShipperError):
    """The row is not as the writer expected it; `row` is what it is now."""

    def __init__(self, key: str, row: Row | None) -> None:
        super().__init__(f"{key} was changed by somebody else meanwhile: read it again")
        self.row = row


def transactional_id(topic: str) -> str:
    """Return the name of the transactions that write this table."""
    return f"shipper-table-{topic}"


class TableWriter:
    """Writes; its methods may be called from any thread, and block until Kafka has confirmed.

    Args:
        kafka: the section `[kafka]`.
        table: which has been started.
        timeout_s: so long Kafka may be out of order before a write is given up, in seconds.
    """

    def __init__(self, kafka: Kafka, table: Table, *, timeout_s: float = 15.0) -> None:
        self._kafka, self._table, self.timeout_s = kafka, table, timeout_s
        self._lock = threading.Lock()
        self._producer: Producer | None = None
        self._complaints = Complaints()

    def put(
        self, key: str, value: bytes | None, *, expected: str | None = ANY, deadline: float | None = None
    ) -> Row | None:
        """Write a row, or delete it, and return when it is confirmed and the table has read it.

        Args:
            key: of the row.
            value: None deletes it.
            expected: the version that the row must have, None that there must be none, or ANY.
            deadline: on the monotonic clock, up to when it is tried; `timeout_s` from now by default.

        Returns: the row; None if it was deleted.
        Raises: ConflictError, and nothing was written; KafkaUnavailableError, and it may have been written or not.
        """
        version = uuid.uuid4().hex[:16]
        if deadline is None:
            deadline = time.monotonic() + self.timeout_s
        with self._lock:
            if time.monotonic() > deadline:  # it waited for others all the time
                raise self._failure(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - its name there
            tried = False
            while True:
                try:
                    producer = self._producer or self._begin(deadline)
                    row = self._table.get(key)
                    if tried and (row.version == version if row else value is None):
                        return row  # the answer to the commit was lost, and not the commit
                    if expected not in {ANY, row.version if row else None}:
                        raise ConflictError(key, row)
                    tried = True
                    self._table.wait_for(self._transact(producer, key, value, version) + 1)
                    return self._table.get(key) if value is not None else None
                except (KafkaException, SystemError) as failed:
                    self._producer = None  # fenced by another writer, mostly; the next one fences that one in turn
                    error = error_of(failed)
                    if time.monotonic() > deadline:
                        raise self._failure(error) from failed
                    time.sleep(_AGAIN_S)
                except KafkaUnavailableError:
                    self._producer = None  # the table may be behind: the next write reads to the end before it decides
                    raise

    def _begin(self, deadline: float) -> Producer:
        silent = logging.getLogger(__name__)  # librdkafka writes of fencing at a level that cannot be turned off
        silent.addHandler(logging.NullHandler())
        silent.propagate = False
        settings = {
            **common_settings(self._kafka),
            "client.id": "shipper-table",
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 0,
            "transactional.id": transactional_id(self._table.topic),
            "transaction.timeout.ms": _TRANSACTION_S * 1_000,
            "message.timeout.ms": _TRANSACTION_S * 1_000,
            "error_cb": self._complaints,
            "logger": silent,
        }
        producer: Producer = create_client(Producer, settings)
        producer.init_transactions(max(_AGAIN_S, min(_TRANSACTION_S, deadline - time.monotonic())))
        self._table.catch_up()
        self._producer = producer
        return producer

    def _transact(self, producer: Producer, key: str, value: bytes | None, version: str) -> int:
        """Write in a transaction of its own; returns the record's offset."""
        offsets: list[int] = []
        errors: list[KafkaError] = []

        def on_delivery(error: KafkaError | None, message: object) -> None:
            if error:
                errors.append(error)
            else:
                offsets.append(message.offset())  # type: ignore[attr-defined] # confluent_kafka ships no types

        producer.begin_transaction()
        producer.produce(
            self._table.topic,
            value,
            key,
            partition=0,
            headers=[(VERSION_HEADER, version.encode())],
            on_delivery=on_delivery,
        )
        producer.flush(_TRANSACTION_S)
        if errors or not offsets:
            raise KafkaException(errors[0] if errors else KafkaError(KafkaError._MSG_TIMED_OUT))  # noqa: SLF001 - its name there
        producer.commit_transaction(_TRANSACTION_S)
        return offsets[0]

    def _failure(self, error: KafkaError) -> KafkaUnavailableError:
        cause = self._complaints.cause_of(error)
        if cause.name() == "TRANSACTIONAL_ID_AUTHORIZATION_FAILED":
            return KafkaUnavailableError(
                f"this user may not write transactions as {transactional_id(self._table.topic)}: grant WRITE on that "
                "transactional id with kafka-acls"
            )
        return KafkaUnavailableError(
            f"{explain(cause, self._kafka.bootstrap_servers)}; look whether {self._table.topic} took it before you try "
            "again"
        )
