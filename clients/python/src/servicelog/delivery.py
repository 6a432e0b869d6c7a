"""Where records go: into a bounded queue, from which a thread takes them to Kafka; it ends with the process."""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
import weakref
from types import FrameType
from typing import Final, Protocol

from servicelog.console import Console, say
from servicelog.metrics import Metrics
from servicelog.record_queue import RecordQueue
from servicelog.sender import Sender
from servicelog.settings import Settings

_WINDOW_PART: Final = 4  # a quarter of the bytes may be with the producer
_LIVING: "weakref.WeakSet[Delivery]" = weakref.WeakSet()


class Sink(Protocol):
    """Takes records."""

    def send(self, record: bytes) -> None:
        """Take a record; never blocks, never raises."""

    def metrics(self) -> Metrics: ...

    def close(self, flush_s: float | None = None) -> None:
        """Deliver what there is, for so long at most."""


class Delivery:
    """Delivers the records of one service to Kafka."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._begin()
        _LIVING.add(self)
        atexit.register(self.close)
        _flush_on_sigterm()

    def _begin(self) -> None:
        window_bytes = self._settings.queue_bytes_max // _WINDOW_PART
        self._queue = RecordQueue(
            self._settings.queue_bytes_max - window_bytes, drop_oldest=self._settings.when_full == "oldest"
        )
        self._console = Console(self._settings.stderr_lines_per_s)
        self._sender = Sender(self._settings, self._queue, self._console, window_bytes)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closed = False
        self._late = 0

    def send(self, record: bytes) -> None:
        """Take a record; never blocks, never raises."""
        if self._closed:
            self._late += 1
            say(f"a record after the end: {record.decode()}")
            return
        self._queue.put(record)
        if self._thread is None:
            self._start()
        shown = self._settings.stderr
        if shown != "never" and (self._sender.away or shown == "always"):
            self._console.show(record)

    def _start(self) -> None:
        if not self._starting.acquire(blocking=False):
            return
        try:
            if self._thread is None:
                thread = threading.Thread(target=self._sender.run, name="servicelog", daemon=True)
                thread.start()
                self._thread = thread
                self._end_with_multiprocessing()
        except RuntimeError:
            pass  # there can be no more threads just now: the next call tries again
        finally:
            self._starting.release()

    def _end_with_multiprocessing(self) -> None:
        """A process of multiprocessing ends without `atexit`; it has its own list of what to do."""
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            util.Finalize(None, self.close, exitpriority=0)

    def metrics(self) -> Metrics:
        """What became of the records so far."""
        queue, sender = self._queue, self._sender
        dropped = sender.dropped.copy()
        dropped["queue_full"] += queue.dropped
        dropped["closed"] += self._late
        return Metrics(
            logged=queue.put_total + self._late,
            sent=sender.sent,
            queued=len(queue) + sender.waiting,
            queued_bytes=queue.size + sender.in_flight_bytes,
            spilled=sender.spilled,
            spilled_total=sender.spilled_total,
            taken_over=sender.taken_over,
            dropped={reason: number for reason, number in dropped.items() if number},
            kafka_away=sender.away,
            latency_ms=sender.latencies.summary(),
        )

    def close(self, flush_s: float | None = None) -> None:
        """Deliver what there is, for `flush_s` at most; then spill it, or show it on stderr. Nothing is taken after."""
        if self._closed:
            return
        self._closed = True
        if self._thread is not None:
            flush_s = self._settings.flush_s if flush_s is None else flush_s
            self._sender.end_s = time.monotonic() + flush_s
            self._thread.join(flush_s + 2)
        _LIVING.discard(self)
        atexit.unregister(self.close)

    def after_fork(self) -> None:
        """In the child: queue, producer and files are the parent's, and stay with it."""
        self._sender.forget()
        _never_free(self._sender.producer)
        self._begin()


def _never_free(producer: object) -> None:
    """Freeing it would wait for threads that the child does not have."""
    if producer is not None:
        import ctypes  # noqa: PLC0415 - only here, and 5 ms

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(producer))


def _after_fork() -> None:
    for one in list(_LIVING):
        one.after_fork()


os.register_at_fork(after_in_child=_after_fork)


def _flush_on_sigterm() -> None:
    """Flush on SIGTERM where nobody else handles it: a service with a handler ends in its own way, by `atexit`."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        with contextlib.suppress(ValueError):  # not the main interpreter
            signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(number: int, _: FrameType | None) -> None:
    for one in list(_LIVING):
        one.close()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


class Stderr:
    """Records on stderr alone: where no Kafka is set."""

    def __init__(self) -> None:
        self._number = 0

    def send(self, record: bytes) -> None:
        """Write a record."""
        self._number += 1
        with contextlib.suppress(Exception):  # stderr may be closed, or nobody's
            sys.stderr.write(record.decode() + "\n")

    def metrics(self) -> Metrics:
        """What was written counts as sent."""
        return Metrics(
            logged=self._number, sent=self._number, queued=0, queued_bytes=0, spilled=0, spilled_total=0, taken_over=0,
            dropped={}, kafka_away=False, latency_ms={},
        )  # fmt: skip

    def close(self, flush_s: float | None = None) -> None:
        """Nothing is left to deliver."""
