"""Pushes to Loki: one at a time in each lane, tried again without end, narrowed down to the entries that are refused.

    submit() ─▶ the request's lane ─▶ POST ─▶ verdict ─▶ events ─▶ wait()
                 │  a thread each; `schedule`    │ NARROW: its halves, next
                 │  has what it pushes next      │ RETRY: the same bytes, after a while; others pass it
                 └───────────────────────────────┘

A submitted request is settled once every entry of it is delivered, or refused for good (`narrowing` has the rule); no
other way out exists but `stop`. Nothing here logs: events say everything.
"""

import queue
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from random import Random

import requests
import urllib3

from shipper.loki import connection
from shipper.loki.narrowing import Push
from shipper.loki.schedule import Schedule
from shipper.loki.verdict import Action, LokiState, Outcome, Verdict, judge, judge_failure, loki_state
from shipper.records import Delivery, PushRequest
from shipper.settings import Loki

# Loki quotes the stream before it says what is wrong: 15 labels of 2048 bytes, each byte four when it is escaped.
_ANSWER_BYTES_MAX = 262_144
# Answers are read as they are: what is not compressed cannot swell.
_HEADERS = {"Content-Type": "application/x-protobuf", "Accept-Encoding": "identity"}

_USER_INFO = re.compile(r"//[^/@\s]+@")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One HTTP try.

    Attributes:
        outcome: how it ended.
        seconds: how long it took.
        bytes_out: compressed bytes sent; 0 where the connection failed, since how much of them got out is unknown.
        detail: for a person, one line; empty when delivered.
        final: whether it settled its entries; if not, they are pushed again, together or in halves. Entries that were
            refused, as it seemed for good, are pushed again too if their request is held later.
        ticket: of the request that it was a part of.
        row: the row, in its batch, of a single entry that has ended at least five times in a row in a way that it may
            itself be the cause of (5xx, 429, timeout, not_loki), while others may well pass. None for all else.
        held: whether the request is held back, since all of it is refused alike.
        delivered: the entries that Loki took with it, for good; None for all other tries.
    """

    outcome: Outcome
    seconds: float
    bytes_out: int
    detail: str
    final: bool
    ticket: int = 0
    row: int | None = None
    held: bool = False
    delivered: PushRequest | None = None

    @property
    def state(self) -> LokiState:
        """How Loki is doing, judged by this try."""
        return LokiState.REFUSING if self.held else loki_state(self.outcome)


@dataclass(frozen=True, slots=True)
class Settled:
    """A submitted request of which every entry is delivered or refused for good; reported once."""

    ticket: int
    delivery: Delivery


Event = Attempt | Settled


@dataclass(frozen=True, slots=True, eq=False)
class _Lane:
    """What a lane's thread works with; who changes something that it may wait for wakes it."""

    schedule: Schedule
    session: requests.Session
    changed: threading.Condition


class Pusher:
    """Pushes requests to Loki, a thread to each lane. To be used by one thread.

    Args:
        settings: where Loki is, how long to wait and to back off; `in_flight_max` is the number of lanes.
        encode: makes the compressed body; called in the lanes' threads, once per try.
        random: jitter.
        session_factory: opens a session, one per lane; what it raises, the constructor raises.
        clock: seconds that never go back.
        now_s: seconds since the epoch, for dates in answers.
    """

    def __init__(
        self,
        settings: Loki,
        *,
        encode: Callable[[PushRequest], bytes],
        random: Random,
        session_factory: Callable[[Loki], requests.Session] = connection.session,
        clock: Callable[[], float] = time.monotonic,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._encode = encode
        self._random = random
        self._clock = clock
        self._now_s = now_s
        self._url = f"{settings.url.rstrip('/')}/loki/api/v1/push"
        self._timeout_s = settings.timeout_s
        self._events: queue.SimpleQueue[Event | Exception] = queue.SimpleQueue()
        # Guards the schedules, and what follows up to the limit.
        self._lock = threading.Lock()
        self._lanes = [
            _Lane(
                Schedule(settings.retry_wait_min_s, settings.retry_wait_max_s, random),
                session_factory(settings),
                threading.Condition(self._lock),
            )
            for _ in range(settings.in_flight_max)
        ]
        self._is_stopping = False
        self._turns: deque[_Lane] = deque()
        """Lanes with a request that is due, the longest-waiting first: they take turns where not all may push."""
        self._under_way = 0
        self._limit = settings.in_flight_max
        # Daemons: a push that hangs does not hold the process.
        self._threads = [
            threading.Thread(target=self._run, args=(lane,), name=f"loki-push-{index}", daemon=True)
            for index, lane in enumerate(self._lanes)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_behind(self) -> bool:
        """Whether in every lane a request waits for its turn: what is submitted now only waits too."""
        with self._lock:
            now_s = self._clock()
            return all(lane.schedule.is_waited_for(now_s) for lane in self._lanes)

    def limit(self, lanes: int) -> None:
        """Let so many lanes push at once, from the next try on."""
        if lanes != self._limit:
            with self._lock:
                self._limit = lanes
                self._wake(self._turns)

    def submit(self, ticket: int, request: PushRequest) -> None:
        """Have a request pushed; `wait` reports its ticket once it is settled. Never blocks."""
        lane = self._lanes[request.lane]
        with self._lock:
            lane.schedule.add(Push(ticket, request), self._clock())
            lane.changed.notify()

    def wait(self, timeout_s: float) -> list[Event]:
        """Give all events since the last call, in order; waits up to `timeout_s` for the first (0: not at all).

        Raises: whatever ended a push thread. Only a mistake in the program does.
        """
        events: list[Event] = []
        try:
            event = self._events.get(block=timeout_s > 0, timeout=timeout_s)
            while True:
                if isinstance(event, Exception):
                    raise event
                events.append(event)
                event = self._events.get_nowait()
        except queue.Empty:
            return events

    def stop(self, timeout_s: float) -> None:
        """Start nothing more, abandon all back-off at once, and wait up to `timeout_s` for the tries that run.

        What is not settled then never will be; `wait(0)` still gives the events of the last tries.
        """
        with self._lock:
            self._is_stopping = True
            self._wake(self._lanes)
        deadline = self._clock() + timeout_s
        for thread in self._threads:
            thread.join(max(deadline - self._clock(), 0))

    def _run(self, lane: _Lane) -> None:
        try:
            with lane.session:
                while (push := self._take(lane)) is not None:
                    verdict = self._try_next(push, lane.session)
                    self._put_back(lane, push, verdict)
        except Exception as error:  # noqa: BLE001 a thread's top: wait() raises it, so that no push stalls in silence
            self._events.put(error)

    def _take(self, lane: _Lane) -> Push | None:
        """Wait for the request that this lane is to push next; None when stopping."""
        with self._lock:
            while not self._is_stopping:
                now_s = self._clock()
                wait_s = lane.schedule.wait_s(now_s)
                if wait_s is not None and wait_s <= 0:
                    if lane not in self._turns:
                        self._turns.append(lane)
                    if self._turns.index(lane) < self._limit - self._under_way:
                        self._turns.remove(lane)
                        self._under_way += 1
                        return lane.schedule.take(now_s)
                    wait_s = None
                lane.changed.wait(wait_s)
            return None

    def _put_back(self, lane: _Lane, push: Push, verdict: Verdict) -> None:
        with self._lock:
            self._under_way -= 1
            lane.schedule.tried(push, verdict, self._clock())
            self._wake(self._turns)
        if not push.parts:
            self._events.put(Settled(push.ticket, push.delivery()))

    def _wake(self, lanes: Iterable[_Lane]) -> None:
        for lane in lanes:
            lane.changed.notify()

    def _try_next(self, push: Push, session: requests.Session) -> Verdict:
        """Try the part that is next, tell how it ended, and return what is to be done with the request."""
        part = push.parts.popleft()
        body = self._encode(part.request)
        began = self._clock()
        verdict = self._send(session, body)
        seconds = self._clock() - began
        bytes_out = 0 if verdict.outcome is Outcome.CONNECTION else len(body)
        push.bytes_out += bytes_out
        final = push.apply(verdict, part)
        held = push.hold(self._random)
        self._events.put(
            Attempt(
                verdict.outcome,
                seconds,
                bytes_out,
                verdict.detail,
                final=final and not held,
                ticket=push.ticket,
                row=part.failing_row,
                held=held,
                delivered=part.request if final and verdict.action is Action.DELIVERED else None,
            )
        )
        return replace(verdict, action=Action.RETRY) if held else verdict

    def _send(self, session: requests.Session, body: bytes) -> Verdict:
        """Send a body and judge the answer; blocks for at most a few times `timeout_s`."""
        timeouts_s = (self._timeout_s, self._timeout_s)
        try:
            with session.post(self._url, body, headers=_HEADERS, timeout=timeouts_s, stream=True) as answer:
                return judge(answer.status_code, answer.headers, self._text(answer), now_s=self._now_s())
        except (OSError, urllib3.exceptions.HTTPError) as error:
            return judge_failure(self._failure(error))

    def _text(self, answer: requests.Response) -> str:
        """Read the body as far as it is bounded in bytes and in time; reading to its end keeps the connection."""
        deadline = self._clock() + self._timeout_s
        read = b""
        while len(read) < _ANSWER_BYTES_MAX and self._clock() < deadline:
            chunk: bytes = answer.raw.read1(_ANSWER_BYTES_MAX - len(read))
            if not chunk:
                break
            read += chunk
        return read.decode(errors="replace")

    def _failure(self, error: Exception) -> Exception:
        """Say in one sentence what `requests` wraps several times over."""
        root = _root(error)
        url = _USER_INFO.sub("//", self._url)
        if isinstance(error, requests.ConnectTimeout):
            return ConnectionError(f"{url}: no connection within {self._timeout_s:g} s")
        if isinstance(root, TimeoutError) or isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
            return TimeoutError(f"{url}: no answer within {self._timeout_s:g} s")
        return ConnectionError(f"{url}: {_USER_INFO.sub('//', str(root) or type(root).__name__)}")


def _root(error: BaseException) -> BaseException:
    """Find what began a chain of errors, and take their tracebacks off.

    urllib3's frames and errors hold each other, and the body with them: where the cyclic garbage collector is off, as
    it may be in a worker, every failure would keep its body for ever.
    """
    error.__traceback__ = None
    while cause := error.__cause__ or error.__context__:
        error = cause
        error.__traceback__ = None
    return error
