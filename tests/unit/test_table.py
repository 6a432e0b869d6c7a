"""What a table makes of what its consumer hands it, without a Kafka: errors among records cost no record."""

from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from shipper.errors import KafkaUnavailableError
from shipper.kafka.table import Table
from shipper.settings import Kafka


class Handed:
    """What a consumer gives: a record, or an error."""

    def __init__(self, offset: int, key: str = "", value: bytes | None = None, error: int | None = None) -> None:
        self._offset, self._key, self._value, self._error = offset, key, value, error

    def error(self) -> KafkaError | None:
        return None if self._error is None else KafkaError(self._error)

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return self._key.encode()

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes]]:
        return []

    def timestamp(self) -> tuple[int, int]:
        return (1, 1)


@pytest.fixture
def table() -> Table:
    return Table(Kafka(bootstrap_servers=["127.0.0.1:1"]), "table", timeout_s=0.1)


def take(table: Table, *handed: Handed) -> None:
    table._take(cast("Any", list(handed)))


def test_a_record_behind_an_error_in_the_same_batch_is_taken_and_told_of(table: Table) -> None:
    heard: list[str] = []
    table.listen(heard.append)
    take(table, Handed(0, "revoked", b"good"))
    with pytest.raises(KafkaException):
        take(table, Handed(1, "other", b"1"), Handed(-1, error=KafkaError._TRANSPORT), Handed(2, "revoked"))
    assert [key for key, _ in table.items()] == ["other"]
    assert heard == ["revoked", "other", "revoked"]
    table.wait_for(3)


def test_a_topic_that_was_made_anew_is_read_from_its_start_and_nothing_of_the_old_one_counts(table: Table) -> None:
    heard: list[str] = []
    table.listen(heard.append)
    take(table, Handed(7, "a", b"1"))
    take(table, Handed(-1, error=KafkaError._AUTO_OFFSET_RESET))
    assert (list(table.items()), heard) == ([], ["a", "a"])
    with pytest.raises(KafkaUnavailableError):
        table.wait_for(0)  # nothing of the new topic was read yet
    take(table, Handed(0, error=KafkaError._PARTITION_EOF))
    table.wait_for(0)
