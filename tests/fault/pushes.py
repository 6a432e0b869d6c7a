"""What the tests of pushing share: requests, a Loki that stores, and a pusher to watch."""

import random
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import numpy as np

from fault.server import WAIT_S, Answer, FaultServer, Push, Script
from loki_proto import Entry, Stream, encode_push
from shipper.loki.client import Attempt, Event, Pusher, Settled
from shipper.records import PushRequest, StreamSet
from shipper.settings import Loki

OK = Answer()
HTML = "<html><head><title>nginx</title></head></html>"
ROW_OF_FIRST = 1_000


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 what is random here is no secret


def request_of(lines: list[str], lane: int = 0) -> PushRequest:
    """A request whose rows are not its positions. Its entries are the bare lines: `encode` makes protobuf of them."""
    positions = np.cumsum([0, *map(len, lines)], dtype=np.int64)
    rows = np.arange(len(lines), dtype=np.int64)[::-1] + ROW_OF_FIRST
    bounds = np.array([0, len(lines)], dtype=np.int64)
    streams = StreamSet(
        labels=(b'{service="chat"}',),
        lanes=np.array([lane], dtype=np.int64),
        bounds=bounds,
        entries="".join(lines).encode(),
        positions=positions,
        rows=rows,
        partitions=np.zeros(len(lines), dtype=np.int32),
    )
    return PushRequest(streams, 0, len(lines), lane)


def encode(request: PushRequest) -> bytes:
    streams, at = request.streams, request.streams.positions
    lines = [streams.entries[at[entry] : at[entry + 1]].decode() for entry in range(request.first, request.last)]
    return encode_push([Stream('{service="chat"}', tuple(Entry(10**9, line) for line in lines))])


def lines_of(count: int) -> list[str]:
    return [f"line-{number:04}" for number in range(count)]


def row_of(lines: list[str], line: str) -> int:
    return ROW_OF_FIRST + len(lines) - 1 - lines.index(line)


class Storing:
    """A Loki that refuses the guilty lines, stores the others, and answers 500 to all that holds a poisonous one."""

    def __init__(self, guilty: set[str] | None = None, poisonous: set[str] | None = None) -> None:
        self.guilty, self.poisonous = guilty or set(), poisonous or set()
        self.stored: Counter[str] = Counter()

    def __call__(self, push: Push) -> Answer:
        lines = push.lines
        if self.poisonous.intersection(lines):
            return Answer(500, "rpc error: code = ResourceExhausted")
        self.stored.update(line for line in lines if line not in self.guilty)
        found = [line for line in lines if line in self.guilty]
        if not found:
            return OK
        text = f"entry for stream '{{service=\"chat\"}}' has timestamp too old: {found[0]}\n"
        return Answer(400, text, {"Content-Type": "text/plain; charset=utf-8"})


@contextmanager
def serving(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[FaultServer]:
    with FaultServer(script, tls) as server:
        yield server.start()


@contextmanager
def pushing(url: str, **settings: str | float) -> Iterator[Pusher]:
    quick = {"timeout_s": 5.0, "retry_wait_min_s": 0.002, "retry_wait_max_s": 0.02, "in_flight_max": 2}
    pusher = Pusher(msgspec.structs.replace(Loki(url=url), **(quick | settings)), encode=encode, random=seeded(1))
    try:
        yield pusher
    finally:
        pusher.stop(1)


def events_until(pusher: Pusher, enough: Callable[[list[Event]], object]) -> list[Event]:
    """All events up to the moment when they are enough; fails when that does not come."""
    events: list[Event] = []
    deadline = time.monotonic() + WAIT_S
    while not enough(events):
        assert time.monotonic() < deadline, f"only {events[-20:]}"
        events += pusher.wait(0.1)
    return events


def attempts(events: list[Event]) -> list[Attempt]:
    return [event for event in events if isinstance(event, Attempt)]


def settled(events: list[Event]) -> list[Settled]:
    return [event for event in events if isinstance(event, Settled)]


def settle(pusher: Pusher, request: PushRequest, ticket: int = 7) -> tuple[Settled, list[Attempt]]:
    """Push one request, and give its end and all tries."""
    pusher.submit(ticket, request)
    events = events_until(pusher, settled)
    (one,) = settled(events)
    assert one.ticket == ticket
    assert one.delivery.request is request
    assert_each_entry_is_settled_once(one, attempts(events))
    return one, attempts(events)


def assert_each_entry_is_settled_once(one: Settled, tries: list[Attempt]) -> None:
    """Every entry was delivered by one try, or is refused for good."""
    rows = [rejected.row for rejected in one.delivery.refused]
    for attempt in tries:
        if part := attempt.delivered:
            rows += part.streams.rows[part.first : part.last].tolist()
    whole = one.delivery.request
    assert sorted(rows) == sorted(whole.streams.rows[whole.first : whole.last].tolist())
