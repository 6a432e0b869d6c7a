"""The loop of a worker: it only calls stages, and asks two deciders.

    source.poll ─▶ prepare ─▶ flights ─▶ pusher ─▶ flights.finish ─▶ tracker ─▶ source.commit
                      └──────────────▶ letters ──────▲

*Of which partitions may I take more?* is the flights' answer (bytes held), as long as pushing keeps up. *What may be
committed?* is the tracker's. Everything else is a stage: this thread runs them in turn, push threads and librdkafka
work beside it.
"""

import gc
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from types import FrameType

from shipper.errors import ShipperError
from shipper.kafka.consumer import queue_bytes_max
from shipper.kafka.offsets import OffsetTracker
from shipper.logs import log
from shipper.loki.client import Attempt
from shipper.pipeline import Rules, prepare_all
from shipper.process.counters import Counters
from shipper.process.flight import Flights
from shipper.process.parts import Parts, connect
from shipper.process.report import Report
from shipper.process.row import Partition
from shipper.records import RecordBatch, Rejected, TopicPartition
from shipper.settings import Settings

_BATCH_BYTES = 4 * 1024 * 1024  # a batch of large records is cut short, so that it fits the bound on memory
_BATCH_SHARE = 8  # of the memory that is free, for values: what they become takes three times as much
_HELD_S = 1.0  # so long we just wait for Loki; then partitions are paused, and Kafka is polled for its own sake
_TICK_S = 1.0  # commits and gauges
_WAIT_S = 0.05  # for Loki, when there is nothing else to do
_STOP_S = 5.0  # for tries that are under way when a worker gives up
_NO_PARTITION_S = 15.0  # so long a member of a group waits to be given partitions before it counts as caught up


def main(index: int, workers: int, settings: Settings, counters_fd: int, until_caught_up: bool) -> None:  # noqa: FBT001 - the supervisor's interface
    """Run worker `index` of `workers`; ends the process with 0 when done, and an error's own code otherwise."""
    counters = Counters.attach(counters_fd)
    report = Report(counters.row(index), log.bind(worker=index), label_values_max=settings.label_values.budget)
    try:
        rules, parts = Rules.compile(settings), connect(index, workers, settings, report)
        worker = Worker(rules, parts, report, topics=counters.topics, until_caught_up=until_caught_up)
        signal.signal(signal.SIGTERM, worker.stop)
        # Records and entries have no cycles; what was imported stays for good. So the collector has little to look for.
        gc.freeze()
        gc.set_threshold(100_000)
        worker.run()
    except ShipperError as error:
        log("fatal", str(error), worker=index)
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 - the process's top: a mistake in the program is a line of the log too
        text = "".join(traceback.format_exception(error))
        log("fatal", f"this is a mistake in shipper: {error!r}", worker=index, traceback=text)
        sys.exit(1)


class Worker:
    """One process's share of the work; also the source's listener, told which partitions come and go."""

    def __init__(
        self, rules: Rules, parts: Parts, report: Report, *, topics: Sequence[str], until_caught_up: bool
    ) -> None:
        """Build the stages that need nothing from outside, and take the others.

        Args:
            rules: the configuration, compiled.
            parts: what connects it with Kafka, Loki and time.
            report: where counters and log lines go.
            topics: names by the topic index of the counters.
            until_caught_up: whether to end where Kafka ended when the shipper was started.

        Raises: ConfigError if a setting of librdkafka is wrong.
        """
        self._rules, self._settings = rules, rules.settings
        self._report, self._row = report, report.row
        self._topics = topics
        self._until_caught_up = until_caught_up
        memory = self._settings.workers.memory_bytes_max
        self._flights = Flights(memory - queue_bytes_max(memory))
        self._tracker = OffsetTracker()
        self._letters, self._pusher = parts.letters, parts.pusher
        self._source = parts.source(self)
        self._is_orphan, self._clock, self._now_ns = parts.is_orphan, parts.clock, parts.now_ns
        self._partitions: dict[TopicPartition, Partition] = {}
        self._reached: dict[TopicPartition, int] = {}
        """The offset to be read next, whatever became of those before it."""
        self._stopping = False
        self._full_since: dict[TopicPartition, float] = {}
        """Since when no more of a partition may be taken."""
        self._paused: set[TopicPartition] = set()
        self._tick_at = 0.0
        self._row.set(memory_bytes_max=memory)

    def stop(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Begin to drain; fit for a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Ship until told to stop or, with `--until-caught-up`, until every partition has reached its target."""
        self.open()
        while not self.is_done:
            self.turn()
        self.drain()

    def open(self) -> None:
        """Connect with Kafka. Raises KafkaUnavailableError if that cannot be."""
        self._source.open()
        self._without_since = self._clock()
        """Since when there has been no partition, while there is none."""

    @property
    def is_done(self) -> bool:
        """Whether it is time to drain."""
        return self._stopping or self._is_caught_up() or self._is_orphan()

    # --- the loop

    def turn(self) -> None:
        """Go round once: take, push, settle, commit."""
        self._heartbeat()
        self._pusher.limit(self._row.push_limit or self._settings.loki.in_flight_max)
        if self._may_take():
            kafka = self._settings.kafka
            bytes_max = min(_BATCH_BYTES, self._flights.bytes_free // _BATCH_SHARE)
            for batch in self._source.poll(kafka.batch_records_max, kafka.batch_wait_s, bytes_max):
                self._take(batch)
            self._push_and_settle(0)
        else:
            self._push_and_settle(_WAIT_S)
        self._tick()

    def _may_take(self) -> bool:
        """Ask of which partitions more may be taken; those that are full for long are paused, and the others read.

        A short while is waited for: a partition that is paused loses what librdkafka holds ready of it.
        """
        now = self._clock()
        is_behind = self._pusher.is_behind
        full = [at for at in self._partitions if is_behind or not self._flights.may_take(at)]
        self._full_since = {at: self._full_since.get(at, now) for at in full}
        paused = {at for at, since in self._full_since.items() if now > since + _HELD_S}
        self._hold_back(paused)
        if paused and len(paused) == len(self._partitions):
            for batch in self._source.poll(1, 0):  # to stay in the group
                self._take(batch)
            return False
        return len(paused) == len(full)

    def _hold_back(self, paused: set[TopicPartition]) -> None:
        for at in paused ^ self._paused:
            if at in self._partitions:
                self._partitions[at].set(paused=at in paused)
        self._paused = paused
        self._source.hold_back(paused)

    def _take(self, batch: RecordBatch) -> None:
        batch = self._due(batch)
        if not len(batch):
            return
        began = self._clock()
        parts = list(prepare_all(batch, self._rules, now_ns=self._now_ns()))
        self._row.add(prepare_ns=int((self._clock() - began) * 1e9))
        for part in parts:
            self._report.taken(part)
            ticket = self._flights.start(part)
            self._tracker.taken(ticket, part.batch.spans)
            for span in part.batch.spans:
                self._reached[span.at] = max(self._reached[span.at], span.next_offset)
            for request in part.requests:
                self._pusher.submit(ticket, request)
            self._bury(ticket, part.rejected)
            self._finish(ticket)

    def _due(self, batch: RecordBatch) -> RecordBatch:
        """Leave out what is not ours to ship: partitions that were revoked meanwhile, records beyond a target."""
        limits = {span.at: self._limit(span.at) for span in batch.spans}
        beyond = [span.at for span in batch.spans if span.next_offset > limits[span.at]]
        if self._until_caught_up and (done := [span.at for span in batch.spans if span.next_offset >= limits[span.at]]):
            self._source.pause_some(done)
            self._reached.update({at: limits[at] for at in done if at in self._reached})
        if not beyond:
            return batch
        limit = {at.partition: offset for at, offset in limits.items()}
        return RecordBatch(batch.topic, [m for m in batch.messages if m.offset() < limit[m.partition()]])

    def _limit(self, at: TopicPartition) -> int:
        """Return the offset before which a partition's records are to be shipped."""
        if at not in self._partitions:
            return 0
        return self._partitions[at].target if self._until_caught_up else sys.maxsize

    def _push_and_settle(self, wait_s: float) -> None:
        for event in self._pusher.wait(wait_s):
            if isinstance(event, Attempt):
                batch = self._flights[event.ticket].batch
                self._report.attempt(event, "" if event.row is None else batch.place(event.row))
                if event.delivered:
                    self._report.delivered(len(event.delivered))
                    self._flights.delivered(event.ticket, event.delivered)
                    self._finish(event.ticket)
            elif refused := event.delivery.refused:
                self._flights.refused(event.ticket, refused)
                self._bury(event.ticket, refused)
        for ticket in self._letters.poll():
            self._report.dead_lettered(self._flights.confirmed(ticket))
            self._finish(ticket)

    def _bury(self, ticket: int, rejected: Sequence[Rejected]) -> None:
        if rejected:
            batch = self._flights[ticket].batch
            for one in rejected:
                self._report.rejected(batch.place(one.row), one)
            self._letters.send(ticket, batch, rejected)

    def _finish(self, ticket: int) -> None:
        if places := self._flights.finish(ticket):
            for span in self._tracker.settled(ticket, places):
                self._partitions[span.at].set(last_settled_timestamp_ms=span.last_timestamp_ms)

    def _tick(self) -> None:
        """Commit, and refresh what does not change with every batch."""
        now = self._clock()
        if now < self._tick_at:
            return
        self._tick_at = now + _TICK_S
        if positions := self._tracker.committable():
            self._source.commit(positions)
        self._report.tick(letters_stuck=self._letters.is_stuck, uncommitted=bool(positions))
        self._row.set(in_flight_bytes=self._flights.bytes_held)
        for at, end in self._source.eof_offsets.items():
            # Transaction markers hold no record, so nothing is ever settled there: without this they look like lag.
            if at in self._partitions and end > self._reached[at] == self._tracker.next_offset(at):
                self._partitions[at].set(committed=end)
        for at, high in self._source.high_watermarks().items():
            if at in self._partitions:
                oldest = self._tracker.oldest(at)
                self._partitions[at].set(
                    high_watermark=high,
                    low_watermark=self._source.low_watermarks.get(at),
                    oldest_timestamp_ms=oldest.first_timestamp_ms if oldest else -1,
                )

    def drain(self) -> None:
        """Finish what is in flight, up to the deadline; commit; close. What is left is somebody else's to ship."""
        self._source.pause()
        deadline = self._clock() + self._settings.workers.drain_timeout_s
        while len(self._flights) and self._clock() < deadline:
            self._heartbeat()
            self._push_and_settle(_WAIT_S)
            for batch in self._source.poll(
                1, 0
            ):  # for the callbacks, and to stay in the group; paused, it gives nothing
                self._take(batch)
            self._tick()
        # These add up to less than what the supervisor waits beyond the drain.
        self._pusher.stop(_STOP_S if len(self._flights) else 0)
        self._letters.close(_STOP_S if self._letters.pending else 0)
        self._push_and_settle(0)
        self._source.close(_STOP_S)
        self._report.ended()

    # --- --until-caught-up

    def _is_caught_up(self) -> bool:
        if not self._until_caught_up or len(self._flights):
            return False
        if not self._partitions:
            is_pinned = self._settings.kafka.assignment == "pinned"
            return is_pinned or self._clock() > self._without_since + _NO_PARTITION_S
        ends = self._source.eof_offsets
        return all(max(self._reached[at], ends.get(at, 0)) >= it.target for at, it in self._partitions.items())

    def _heartbeat(self) -> None:
        self._row.heartbeat(int(self._clock() * 1e9))

    # --- the source's listener

    def on_assigned(self, partitions: Mapping[TopicPartition, int]) -> None:
        """Take partitions into the counters, with the targets that they had before a restart."""
        for at, start in partitions.items():
            self._partitions[at] = self._row.partition(self._topics.index(at.topic), at.partition)
            self._partitions[at].set(committed=start, paused=False)
            self._reached[at] = start
            self._tracker.assigned(at, start)
        if self._until_caught_up:
            unset = [at for at in partitions if self._partitions[at].target < 0]
            for at, target in self._source.ends_now(unset).items():
                self._partitions[at].set(target=target)
            self._source.pause_some([at for at, start in partitions.items() if start >= self._partitions[at].target])

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Commit what is settled of these partitions, never more, and forget them."""
        positions = {at: offset for at, offset in self._tracker.committable().items() if at in set(partitions)}
        if positions and self._source.commit_now(positions, _STOP_S):
            self.on_committed(positions)
        self.on_lost(partitions)

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget partitions; what is in flight of them is delivered still, and committed no more."""
        self._tracker.drop(partitions)
        self._without_since = self._clock()
        for at in partitions:
            self._partitions.pop(at).free()
            self._paused.discard(at)
            del self._reached[at]

    def on_committed(self, positions: Mapping[TopicPartition, int]) -> None:
        """Kafka holds these positions."""
        self._report.committed()
        for at, offset in self._tracker.committed(positions).items():
            self._partitions[at].set(committed=offset)

    def on_gone(self, records: int) -> None:
        """Count records that nobody will ever read; the source says where and why."""
        self._row.add(lost_to_retention=records)
