"""Load while something breaks: a writer of realistic records, and the wait until all of them are settled again."""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from urllib.error import HTTPError
from urllib.request import urlopen

from confluent_kafka import Consumer, TopicPartition

from shipper.devstack.generate import Chunk, Truth, generate
from shipper.devstack.produce import produce_chunks
from shipper.settings import Kafka
from shipping import WAIT_S, Running, Shipping

_SLICE_S = 0.2
_POISONED_SLICES = 5
"""Every so many slices hold one record of each kind that Loki can never take; the first one does."""


class Load:
    """Writes records to a topic from a thread of its own, keyed by service, until it is stopped.

    As a context manager it is started at the beginning, stopped at the end. Five kinds of service, one record of a
    hundred malformed, now and then one too old, one too new and one too long: `generate` has the recipe.

    Args:
        bootstrap: address of Kafka.
        topic: where to write.
        rate: records per second.
        seed: the same seed writes the same records, but for their times.
        poisonous: whether there are records among them that Loki can never take.
    """

    def __init__(self, bootstrap: str, topic: str, *, rate: int = 4_000, seed: int = 1, poisonous: bool = True) -> None:
        self._kafka = Kafka(bootstrap_servers=[bootstrap], topics=[topic])
        self._rate, self._seed, self._poisonous = rate, seed, poisonous
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._written = Truth()
        self._error: Exception | None = None
        self.confirmed = 0
        """How many records Kafka has."""

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> Truth:
        """Stop, wait until Kafka has confirmed every record, and say what a shipper must make of them.

        Raises: KafkaUnavailableError where Kafka did not take one within a minute.
        """
        self._stopping.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "Kafka does not confirm what was written"
        if self._error:
            raise self._error
        return self._written

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind:
            self._stopping.set()  # what went wrong first is what is told
        else:
            self.stop()

    def _write(self) -> None:
        try:
            self._written = produce_chunks(self._kafka, self._chunks(), rate=self._rate, on_progress=self._confirm)
        except Exception as error:  # noqa: BLE001 - a thread's top: `stop` raises it
            self._error = error

    def _confirm(self, records: int) -> None:
        self.confirmed = records

    def _chunks(self) -> Iterator[Chunk]:
        records = max(10, int(self._rate * _SLICE_S))
        for number in itertools.count():
            if self._stopping.is_set():
                return
            now_ms = time.time_ns() // 1_000_000
            yield from generate(
                records,
                seed=self._seed * 1_000_003 + number,
                first_ms=now_ms,
                last_ms=now_ms + int(_SLICE_S * 1_000),
                malformed=0.01,
                poisonous=3 if self._poisonous and number % _POISONED_SLICES == 0 else 0,
            )


def ends(shipping: Shipping) -> dict[int, int]:
    """Ask Kafka where the topic's partitions end: partition → offset of the next record."""
    consumer = Consumer({"bootstrap.servers": shipping.bootstrap, "group.id": "nobody"})
    partitions = consumer.list_topics(shipping.topic, timeout=20).topics[shipping.topic].partitions
    marks = {n: consumer.get_watermark_offsets(TopicPartition(shipping.topic, n), timeout=20) for n in partitions}
    consumer.close()
    return {number: high for number, (_, high) in marks.items()}


def healthy(running: Running) -> dict[str, Any]:
    """Wait until all that is written by now is committed, and nothing is wrong: state running, readyz 200.

    All of it must hold in one look; that the counters add up, in every look. Others may go on writing.

    Returns: the status.
    """
    until = {number: end for number, end in ends(running.shipping).items() if end}

    def is_settled(status: dict[str, Any]) -> bool:
        committed = {p["partition"]: p["committed"] or 0 for p in status["partitions"]}
        return (
            status["state"] == "running"
            and all(committed.get(number, 0) >= end for number, end in until.items())
            and is_ready(running)
        )

    return running.wait_for(is_settled)


def is_ready(running: Running) -> bool:
    """Ask /readyz."""
    with suppress(HTTPError), urlopen(f"{running.url}/readyz", timeout=10) as answer:  # noqa: S310 - http, ours
        return bool(answer.status == 200)
    return False
