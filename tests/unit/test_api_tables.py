"""What the log API keeps, while Kafka is away: who wants to write waits or is told so, and nobody else is held up."""

import asyncio
import threading
import time
from typing import Any, cast

import pytest

from shipper.api.problems import Problem
from shipper.api.tables import Stored
from shipper.errors import KafkaUnavailableError
from shipper.kafka.table import Table
from shipper.kafka.table_writer import TableWriter
from shipper.settings import Kafka, Settings


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


AWAY = Kafka(bootstrap_servers=["127.0.0.1:1"])


@pytest.mark.anyio
async def test_writes_that_wait_for_kafka_hold_up_no_other_thread_and_too_many_are_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored, is_back = Stored(Settings(kafka=AWAY), "levels"), threading.Event()
    monkeypatch.setattr(stored._writer, "put", lambda *_, **__: is_back.wait(60) and None)
    writes = [asyncio.create_task(stored.put("a", b"1")) for _ in range(40)]
    try:
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "read"), 30) == "read"
    finally:
        is_back.set()
    done = await asyncio.gather(*writes, return_exceptions=True)
    assert [one.status for one in done if isinstance(one, Problem)] == [503] * 24
    assert done.count(None) == 16


def test_a_write_that_waited_too_long_for_others_is_given_up_without_asking_kafka(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writer = TableWriter(AWAY, Table(AWAY, "levels"))
    monkeypatch.setattr(writer, "_begin", lambda _: pytest.fail("it asked"))
    with pytest.raises(KafkaUnavailableError):
        writer.put("a", b"1", deadline=time.monotonic() - 1)


def test_a_writer_whose_table_is_behind_reads_to_the_end_before_it_decides_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = Table(AWAY, "levels", timeout_s=0.05)
    writer = TableWriter(AWAY, table)
    begun: list[float] = []
    monkeypatch.setattr(writer, "_transact", lambda *_: 7)

    def begin(deadline: float) -> Any:  # noqa: ANN401 - stands for a producer
        begun.append(deadline)
        writer._producer = cast("Any", object())
        return writer._producer

    monkeypatch.setattr(writer, "_begin", begin)
    for _ in range(2):
        with pytest.raises(KafkaUnavailableError):
            writer.put("a", b"1")
    assert len(begun) == 2
