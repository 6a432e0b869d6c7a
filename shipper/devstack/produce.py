"""Writes realistic log records to Kafka, keyed by the name of their service: `shipper produce`."""

import time
from collections.abc import Callable, Iterable

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as DeliveredMessage
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from shipper.devstack.generate import Chunk, Truth, generate
from shipper.errors import KafkaUnavailableError
from shipper.kafka.connection import Complaints, common_settings, create_client, explain
from shipper.settings import Kafka, Settings

_ANSWER_TIMEOUT_S = 10.0
_DELIVERY_TIMEOUT_S = 60
_POLL_S = 0.1
_SLICES_PER_S = 20
"""How often a limited rate is adjusted."""

_HISTORY_MS = 600_000
"""Without a limit on the rate, the records look as if they had been written in the ten minutes before."""


class RecordWriter:
    """A Kafka producer that counts what was confirmed, and remembers what was not.

    Args:
        kafka: where to write; the topic is the first of its topics.

    Attributes:
        topic: the topic's name.

    Raises: KafkaUnavailableError from every method, when Kafka is out of reach, lacks the topic or refuses a record.
    """

    def __init__(self, kafka: Kafka) -> None:
        self.topic = kafka.topics[0]
        self._servers = kafka.bootstrap_servers
        self._complaints = Complaints()
        self._failure: KafkaError | None = None
        self._handed_over = 0
        settings: dict[str, object] = {
            **common_settings(kafka),
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 20,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 100_000,
            "queue.buffering.max.kbytes": 65_536,
            "message.timeout.ms": _DELIVERY_TIMEOUT_S * 1000,
            # A callback in Python for every record would cost as much as making it: only failures call.
            "delivery.report.only.error": True,
            "on_delivery": self._report,
            "error_cb": self._complaints,
        }
        self._producer: Producer = create_client(Producer, settings)

    def open(self) -> None:
        """Ask Kafka for the topic; blocks for ten seconds at most."""
        try:
            topics = self._producer.list_topics(timeout=_ANSWER_TIMEOUT_S).topics
        except KafkaException as error:
            self._producer.poll(0)  # lets the complaints arrive
            cause = self._complaints.cause_of(error.args[0])
            raise KafkaUnavailableError(explain(cause, self._servers)) from error
        if self.topic not in topics:
            raise KafkaUnavailableError(
                f"Kafka at {', '.join(self._servers)} has no topic {self.topic!r}: create it with "
                "`shipper topics create`, or correct kafka.topics"
            )

    def write(self, keys: Iterable[bytes], values: Iterable[bytes]) -> None:
        """Hand records over; blocks while librdkafka's queue is full."""
        for key, value in zip(keys, values, strict=True):
            while True:
                try:
                    self._producer.produce(self.topic, value, key)
                    break
                except BufferError:
                    self._producer.poll(_POLL_S)
                    self._raise_failure()
            self._handed_over += 1
        self._producer.poll(0)
        self._raise_failure()

    @property
    def confirmed(self) -> int:
        """How many records the broker has; failed ones stop everything, and are not counted apart."""
        return self._handed_over - len(self._producer)

    def finish(self, on_progress: Callable[[int], None]) -> None:
        """Wait until every record is confirmed, a minute at most without one.

        Args:
            on_progress: is told `confirmed` now and then.
        """
        while self._producer.flush(_POLL_S):
            self._raise_failure()
            on_progress(self.confirmed)
        self._raise_failure()
        on_progress(self.confirmed)

    def _report(self, error: KafkaError | None, _: DeliveredMessage) -> None:
        self._failure = self._failure or error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            cause = self._complaints.cause_of(self._failure)
            raise KafkaUnavailableError(f"a record was not written: {explain(cause, self._servers)}")


def produce_chunks(
    kafka: Kafka,
    chunks: Iterable[Chunk],
    *,
    rate: float | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Truth:
    """Write chunks to the first topic of `kafka.topics`, and wait until the broker has confirmed every record.

    Args:
        kafka: where to write.
        chunks: what to write; taken as they are needed.
        rate: records per second at most; None for as fast as it goes.
        on_progress: is told how many records are confirmed, now and then.
        clock: seconds from any fixed moment.
        sleep: waits for so many seconds.

    Returns: what a shipper must make of all of them.
    Raises: KafkaUnavailableError, when Kafka is out of reach, lacks the topic, or refuses a record.
    """
    writer = RecordWriter(kafka)
    writer.open()
    truth, written, started = Truth(), 0, clock()
    for chunk in chunks:
        step = max(1, int(rate / _SLICES_PER_S)) if rate else len(chunk)
        for first in range(0, len(chunk), step):
            values = chunk.values[first : first + step]
            writer.write(chunk.keys[first : first + step], values)
            written += len(values)
            on_progress(writer.confirmed)
            if rate:
                sleep(max(0.0, started + written / rate - clock()))
        truth += chunk.truth
    writer.finish(on_progress)
    return truth


def run(settings: Settings, *, records: int, rate: float | None, malformed: float, seed: int, console: Console) -> int:
    """Write records, show progress, and print what was written.

    Args:
        settings: the topic is the first of `kafka.topics`.
        records: how many.
        rate: records per second at most; None or 0 for as fast as it goes.
        malformed: share of broken records, 0 to 1.
        seed: the same seed writes the same records, but for their times.
        console: where to print.

    Returns: the exit code, 0.
    Raises: KafkaUnavailableError, when Kafka is out of reach, lacks the topic, or refuses a record.
    """
    now_ms = time.time_ns() // 1_000_000
    # At a limited rate a record's time is when it is written.
    first_ms, last_ms = (now_ms, now_ms + int(records / rate * 1000)) if rate else (now_ms - _HISTORY_MS, now_ms)
    chunks = generate(records, seed=seed, first_ms=first_ms, last_ms=last_ms, malformed=malformed)
    started = time.monotonic()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task(f"writing to {settings.kafka.topics[0]}", total=records, speed="")

        def show(confirmed: int) -> None:
            elapsed_s = max(time.monotonic() - started, 0.001)
            progress.update(task, completed=confirmed, speed=f"{confirmed / elapsed_s:,.0f}/s")

        truth = produce_chunks(settings.kafka, chunks, rate=rate, on_progress=show)
    elapsed_s = time.monotonic() - started
    console.print(
        f"wrote {truth.records:,} records to topic {settings.kafka.topics[0]} in {elapsed_s:.1f} s, all confirmed; "
        f"{truth.malformed.total():,} of them malformed",
        highlight=False,
        soft_wrap=True,
    )
    for service in sorted({service for service, _ in truth.entries} - {"unknown"}):
        levels = {level: entries for (of, level), entries in truth.entries.items() if of == service}
        console.print(
            f"  {service:<22}{sum(levels.values()):>12,}   "
            + ", ".join(f"{level} {entries:,}" for level, entries in sorted(levels.items())),
            highlight=False,
            soft_wrap=True,
        )
    return 0
