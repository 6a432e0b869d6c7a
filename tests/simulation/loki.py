"""Loki as a push sees it: the stand-in's own checks and store, and in front of them whatever can go wrong.

An answer and what was stored are two things here, as they are in the world: a 500 may have stored all, a part or
nothing, and a push whose sender is dead is stored all the same.
"""

from collections.abc import Callable
from typing import NamedTuple

import snappy

from shipper.devstack.standin.ingest import push
from shipper.devstack.standin.limits import Limits
from shipper.devstack.standin.store import Bucket, Tenant
from shipper.devstack.standin.wire import PushedStream, decode_push
from simulation.world import World

LINE_BYTES_MAX = 600
"""What this Loki takes; the shipper is told of more, so that it meets refusals which its own limits did not foresee."""
POISON = b"poison"
"""A request that holds this word is answered 500 as long as there are faults: nobody knows why."""


class Answer(NamedTuple):
    """What comes back: an HTTP answer, or the exception that stands for none."""

    status: int = 0
    text: str = ""
    retry_after: str = ""
    failure: Exception | None = None


REFUSED = Answer(failure=ConnectionError("connection refused"))
BROKEN = Answer(failure=ConnectionError("connection reset by peer"))
SILENT = Answer(failure=TimeoutError("no answer"))

# What goes wrong: the answer, and the share of the request's entries that is stored before it is given.
FAULTS: dict[str, tuple[Answer, float]] = {
    "refuses connections": (REFUSED, 0),
    "breaks off, stored": (BROKEN, 1),
    "breaks off, a part stored": (BROKEN, 0.5),
    "is silent": (SILENT, 0),
    "is silent, stored": (SILENT, 1),
    "500": (Answer(500, "rpc error"), 0),
    "500, stored": (Answer(500, "rpc error"), 1),
    "503, a part stored": (Answer(503, "at least 2 live replicas required", retry_after="1"), 0.5),
    "429 rate": (Answer(429, "ingestion rate limit exceeded for user fake"), 0),
    "429 stream rate": (Answer(429, "entry with timestamp 0 ignored, reason: 'Per stream rate limit exceeded"), 0.5),
    "429 streams": (Answer(429, "maximum active stream limit exceeded", retry_after="2"), 0),
    "401": (Answer(401, "no org id"), 0),
    "404 of a proxy": (Answer(404, "<html>not found</html>"), 0),
    "400 of a proxy": (Answer(400, "<html>bad request</html>"), 0),
    "260": (Answer(260, "ingestion blocked for user fake"), 0),
}


class SimulatedLoki:
    """A Loki, one tenant.

    Args:
        world: time and chance.
        fault: says what goes wrong with the push that comes now, by its name in `FAULTS`; "" for nothing.
        entries_max: what stands before it answers 413 to more entries at once.
    """

    def __init__(self, world: World, fault: Callable[[], str], entries_max: int) -> None:
        self._world, self._fault, self._entries_max = world, fault, entries_max
        self._limits = Limits(max_line_size=LINE_BYTES_MAX)
        self.tenant = Tenant("fake", Bucket(0, 0))
        self.on_stored: Callable[[bytes], None] = lambda _line: None
        self.are_faults_over: Callable[[], bool] = lambda: False

    def take(self, body: bytes) -> tuple[str, Answer]:
        """Take the body of a push; returns what happened, for the story, and the answer."""
        streams = decode_push(bytes(snappy.uncompress(body)))
        entries = sum(len(stream.lines) for stream in streams)
        if entries > self._entries_max:
            return f"{entries} entries: too large", Answer(413, "request entity too large")
        fault = self._fault()
        if not fault and not self.are_faults_over() and any(POISON in line for one in streams for line in one.lines):
            fault = "500"
        if not fault:
            answer = self._store(streams)
            return f"{entries} entries: {answer.status}", answer
        answer, share = FAULTS[fault]
        if share:
            self._store([self._part(stream, share) for stream in streams])
        return f"{entries} entries: {fault}", answer

    def _part(self, stream: PushedStream, share: float) -> PushedStream:
        part = PushedStream(stream.labels)
        for entry in zip(stream.timestamps_ns, stream.lines, stream.metadata, strict=True):
            if self._world.chance(share):
                part.timestamps_ns.append(entry[0])
                part.lines.append(entry[1])
                part.metadata.append(entry[2])
        return part

    def _store(self, streams: list[PushedStream]) -> Answer:
        answer = push(self.tenant, streams, self._limits, self._world.now_ns())
        for stream in streams:
            for line in stream.lines:
                if len(line) <= LINE_BYTES_MAX:
                    self.on_stored(line)
        return Answer(answer.status, answer.text)
