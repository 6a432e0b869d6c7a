"""What a worker says of itself: for everything that leaves the happy path, one counter and one line, together, here.

Counters move at once. Lines of one kind are gathered for a while, so that a stream of bad records does not become a
second stream of log lines: the first is written at once, those that follow as one line with their number.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from shipper.kafka.trouble import Trouble
from shipper.logs import Level, Log
from shipper.loki.client import Attempt
from shipper.loki.verdict import LokiState, Outcome
from shipper.process.label_budget import LabelBudget
from shipper.process.row import Row
from shipper.process.slots import State
from shipper.records import Prepared, Reason, Rejected

_QUIET_S = 10.0
_TROUBLE_S = 40.0
"""Kafka's clients repeat themselves every 30 s while something is wrong: silent for longer, all is well again."""


@dataclass(slots=True)
class _Line:
    """What was said, and how much of the same was kept back since; the latest of it stands for all."""

    level: Level
    message: str
    context: dict[str, object]
    due: float
    number: int = 0


class Report:
    """Writes a worker's row of counters and its log. For one thread.

    Args:
        row: the worker's row.
        log: where lines go; bound to the worker.
        clock: monotonic seconds.
        now_ms: milliseconds since the epoch, for people.
        label_values_max: how many values a label may have before it is said.
    """

    def __init__(
        self,
        row: Row,
        log: Log,
        *,
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        label_values_max: int = 100,
    ) -> None:
        self.row = row
        self._log, self._clock, self._now_ms = log, clock, now_ms
        self._kept_back: dict[str, _Line] = {}
        self._loki, self._loki_since_ms = LokiState.OK, now_ms()
        self._budget = LabelBudget(label_values_max)
        self._in_flight = 0
        self._trouble_at: float | None = None
        self._trouble_since_ms = 0
        self._letters_stuck = self._commits_refused = False
        row.loki("ok", now_ms())
        row.kafka("ok", now_ms())

    def taken(self, prepared: Prepared) -> None:
        """A batch came from Kafka and was prepared: what is filtered is settled, the rest is in flight."""
        batch = prepared.batch
        filtered = sum(prepared.filtered.values())
        self._in_flight += len(batch) - filtered
        malformed = sum(prepared.malformed.values())
        with self.row as row:
            row.add(
                consumed=len(batch),
                filtered=filtered,
                in_flight=len(batch) - filtered,
                bytes_in=prepared.bytes_in,
                malformed=malformed,
                batches=1,
            )
            for rule, records in prepared.filtered.items():
                row.count("filtered", rule, records)
            for reason, records in prepared.malformed.items():
                row.count("malformed", reason, records)
            for label, demoted in prepared.demoted.items():
                row.count("demoted", label, demoted.records)
        self._kafka_answers()
        self._labels(prepared)
        for reason, records in prepared.malformed.items():
            self._say("warn", f"malformed.{reason}", "malformed records were shipped raw", records, reason=reason)

    def _labels(self, prepared: Prepared) -> None:
        """Labels make streams: say which values were kept from it, and which labels have too many left."""
        for label, (records, example) in prepared.demoted.items():
            text = "label values that look like ids, or are not allowed, went to structured metadata"
            self._say("warn", f"demoted.{label}", text, records, label=label, example=example)
        for label, values in prepared.label_values.items():
            if new := self._budget.see(label, values):
                self.row.label_values(label, number := self._budget.seen(label))
                if number > self._budget.values_max:
                    text = "a label has more values than label_values.budget, and Loki makes a stream of each"
                    self._say("error", f"label.{label}", text, len(new), label=label, values=number, examples=new[:3])

    def attempt(self, attempt: Attempt, record: str = "") -> None:
        """A push was tried; `record` is topic/partition/offset of a single entry that fails again and again."""
        with self.row as row:
            row.add(pushes=1, retries=int(not attempt.final), bytes_out=attempt.bytes_out)
            row.count("pushes", attempt.outcome)
            row.observe_push(attempt.seconds)
        state = attempt.state
        if state is not self._loki:
            self._loki, self._loki_since_ms = state, self._now_ms()
            if state is LokiState.OK:
                self.row.loki("ok", self._loki_since_ms)
                self._log("info", "Loki takes entries again")
        if state is not LokiState.OK:
            shown: State = "refusing" if state is LokiState.REFUSING else "retrying"
            self.row.loki(shown, self._loki_since_ms, attempt.detail)
        if attempt.outcome is not Outcome.DELIVERED:
            level: Level = "error" if state is LokiState.REFUSING else "warn"
            context = {"outcome": attempt.outcome, "detail": attempt.detail}
            self._say(level, f"push.{attempt.outcome}", "a push was not taken", 1, **context)
            if record:
                self._say(
                    "error", "stuck", "one record is not taken, and its partition waits", 1, record=record, **context
                )

    def delivered(self, entries: int) -> None:
        """Loki acknowledged entries."""
        self._settle(delivered=entries)
        self.row.progress(time.monotonic_ns())

    def rejected(self, record: str, rejected: Rejected) -> None:
        """A record is on its way to the dead letter topic."""
        self._say(
            "warn",
            f"rejected.{rejected.reason}",
            "records go to the dead letter topic",
            1,
            reason=rejected.reason,
            detail=rejected.detail,
            record=record,
        )

    def dead_lettered(self, reasons: Counter[Reason]) -> None:
        """The dead letter topic confirmed letters."""
        with self.row as row:
            self._settle(dead_lettered=reasons.total())
            for reason, letters in reasons.items():
                row.count("dead_lettered", reason, letters)
        self.row.progress(time.monotonic_ns())
        self._kafka_answers()

    def trouble(self, kind: Trouble, text: str) -> None:
        """Something went wrong with Kafka; whoever says so goes on by itself."""
        self.row.add(kafka_errors=1, commit_errors=int(kind is Trouble.COMMIT_FAILED))
        self._letters_stuck |= kind is Trouble.DEAD_LETTER_FAILED
        self._commits_refused |= kind is Trouble.COMMIT_FAILED
        if self._trouble_at is None:
            self._trouble_since_ms = self._now_ms()
        if self._trouble_at is None or kind is Trouble.DEAD_LETTER_FAILED:
            self.row.kafka("retrying", self._trouble_since_ms, text)
        self._trouble_at = self._clock()
        level: Level = "error" if kind is Trouble.OFFSET_OUT_OF_RANGE else "warn"
        self._say(level, f"{kind}.{text}" if kind is Trouble.OFFSET_OUT_OF_RANGE else kind, text, 1)

    def committed(self) -> None:
        """Kafka took a commit, so it answers."""
        self.row.add(commits=1)
        self._commits_refused = False
        self._kafka_answers()

    def tick(self, *, letters_stuck: bool, uncommitted: bool) -> None:
        """Some time has passed: lines that were kept back are due, and Kafka is well if nobody complained of it.

        Args:
            letters_stuck: whether the dead letter topic does not take a letter, though Kafka may answer all else.
            uncommitted: whether there is something to commit; if not, a commit that was refused is of no account.
        """
        self._letters_stuck = letters_stuck
        self._commits_refused &= uncommitted
        now = self._clock()
        for kind in [kind for kind, line in self._kept_back.items() if now >= line.due]:
            self._write(kind)
        if self._trouble_at is not None and self._clock() > self._trouble_at + _TROUBLE_S:
            self._kafka_answers()

    def _kafka_answers(self) -> None:
        if self._trouble_at is not None and not (self._letters_stuck or self._commits_refused):
            self._trouble_at = None
            self.row.kafka("ok", self._now_ms())

    def ended(self) -> None:
        """The worker ends; what is still in flight was not committed, and is consumed again by whoever comes next."""
        for kind in list(self._kept_back):
            self._write(kind)
        if records := self._in_flight:
            self._settle(abandoned=records)
            self._log("warn", "records in flight are given back to Kafka, uncommitted", records=records)

    def _settle(self, **slots: int) -> None:
        self._in_flight -= sum(slots.values())
        self.row.add(**slots, in_flight=-sum(slots.values()))

    def _say(self, level: Level, kind: str, message: str, number: int, **context: object) -> None:
        """Write a line at once, or add it to those of its kind that are kept back for a while."""
        line = self._kept_back.get(kind)
        if line is None:
            self._kept_back[kind] = _Line(level, message, context, self._clock() + _QUIET_S)
            self._log(level, message, number=number, **context)
        else:
            line.number += number
            line.message, line.context = message, context

    def _write(self, kind: str) -> None:
        line = self._kept_back.pop(kind)
        if line.number:
            self._say(line.level, kind, line.message, line.number, **line.context)
