"""The canary's process: writes a record into each partition now and then, and looks for it in Loki.

The record goes the way of all others: nothing in the engine knows of it. Where its entry must be found is what the pure
function says, as it says for any record; so labels, filters and redaction are those of the configuration.
"""

import json
import multiprocessing
import time
import traceback
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import Connection
from typing import cast

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as KafkaMessage

from shipper.errors import ShipperError
from shipper.kafka.connection import Complaints, create_client, explain
from shipper.kafka.dlq import producer_settings
from shipper.kafka.trouble import Throttle
from shipper.logs import log
from shipper.loki.connection import session
from shipper.loki.query import LokiQueryError, LokiReader
from shipper.pipeline import Rules, prepare
from shipper.process.canary import CanaryReport
from shipper.process.sightings import Sightings
from shipper.records import Message, RecordBatch, TopicPartition
from shipper.settings import Settings

SERVICE = "shipper-canary"
_TURN_S = 0.25
_LOOK_MAX_S = 5.0
_LOOK_SHARE = 4
"""A canary is looked for after a quarter of its age again, within these bounds: an outage is not made worse by it."""
_PARTITIONS_EVERY_S = 30.0
_ASK_TIMEOUT_S = 5.0
_WRITE_TIMEOUT_MS = 30_000
_SAY_EVERY_S = 300.0
_MARGIN_S = 60.0
"""Where the record's own timestamp is not read, the entry has Kafka's."""


def main(settings: Settings, reports: Connection) -> None:
    """Write and read canaries until nobody listens any more."""
    parent = multiprocessing.parent_process()
    try:
        bird = CanaryProcess(settings)
        while parent is None or parent.is_alive():
            bird.turn(time.time())
            if report := bird.report():
                reports.send(report)
            bird.wait(_TURN_S)
    except ShipperError as error:
        log("error", f"canary: {error}")
        raise SystemExit(error.exit_code) from error
    except (BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:  # the process's top: a mistake in the program is a line of the log too
        log("error", f"canary: this is a mistake in shipper: {error!r}", traceback=traceback.format_exc())
        raise SystemExit(1) from error


class CanaryProcess:
    """Writes and reads canaries; one thread.

    Args:
        settings: the configuration.

    Raises: ConfigError if a client does not take its settings, or a file that they name cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._kafka = settings, settings.kafka
        self._rules = Rules.compile(settings)
        self._sightings = Sightings(settings.canary.every_s, settings.loki.limits.entry_age_max_s)
        self._id = uuid.uuid4().hex[:12]
        self._complaints = Complaints()
        self._producer = create_client(
            Producer,
            {
                **producer_settings(settings),
                "message.timeout.ms": _WRITE_TIMEOUT_MS,
                "error_cb": self._complaints,
            },
        )
        self._loki = LokiReader(
            settings.loki.url,
            tenant=settings.loki.tenant,
            session=session(settings.loki),
            timeout_s=settings.loki.timeout_s,
            retry_deadline_s=0,
        )
        self._throttle = Throttle(_SAY_EVERY_S, time.monotonic)
        self._selectors: set[str] = set()
        self._written: list[tuple[int, KafkaMessage]] = []
        self._partitions_at_s = self._look_at_s = float("-inf")
        self._errors: dict[str, str] = {}

    def turn(self, now_s: float) -> None:
        """Do what is due; blocks for the time-outs of Kafka and Loki at most."""
        if now_s >= self._partitions_at_s and self._find_partitions(now_s):
            self._partitions_at_s = now_s + _PARTITIONS_EVERY_S
        for at in self._sightings.due(now_s):
            self._write(at, now_s)
        self._place()
        if self._sightings.oldest_out_s is not None and self._selectors and now_s >= self._look_at_s:
            self._look(self._sightings.oldest_out_s, now_s)

    def wait(self, seconds: float) -> None:
        """Wait, and let Kafka answer meanwhile."""
        self._producer.poll(seconds)
        deadline = time.monotonic() + seconds
        while (left_s := deadline - time.monotonic()) > 0:
            self._producer.poll(left_s)

    def report(self) -> CanaryReport | None:
        """Return how it stands; None before the partitions are known."""
        if not (freshness := self._sightings.freshness):
            return None
        return CanaryReport(
            freshness.at.topic,
            freshness.at.partition,
            int(freshness.seen_s * 1000),
            self._sightings.latency_s,
            self._sightings.written,
            self._sightings.seen,
            "; ".join(self._errors.values()),
        )

    def _find_partitions(self, now_s: float) -> bool:
        try:
            topics = self._producer.list_topics(timeout=_ASK_TIMEOUT_S).topics
        except KafkaException as error:
            self._say("write", f"the canary cannot be written: {self._explain(error.args[0])}")
            return False
        found = [
            TopicPartition(name, number)
            for name in self._kafka.topics
            for number in (topics[name].partitions if name in topics else ())
            if self._kafka.assignment == "group" or number % self._kafka.node_count == self._kafka.node_index
        ]
        self._sightings.set_partitions(found, now_s)
        return True

    def _write(self, at: TopicPartition, now_s: float) -> None:
        number = self._sightings.write(at, now_s)
        value = json.dumps(
            {
                "timestamp": datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds"),
                "level": "info",
                "service": SERVICE,
                "message": "canary: written by shipper, to be read back from Loki",
                "canary": self._mark(number),
            }
        )
        try:
            self._producer.produce(
                at.topic, value, SERVICE, partition=at.partition, on_delivery=partial(self._on_delivery, number)
            )
        except (KafkaException, BufferError) as error:
            self._sightings.give_up(number)
            self._say("write", f"the canary cannot be written: {error}")

    def _mark(self, number: int) -> str:
        return f"{self._id}-{number}."

    def _on_delivery(self, number: int, error: KafkaError | None, message: KafkaMessage) -> None:
        if error:
            self._sightings.give_up(number)
            self._say("write", f"the canary cannot be written: {self._explain(error)}")
        else:
            self._errors.pop("write", None)
            self._written.append((number, message))

    def _place(self) -> None:
        """Learn where the entries of what was written must be found, and what a rule leaves out."""
        written, self._written = self._written, []
        for topic in {message.topic() for _, message in written}:
            numbers = [number for number, message in written if message.topic() == topic]
            batch = RecordBatch(
                str(topic), cast("list[Message]", [message for _, message in written if message.topic() == topic])
            )
            prepared = prepare(batch, self._rules, now_ns=time.time_ns())
            self._selectors.update(label.decode() for label in prepared.streams.labels)
            for row in set(range(len(batch))) - set(prepared.streams.rows.tolist()):
                self._sightings.give_up(numbers[row])
            if len(prepared.streams) < len(batch):
                why = [*prepared.filtered, *(one.reason for one in prepared.rejected)]
                self._say("rule", f"canaries are left out by the configuration's own rules: {', '.join(why)}")
            else:
                self._errors.pop("rule", None)

    def _look(self, oldest_s: float, now_s: float) -> None:
        try:
            numbers = list(self._seen(oldest_s, now_s))
        except LokiQueryError as error:
            self._say("read", f"the canary cannot be read back: {error}")
        else:
            self._errors.pop("read", None)
            self._sightings.see(numbers, time.time())
        young_s = time.time() - (self._sightings.newest_out_s or now_s)
        self._look_at_s = time.time() + min(_LOOK_MAX_S, young_s / _LOOK_SHARE)

    def _seen(self, oldest_s: float, now_s: float) -> Iterable[int]:
        first_ns, end_ns = int((oldest_s - _MARGIN_S) * 1e9), int((now_s + _MARGIN_S) * 1e9)
        for selector in sorted(self._selectors):
            for entry in self._loki.entries(f'{selector} |= "{self._id}-"', first_ns, end_ns):
                number = entry.line.rpartition(f"{self._id}-")[2].partition(".")[0]
                if number.isdecimal():
                    yield int(number)

    def _explain(self, error: KafkaError) -> str:
        return explain(self._complaints.cause_of(error), self._kafka.bootstrap_servers)

    def _say(self, kind: str, text: str) -> None:
        self._errors[kind] = text
        if self._throttle.allows(kind):
            log("warn", text)
