"""The thread that delivers: from the queue and from disk to Kafka, and onto stderr while Kafka is away."""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from servicelog.console import Console, say
from servicelog.metrics import Latencies
from servicelog.record_queue import RecordQueue
from servicelog.settings import Settings
from servicelog.spill import Segment, Spill

_LOOK_S: Final = 0.02  # how long a record waits at most before it is handed to the producer
_STALLED_S: Final = 5.0  # without a confirmation for so long, Kafka is away, whatever the connections say
_WAIT_AFTER_ERROR_S: Final = 1.0
_AT_ONCE_RECORDS: Final = 2_000
_AT_ONCE_BYTES: Final = 2**20

# A record on its way to the producer, and the segment that it was read from.
_Going = tuple[bytes, Segment | None]


class Sender:
    """Takes records to Kafka, in order: what the producer gave back, then what is on disk, then the queue.

    Args:
        settings: where to, and what to do when it does not go on.
        queue: what is new.
        console: where lines are shown.
        window_bytes: how many bytes the producer may hold.
    """

    def __init__(self, settings: Settings, queue: RecordQueue, console: Console, window_bytes: int) -> None:
        self._settings = settings
        self._queue = queue
        self._console = console
        self._window_bytes = window_bytes
        self._producer: Any = None
        self._refusal: type[Exception] = Exception  # what the producer raises; its module is loaded later
        self._spill: Spill | None = None
        self._front: deque[_Going] = deque()
        self._returned: list[_Going] = []
        self._unkept: Sequence[bytes] = ()
        self._left: Counter[Segment] = Counter()  # how many records of a segment are not in Kafka
        self._progress_s = self._not_before_s = 0.0
        self._broken = False
        self._why = ""
        self.end_s: float | None = None
        """Set by another thread: deliver what there is until then, and come back."""
        self.away = False
        self.sent = self.in_flight = self.in_flight_bytes = self.spilled_total = self.taken_over = 0
        self.dropped: Counter[str] = Counter()
        self.latencies = Latencies()

    def run(self) -> None:
        """Deliver until `end_s` says when to end."""
        try:
            if self._settings.when_full == "spill":
                self._spill = Spill(
                    Path(self._settings.spill_folder), self._settings.service, self._settings.spill_bytes_max
                )
                self.taken_over = self._spill.records
        except OSError as error:
            say(f"no records can be kept in {self._settings.spill_folder}: {error}. Those that do not fit are dropped.")
        self._progress_s = time.monotonic()
        while not self._ended():
            try:
                self._step()
            except Exception as error:  # noqa: BLE001 - a mistake of ours must not end the thread
                say(f"mistake in the delivery, please report it: {error!r}")
                time.sleep(_WAIT_AFTER_ERROR_S)
        self._give_up()

    def _step(self) -> None:
        if self._producer is None:
            self._connect()
        else:
            self._producer.poll(_LOOK_S)
        self._look()
        self._feed()
        self._keep()
        self._console.write_out()

    @property
    def spilled(self) -> int:
        """Records on disk that are not with the producer."""
        return self._spill.records if self._spill else 0

    @property
    def waiting(self) -> int:
        """Records in memory that have left the queue."""
        return self.in_flight + len(self._returned) + len(self._front) + len(self._unkept)

    def forget(self) -> None:
        """In the child of a fork: nothing of this is the child's."""
        if self._spill is not None:
            self._spill.forget()

    @property
    def producer(self) -> object:
        """Kafka's client, if there is one already."""
        return self._producer

    # --- to Kafka

    def _connect(self) -> None:
        from confluent_kafka import KafkaException, Producer  # noqa: PLC0415 - a service's start need not wait for it

        self._refusal = KafkaException
        try:
            self._producer = Producer(_producer_settings(self._settings, self._on_error))
        except Exception as error:  # noqa: BLE001 - a bad setting must not end the thread: lines go to stderr
            self._goes_away(f"its client cannot be made: {error}")
            time.sleep(_LOOK_S)

    def _feed(self) -> None:
        """Hand records to the producer, as far as its window goes."""
        if self._producer is None or self._broken or time.monotonic() < self._not_before_s:
            return
        self._front.extendleft(reversed(self._returned))
        self._returned.clear()
        for _ in range(_AT_ONCE_RECORDS):
            if self.in_flight_bytes >= self._window_bytes or self._returned:
                return
            if not self._front and not self._refill():
                return
            record, segment = self._front.popleft()
            if not self._produce(record, segment):
                self._front.appendleft((record, segment))
                return

    def _refill(self) -> bool:
        if self._spill is not None and (segment := self._spill.take()):
            records = list(segment.read())
            if not records:
                self._spill.done(segment)
            self._left[segment] = len(records)
            self._front.extend((record, segment) for record in records)
        else:
            records = list(self._unkept) or self._queue.take(100, _AT_ONCE_BYTES)
            self._unkept = ()
            self._front.extend((record, None) for record in records)
        return bool(self._front)

    def _produce(self, record: bytes, segment: Segment | None) -> bool:
        """Hand a record to the producer; returns whether there was room for it."""

        def on_delivery(error: Any, message: Any) -> None:  # noqa: ANN401 - confluent_kafka has no types
            self.in_flight -= 1
            self.in_flight_bytes -= len(record)
            self._progress_s = time.monotonic()
            if error is None:
                self._confirmed(segment, message.latency() or 0.0)
            else:
                self._refused(record, segment, error)

        if not self.in_flight:
            self._progress_s = time.monotonic()
        try:
            self._producer.produce(self._settings.topic, record, self._settings.service, on_delivery=on_delivery)
        except BufferError:
            return False
        except self._refusal as error:
            self._refused(record, segment, error.args[0])
            return True
        self.in_flight += 1
        self.in_flight_bytes += len(record)
        return True

    def _confirmed(self, segment: Segment | None, latency_s: float) -> None:
        self.sent += 1
        self.latencies.add(latency_s * 1_000)
        self._settle(segment)
        if self.away:
            self.away = False
            say(f"Kafka is back; {self._console.hidden} lines were not shown here, but are in the queue or counted")
            self._console.hidden = 0

    def _refused(self, record: bytes, segment: Segment | None, error: Any) -> None:  # noqa: ANN401 - the same
        from confluent_kafka import KafkaError  # noqa: PLC0415 - loaded by now

        if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_RECORD):
            self.dropped["refused"] += 1
            self._settle(segment)
            say(f"Kafka refuses a record for good, it is dropped: {error.str()}")
            self._show([record])
            return
        self._returned.append((record, segment))
        if error.code() not in (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT):  # noqa: SLF001 - its public names
            self._broken = self._broken or error.code() == KafkaError._FATAL or error.fatal()  # noqa: SLF001 - the same
            self._not_before_s = time.monotonic() + _WAIT_AFTER_ERROR_S
            self._goes_away(error.str())

    def _settle(self, segment: Segment | None) -> None:
        """A record needs no place any more."""
        if segment is None or self._spill is None:
            return
        self._left[segment] -= 1
        if not self._left[segment]:
            del self._left[segment]
            self._spill.done(segment)

    # --- when it does not go on

    def _on_error(self, error: Any) -> None:  # noqa: ANN401 - the same
        from confluent_kafka import KafkaError  # noqa: PLC0415 - the same

        self._why = error.str()
        if error.fatal():
            self._broken = True
        if error.fatal() or error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - the same
            self._goes_away(error.str())

    def _look(self) -> None:
        if self.in_flight and time.monotonic() - self._progress_s > _STALLED_S:
            self._goes_away(self._why or f"it has confirmed nothing for {_STALLED_S:.0f} s")
        if self._broken and self._producer is not None:
            self._take_back()
            self._producer, self._broken = None, False
            self._not_before_s = time.monotonic() + _WAIT_AFTER_ERROR_S

    def _take_back(self) -> None:
        """Have the producer give back what it has not delivered."""
        self._producer.purge(in_queue=True, in_flight=True)
        self._producer.flush(0.5)

    def _goes_away(self, why: str) -> None:
        if not self.away:
            self.away = True
            shown = "log lines follow here, too" if self._settings.stderr != "never" else "log lines are kept"
            say(f"Kafka is away ({why}): {shown}")

    def _keep(self) -> None:
        """Move the queue to disk before it is full."""
        if self._spill is None:
            return
        while self._unkept or self._queue.size > self._settings.queue_bytes_max // 4:
            records = self._unkept or self._queue.take(_AT_ONCE_RECORDS, _AT_ONCE_BYTES)
            kept = self._spill.append(records)
            self.spilled_total += kept
            self._unkept = records[kept:]
            if self._unkept:
                return  # the disk is full, or the bound is reached: now the queue fills up

    def _show(self, records: Sequence[bytes]) -> None:
        """Show records that go nowhere else."""
        if self._settings.stderr != "never":
            for record in records:
                self._console.show(record)

    # --- at the end

    def _ended(self) -> bool:
        if self.end_s is None:
            return False
        in_memory = self.waiting + len(self._queue)
        if self._spill is not None and (self.away or not in_memory):
            return True  # what is on disk waits there as well as here
        return not in_memory or time.monotonic() >= self.end_s

    def _give_up(self) -> None:
        """Leave nothing in memory: what Kafka did not take goes to disk, or is shown."""
        if self._producer is not None:
            self._take_back()
        older = [record for record, segment in (*self._returned, *self._front) if segment is None]
        newer = [*self._unkept, *self._queue.take(2**62, 2**62)]
        self._returned, self._unkept = [], ()
        self._front.clear()
        if self._spill is not None:
            kept = [self._spill.insert(older), self._spill.append(newer)]
            self.spilled_total += sum(kept)
            older, newer = older[kept[0] :], newer[kept[1] :]
            self._spill.close()
        if lost := [*older, *newer]:
            self.dropped["closed"] += len(lost)
            say(f"{len(lost)} records did not reach Kafka before the end, and are dropped")
            self._show(lost)
        self._console.write_out(everything=True)


def _producer_settings(settings: Settings, on_error: Callable[[Any], None]) -> dict[str, Any]:
    return {
        "bootstrap.servers": settings.kafka,
        "client.id": f"servicelog-{settings.service}",
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": settings.compression,
        # A key goes to the same partition as with Kafka's own client, in whatever language a service is written.
        "partitioner": "murmur2_random",
        "linger.ms": 20,
        # Records wait until Kafka is back; how many may wait, the queue decides.
        "message.timeout.ms": 0,
        "queue.buffering.max.messages": 200_000,
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 1_000,
        "retry.backoff.ms": 100,
        "log_level": 0,  # what matters comes as an error, and is said once
        **settings.kafka_settings,
        "error_cb": on_error,
    }
