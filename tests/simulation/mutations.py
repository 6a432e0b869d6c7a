"""The engine, broken on purpose: one promise each. A simulation that lets one of these pass is worth nothing.

Each mutation replaces a function of the engine by one that makes the mistake which its name says.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from shipper.kafka import assignment, partitions
from shipper.kafka.dlq import DeadLetters
from shipper.kafka.offsets import OffsetTracker, _Holding
from shipper.kafka.partitions import Partitions
from shipper.kafka.reader import Reader
from shipper.kafka.source import Source
from shipper.loki.lanes import Lanes
from shipper.loki.narrowing import Part, Push
from shipper.loki.schedule import Schedule
from shipper.loki.verdict import Action, Outcome, Verdict, judge, judge_failure
from shipper.process.flight import Flight, Flights
from shipper.process.report import Report
from shipper.process.row import Row
from shipper.process.worker import Worker
from shipper.records import Prepared, Span, TopicPartition

Mutation = Callable[[pytest.MonkeyPatch], None]
MUTATIONS: dict[str, Mutation] = {}


def mutation(apply: Mutation) -> Mutation:
    """Add a mutation to the table, under its function's name."""
    MUTATIONS[apply.__name__] = apply
    return apply


# --- what may be committed


@mutation
def commits_one_too_far(patch: pytest.MonkeyPatch) -> None:
    original = OffsetTracker.committable
    patch.setattr(OffsetTracker, "committable", lambda self: {at: offset + 1 for at, offset in original(self).items()})


@mutation
def commits_past_a_gap(patch: pytest.MonkeyPatch) -> None:
    def advance(self: _Holding) -> None:
        settled = [run.span.next_offset for run in self.runs if run.settled]
        self.position = max([self.position, *settled])
        while self.runs and self.runs[0].settled:
            self.runs.popleft()

    patch.setattr(_Holding, "advance", advance)


@mutation
def commits_what_was_taken_when_a_partition_is_revoked(patch: pytest.MonkeyPatch) -> None:
    def on_revoked(self: Worker, revoked: Sequence[TopicPartition]) -> None:
        self._source.commit_now({at: self._reached[at] for at in revoked}, 5.0)
        self.on_lost(revoked)

    patch.setattr(Worker, "on_revoked", on_revoked)


@mutation
def commits_what_was_lost(patch: pytest.MonkeyPatch) -> None:
    original = Worker.on_lost

    def on_lost(self: Worker, lost: Sequence[TopicPartition]) -> None:
        positions = {at: offset for at, offset in self._tracker.committable().items() if at in lost}
        self._source.commit_now(positions, 5.0)
        original(self, lost)

    patch.setattr(Worker, "on_lost", on_lost)


@mutation
def lets_an_old_batch_settle_a_partition_that_came_back(patch: pytest.MonkeyPatch) -> None:
    def settled(self: OffsetTracker, ticket: int, places: Sequence[TopicPartition]) -> list[Span]:
        runs = [run for _, run in self._batches.get(ticket, ()) if run.span.at in places]
        ours = [run for run in runs if run.span.at in self._holdings]
        for run in ours:
            holding = self._holdings[run.span.at]
            holding.position = max(holding.position, run.span.next_offset)
        return [run.span for run in ours]

    patch.setattr(OffsetTracker, "settled", settled)
    patch.setattr(OffsetTracker, "drop", lambda self, lost: [self._holdings.pop(at, None) for at in lost])


@mutation
def believes_the_late_answer_to_a_commit_of_an_old_holding(patch: pytest.MonkeyPatch) -> None:
    def committed(self: OffsetTracker, positions: Mapping[TopicPartition, int]) -> None:
        for at, position in positions.items():
            if at in self._holdings:
                self._holdings[at].committed = max(self._holdings[at].committed, position)

    patch.setattr(OffsetTracker, "committed", committed)


@mutation
def takes_a_refused_commit_for_taken(patch: pytest.MonkeyPatch) -> None:
    original = Source._on_commit
    patch.setattr(Source, "_on_commit", lambda self, _error, positions: original(self, None, positions))


@mutation
def keeps_what_it_held_of_a_partition_that_began_anew(patch: pytest.MonkeyPatch) -> None:
    def assigned(self: OffsetTracker, at: TopicPartition, start: int) -> None:
        self._holdings.setdefault(at, _Holding(start)).taken_to = start

    begin = Partitions._begin

    def _begin(self: Partitions, *arguments: Any) -> None:  # noqa: ANN401 - handed on
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Worker, "on_lost", lambda _self, _lost: None)
            begin(self, *arguments)

    patch.setattr(OffsetTracker, "assigned", assigned)
    patch.setattr(Partitions, "_begin", _begin)


@mutation
def never_commits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OffsetTracker, "committable", lambda _self: {})


@mutation
def ends_before_it_has_caught_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Worker, "_is_caught_up", lambda self: self._until_caught_up and not len(self._flights))


# --- what was delivered


@mutation
def acknowledges_before_loki_has_answered(patch: pytest.MonkeyPatch) -> None:
    started: dict[tuple[Flights, int], Flight] = {}
    original, settle = Flights.start, Flights.delivered

    def start(self: Flights, prepared: Prepared) -> int:
        ticket = original(self, prepared)
        started[self, ticket] = self._flights[ticket]
        for request in prepared.requests:
            settle(self, ticket, request)
        return ticket

    def finish(self: Flights, ticket: int) -> list[TopicPartition]:
        return finish_open(self, ticket) if ticket in self._flights else []

    finish_open = Flights.finish
    patch.setattr(Flights, "start", start)
    patch.setattr(Flights, "finish", finish)
    patch.setattr(Flights, "delivered", lambda *_: None)
    patch.setattr(Flights, "__getitem__", lambda self, ticket: started[self, ticket])


@mutation
def settles_a_partition_with_its_neighbour(patch: pytest.MonkeyPatch) -> None:
    original = Flights.finish

    def finish(self: Flights, ticket: int) -> list[TopicPartition]:
        batch = self[ticket].batch
        return [span.at for span in batch.spans] if original(self, ticket) else []

    patch.setattr(Flights, "finish", finish)


@mutation
def pushes_to_a_stream_twice_at_once(patch: pytest.MonkeyPatch) -> None:
    turns = count()

    def of(self: Lanes, labels: Sequence[bytes], _: Sequence[int]) -> list[int]:
        return [next(turns) % len(self._bytes) for _ in labels]

    patch.setattr(Lanes, "of", of)


def _takes_for_delivered(patch: pytest.MonkeyPatch, *outcomes: Outcome) -> None:
    def taken(verdict: Verdict) -> Verdict:
        return Verdict(Action.DELIVERED, Outcome.DELIVERED) if verdict.outcome in outcomes else verdict

    patch.setattr("simulation.pusher.judge", lambda *answer, **more: taken(judge(*answer, **more)))
    patch.setattr("simulation.pusher.judge_failure", lambda error: taken(judge_failure(error)))


@mutation
def acknowledges_a_5xx(patch: pytest.MonkeyPatch) -> None:
    _takes_for_delivered(patch, Outcome.SERVER_ERROR)


@mutation
def acknowledges_a_429(patch: pytest.MonkeyPatch) -> None:
    _takes_for_delivered(patch, Outcome.RATE_LIMITED, Outcome.STREAM_LIMIT)


@mutation
def acknowledges_a_timeout(patch: pytest.MonkeyPatch) -> None:
    _takes_for_delivered(patch, Outcome.TIMEOUT)


@mutation
def acknowledges_a_broken_connection(patch: pytest.MonkeyPatch) -> None:
    _takes_for_delivered(patch, Outcome.CONNECTION)


@mutation
def acknowledges_a_401(patch: pytest.MonkeyPatch) -> None:
    _takes_for_delivered(patch, Outcome.UNAUTHORIZED)


@mutation
def acknowledges_every_2xx(patch: pytest.MonkeyPatch) -> None:
    _takes_for_delivered(patch, Outcome.BLOCKED)


@mutation
def drops_what_failed_three_times(patch: pytest.MonkeyPatch) -> None:
    def taken(verdict: Verdict, failures: int) -> Verdict:
        return Verdict(Action.DELIVERED, Outcome.DELIVERED) if failures > 2 else verdict

    apply, tried = Push.apply, Schedule.tried
    patch.setattr(Push, "apply", lambda self, verdict, part: apply(self, taken(verdict, part.failures), part))
    patch.setattr(
        Schedule,
        "tried",
        lambda self, push, verdict, now_s: tried(self, push, taken(verdict, 0 if push.parts else 3), now_s),
    )


@mutation
def drops_a_whole_request_for_one_guilty_entry(patch: pytest.MonkeyPatch) -> None:
    def apply(self: Push, verdict: Verdict, part: Part) -> bool:
        if verdict.action is Action.NARROW and verdict.outcome is Outcome.REFUSED_ENTRIES:
            return True
        return original(self, verdict, part)

    original = Push.apply
    patch.setattr(Push, "apply", apply)


@mutation
def buries_what_a_proxy_refuses(patch: pytest.MonkeyPatch) -> None:
    def judged(status: int, *arguments: Any, **more: Any) -> Verdict:  # noqa: ANN401 - handed on
        verdict = judge(status, *arguments, **more)
        return replace(verdict, action=Action.NARROW) if verdict.outcome is Outcome.NOT_LOKI else verdict

    patch.setattr("simulation.pusher.judge", judged)
    patch.setattr(Push, "hold", lambda _self, _random: False)


@mutation
def sends_one_half_only(patch: pytest.MonkeyPatch) -> None:
    original = Part.halves
    patch.setattr(Part, "halves", lambda self: original(self)[:1])


@mutation
def makes_other_bytes_of_what_is_read_again(patch: pytest.MonkeyPatch) -> None:
    calls = Counter[str]()

    def resolve(ns: Any, *_: Any) -> Any:  # noqa: ANN401 - arrays
        calls["resolve"] += 1
        return ns + calls["resolve"]

    patch.setattr("shipper.transform.timestamp.resolve", resolve)


# --- dead letters


@mutation
def takes_a_sent_letter_for_confirmed(patch: pytest.MonkeyPatch) -> None:
    def send(self: DeadLetters, ticket: int, *arguments: Any) -> None:  # noqa: ANN401 - handed on
        original(self, ticket, *arguments)
        if ticket in self._unconfirmed and ticket not in self._confirmed:
            self._confirmed.append(ticket)

    original = DeadLetters.send
    patch.setattr(DeadLetters, "send", send)
    patch.setattr(DeadLetters, "_on_delivery", lambda self, letter, *_: self._sent.discard(letter))


@mutation
def takes_a_refused_letter_for_confirmed(patch: pytest.MonkeyPatch) -> None:
    original = DeadLetters._on_delivery
    patch.setattr(
        DeadLetters, "_on_delivery", lambda self, letter, _error, message: original(self, letter, None, message)
    )


@mutation
def goes_on_with_a_producer_that_broke(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("shipper.kafka.dlq.is_fatal", lambda _: False)


@mutation
def passes_over_what_loki_refuses(patch: pytest.MonkeyPatch) -> None:
    original = Push.delivery
    patch.setattr(Push, "delivery", lambda self: replace(original(self), refused=()))


# --- where reading goes on


@mutation
def begins_behind_what_was_deleted_without_a_word(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Worker, "on_gone", lambda _self, _records: None)


@mutation
def begins_at_the_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(partitions, "start_offset", lambda _due, *, high, **_: assignment.Start(high))


@mutation
def saves_no_starts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Partitions, "_save_starts", lambda _self, _offsets: None)


@mutation
def ships_what_was_taken_away_while_it_polled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reader, "forget", lambda _self, _partitions: None)
    patch.setattr(Worker, "_due", lambda _self, batch: batch)


@mutation
def stays_paused(patch: pytest.MonkeyPatch) -> None:
    original = Partitions.hold_back
    patch.setattr(Partitions, "hold_back", lambda self, paused: original(self, {*paused, *self.held_back}))


@mutation
def forgets_a_partition_that_broke_off(patch: pytest.MonkeyPatch) -> None:
    original = Partitions.break_off

    def break_off(self: Partitions, at: TopicPartition, due: int | None) -> None:
        original(self, at, due)
        self.unplaced.clear()

    patch.setattr(Partitions, "break_off", break_off)


@mutation
def takes_more_than_it_has_room_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Flights, "may_take", lambda _self, _at: True)


# --- what is counted


@mutation
def counts_a_letter_as_delivered_too(patch: pytest.MonkeyPatch) -> None:
    original = Report.dead_lettered

    def dead_lettered(self: Report, reasons: Counter[Any]) -> None:
        original(self, reasons)
        self.row.add(delivered=reasons.total())

    patch.setattr(Report, "dead_lettered", dead_lettered)


@mutation
def does_not_count_what_is_filtered(patch: pytest.MonkeyPatch) -> None:
    original = Row.add

    def add(self: Row, **deltas: int) -> None:
        original(self, **{name: 0 if name == "filtered" else delta for name, delta in deltas.items()})

    patch.setattr(Row, "add", add)


@mutation
def forgets_what_a_dead_worker_had_in_flight(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Row, "repair", lambda _self: None)
