"""Pushes to Loki: some in flight at once, tried again without end, narrowed down to the entries that are refused.

    submit() ─▶ push threads ─▶ POST ─▶ verdict ─▶ events ─▶ wait()
                    │  encode once      │ NARROW: its halves, next
                    └───────────────────┘ RETRY: the same bytes, after a while

A submitted request is pushed in parts, one at first. It is settled once every part is delivered, or is a single entry
that is refused for good; no other way out exists but `stop`. Nothing here logs: events say everything.
"""

import queue
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import requests
import tenacity
import urllib3

from shipper.loki import connection
from shipper.loki.verdict import Action, Outcome, Verdict, judge, judge_failure
from shipper.records import Delivery, PushRequest, Rejected
from shipper.settings import Loki

_ANSWER_BYTES_MAX = 65_536
# Answers are read as they are: what is not compressed cannot swell.
_HEADERS = {"Content-Type": "application/x-protobuf", "Accept-Encoding": "identity"}

# A request that ends so this often in a row may itself be the cause (over a gRPC bound or a burst: 500, 429 for ever),
# so its halves are tried. An outage makes more parts of it, but only one per so many tries.
_HALVED_AFTER = 5
_HALVED_ON = (Outcome.SERVER_ERROR, Outcome.TIMEOUT, Outcome.RATE_LIMITED)

_USER_INFO = re.compile(r"//[^/@\s]+@")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One HTTP try.

    Attributes:
        outcome: how it ended.
        seconds: how long it took.
        bytes_out: compressed bytes sent; 0 where the connection failed, since how much of them got out is unknown.
        detail: for a person, one line; empty when delivered.
        final: whether it settled its entries; if not, they are pushed again, together or in halves.
    """

    outcome: Outcome
    seconds: float
    bytes_out: int
    detail: str
    final: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """A submitted request of which every entry is delivered or refused for good; reported once."""

    ticket: int
    delivery: Delivery


Event = Attempt | Settled


@dataclass(slots=True)
class _Part:
    """Entries that are pushed together."""

    request: PushRequest
    body: bytes = b""
    """Compressed; empty before the first try."""
    failures: int = 0
    """How many times in a row it ended in one of `_HALVED_ON`."""

    def halves(self) -> tuple["_Part", "_Part"]:
        first, second = self.request.halves()
        return _Part(first), _Part(second)


@dataclass(slots=True)
class _Push:
    """A submitted request on its way."""

    ticket: int
    request: PushRequest
    parts: deque[_Part]
    refused: list[Rejected] = field(default_factory=list)
    bytes_out: int = 0


class Pusher:
    """Pushes requests to Loki from threads of its own. To be used by one thread.

    Args:
        settings: where Loki is, how long to wait and to back off.
        encode: makes the compressed body; called in the push threads, once per part.
        session_factory: opens a session, one per push thread; what it raises, the constructor raises.
        random: jitter.
        threads: pushes in flight; `settings.in_flight_max` by default.
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
        threads: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._encode = encode
        self._random = random
        self._clock = clock
        self._now_s = now_s
        self._url = f"{settings.url.rstrip('/')}/loki/api/v1/push"
        self._timeout_s = settings.timeout_s
        self._wait_min_s = settings.retry_wait_min_s
        self._ceiling_s = tenacity.wait_exponential(2 * settings.retry_wait_min_s, settings.retry_wait_max_s)
        self._stopping = threading.Event()
        self._pushes: queue.SimpleQueue[_Push | None] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[Event | Exception] = queue.SimpleQueue()
        self._unsettled = 0
        sessions = [session_factory(settings) for _ in range(threads or settings.in_flight_max)]
        # Daemons: a push that hangs does not hold the process.
        self._threads = [
            threading.Thread(target=self._run, args=(one,), name=f"loki-push-{index}", daemon=True)
            for index, one in enumerate(sessions)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def free(self) -> int:
        """How many more requests are pushed at once; what is submitted beyond waits, unbounded, so do not."""
        return len(self._threads) - self._unsettled

    def submit(self, ticket: int, request: PushRequest) -> None:
        """Have a request pushed; `wait` reports its ticket once it is settled. Never blocks."""
        self._unsettled += 1
        self._pushes.put(_Push(ticket, request, deque([_Part(request)])))

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
                self._unsettled -= isinstance(event, Settled)
                event = self._events.get_nowait()
        except queue.Empty:
            return events

    def stop(self, timeout_s: float) -> None:
        """Start nothing more, abandon all back-off at once, and wait up to `timeout_s` for the tries that run.

        What is not settled then never will be; `wait(0)` still gives the events of the last tries.
        """
        self._stopping.set()
        for _ in self._threads:
            self._pushes.put(None)
        deadline = self._clock() + timeout_s
        for thread in self._threads:
            thread.join(max(deadline - self._clock(), 0))

    def _run(self, session: requests.Session) -> None:
        try:
            with session:
                while (push := self._pushes.get()) is not None:
                    self._settle(push, session)
        except Exception as error:  # noqa: BLE001 a thread's top: wait() raises it, so that no push stalls in silence
            self._events.put(error)

    def _settle(self, push: _Push, session: requests.Session) -> None:
        """Push all parts, or return early when stopping."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda verdict: verdict is not None and verdict.action is Action.RETRY),
            wait=self._wait_s,
            sleep=tenacity.sleep_using_event(self._stopping),
        )
        while push.parts:
            if retrying(self._try_next, push, session) is None:
                return
        refused = tuple(sorted(push.refused, key=lambda rejected: rejected.row))
        self._events.put(Settled(push.ticket, Delivery(push.request, refused, push.bytes_out)))

    def _try_next(self, push: _Push, session: requests.Session) -> Verdict | None:
        """Try the part that is next; None when stopping."""
        if self._stopping.is_set():
            return None
        part = push.parts.popleft()
        part.body = part.body or self._encode(part.request)
        began = self._clock()
        verdict = self._send(session, part.body)
        seconds = self._clock() - began
        bytes_out = 0 if verdict.outcome is Outcome.CONNECTION else len(part.body)
        push.bytes_out += bytes_out
        final = self._apply(verdict, part, push)
        self._events.put(Attempt(verdict.outcome, seconds, bytes_out, verdict.detail, final))
        return verdict

    def _apply(self, verdict: Verdict, part: _Part, push: _Push) -> bool:
        """Do with a part as the verdict says; returns whether it is settled.

        A part that failed goes behind the others, so that one poisonous entry does not keep its neighbours waiting.
        Halves of a refused one go first: they lead to the guilty in 2 k log2 n pushes or fewer.
        """
        match verdict.action:
            case Action.DELIVERED:
                return True
            case Action.NARROW if len(part.request) == 1:
                row = int(part.request.streams.rows[part.request.first])
                push.refused.append(Rejected(row, verdict.reason, verdict.detail))
                return True
            case Action.NARROW:
                push.parts.extendleft(reversed(part.halves()))
            case Action.RETRY:
                part.failures = part.failures + 1 if verdict.outcome in _HALVED_ON else 0
                halve = part.failures >= _HALVED_AFTER and len(part.request) > 1
                push.parts.extend(part.halves() if halve else (part,))
        return False

    def _wait_s(self, state: tenacity.RetryCallState) -> float:
        """Seconds until the next try, jittered so that requests that failed together do not return together."""
        verdict = state.outcome and state.outcome.result()
        if verdict and verdict.retry_after_s is not None:
            return float(verdict.retry_after_s) + self._random.uniform(0, self._wait_min_s)
        return self._random.uniform(self._wait_min_s, self._ceiling_s(state))

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
