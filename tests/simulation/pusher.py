"""The pusher without threads: which lane's push reaches Loki next, and when its answer is read, is the seed's affair.

What a lane pushes next (`schedule.Schedule`), what a push is (`narrowing.Push`), and what an answer means
(`verdict.judge`) are the shipper's own.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from shipper.loki import encode
from shipper.loki.client import Attempt, Event, Settled
from shipper.loki.narrowing import Part, Push
from shipper.loki.schedule import Schedule
from shipper.loki.verdict import Action, Outcome, Verdict, judge, judge_failure
from shipper.records import PushRequest
from shipper.settings import Loki
from simulation.loki import Answer, SimulatedLoki
from simulation.world import BrokenPromiseError, World

_SOON_S = 0.001


class SimulatedPusher:
    """What `loki.client.Pusher` is to a worker.

    Args:
        world: time and chance.
        loki: where the pushes go.
        settings: how many lanes, and how long to back off.
        name: of the process, for the story.
        way_s: says how long a push that begins now is on its way to Loki at most, and as long back.
    """

    def __init__(
        self, world: World, loki: SimulatedLoki, settings: Loki, name: str, way_s: Callable[[], float]
    ) -> None:
        self._world, self._loki, self._settings, self._name, self._way_s = world, loki, settings, name, way_s
        self._schedules = [
            Schedule(settings.retry_wait_min_s, settings.retry_wait_max_s, world.random)
            for _ in range(settings.in_flight_max)
        ]
        self._limit = settings.in_flight_max
        self._wakes_s = math.inf
        self._under_way: dict[Schedule, set[bytes]] = {}
        """By lane the streams that its push writes to."""
        self._events: list[Event] = []
        self._is_stopping = False
        self.is_frozen = False
        """Whether its process stands still: what is on its way arrives, and nothing new is sent."""
        self._thawed: list[Callable[[], None]] = []

    @property
    def is_behind(self) -> bool:
        return all(schedule.is_waited_for(self._world.now_s) for schedule in self._schedules)

    def limit(self, lanes: int) -> None:
        self._limit = lanes

    def submit(self, ticket: int, request: PushRequest) -> None:
        self._schedules[request.lane].add(Push(ticket, request), self._world.now_s)
        self._wake_in(_SOON_S)

    def wait(self, timeout_s: float) -> list[Event]:
        if timeout_s > 0:
            self._world.advance(timeout_s, lambda: self._events)
        events, self._events = self._events, []
        return events

    def stop(self, timeout_s: float) -> None:
        self._is_stopping = True
        self._world.advance(timeout_s, lambda: not self._under_way)

    def die(self) -> None:
        """End with the process, at once; what left it already arrives."""
        self._is_stopping = True

    def thaw(self) -> None:
        """Go on after the process stood still."""
        self.is_frozen = False
        thawed, self._thawed = self._thawed, []
        for action in thawed:
            action()
        self._go_on()

    def _go_on(self) -> None:
        """Push what is due, as far as the limit allows; the lanes take turns as chance has it."""
        if self._is_stopping or self.is_frozen:
            return
        lanes = list(self._schedules)
        self._world.random.shuffle(lanes)
        for schedule in lanes:
            wait_s = schedule.wait_s(self._world.now_s)
            if wait_s is not None and wait_s > 0:
                self._wake_in(wait_s + _SOON_S)
            elif len(self._under_way) < self._limit and (push := schedule.take(self._world.now_s)):
                self._send(schedule, push)

    def _wake_in(self, seconds: float) -> None:
        """Go on after a while, unless it is to go on before that anyway, and looks again then."""
        if self._world.now_s + seconds < self._wakes_s:
            self._wakes_s = self._world.now_s + seconds
            self._world.later(seconds, self._wake)

    def _wake(self) -> None:
        self._wakes_s = math.inf
        self._go_on()

    def _send(self, schedule: Schedule, push: Push) -> None:
        part = push.parts.popleft()
        self._begin(schedule, part)
        body = encode.compress(encode.encode(part.request))
        began_s, way_s = self._world.now_s, self._way_s()

        def arrive() -> None:
            what, answer = self._loki.take(body)
            self._world.tell("loki", f"{self._name}'s push of ticket {push.ticket}, {what}")
            takes_s = self._settings.timeout_s if isinstance(answer.failure, TimeoutError) else way_s
            answered = partial(self._answered, schedule, push, part, answer, len(body), began_s)
            self._world.later(self._world.random.uniform(0, takes_s), answered)

        self._world.later(self._world.random.uniform(_SOON_S, way_s), arrive)

    def _begin(self, schedule: Schedule, part: Part) -> None:
        """Note that a push is under way: two at once must not write to one stream (docs/decisions/0011-lanes.md)."""
        labels = _labels(part.request)
        if twice := labels.intersection(label for others in self._under_way.values() for label in others):
            raise BrokenPromiseError(f"{self._name} pushes to {sorted(twice)} twice at once")
        self._under_way[schedule] = labels

    def _answered(
        self, schedule: Schedule, push: Push, part: Part, answer: Answer, body_bytes: int, began_s: float
    ) -> None:
        if self.is_frozen:
            self._thawed.append(partial(self._answered, schedule, push, part, answer, body_bytes, began_s))
            return
        verdict = self._verdict(answer)
        bytes_out = 0 if verdict.outcome is Outcome.CONNECTION else body_bytes
        push.bytes_out += bytes_out
        final = push.apply(verdict, part)
        held = push.hold(self._world.random)
        self._events.append(
            Attempt(
                verdict.outcome,
                self._world.now_s - began_s,
                bytes_out,
                verdict.detail,
                final=final and not held,
                ticket=push.ticket,
                row=part.failing_row,
                held=held,
                delivered=part.request if final and verdict.action is Action.DELIVERED else None,
            )
        )
        del self._under_way[schedule]
        schedule.tried(push, replace(verdict, action=Action.RETRY) if held else verdict, self._world.now_s)
        if not push.parts:
            self._events.append(Settled(push.ticket, push.delivery()))
        self._go_on()

    def _verdict(self, answer: Answer) -> Verdict:
        if answer.failure is not None:
            return judge_failure(answer.failure)
        headers = {"Retry-After": answer.retry_after} if answer.retry_after else {}
        return judge(answer.status, headers, answer.text, now_s=self._world.now_ns() / 1e9)


def _labels(request: PushRequest) -> set[bytes]:
    """Return the streams that a request writes to."""
    streams, first, last = request.streams, request.first, request.last
    begins = streams.bounds.tolist()
    return {
        label
        for label, begin, end in zip(streams.labels, begins, begins[1:], strict=False)
        if max(begin, first) < min(end, last)
    }
