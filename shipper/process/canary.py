"""The canary as the supervisor sees it: a process of its own that writes and reads canaries, and what it reports.

It never touches shipping: where it cannot start, write or read, that is said, and it is tried again.
"""

from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import NamedTuple

from shipper.logs import log
from shipper.process.backoff import Backoff
from shipper.process.spawn import start_reporting
from shipper.settings import Settings


class CanaryReport(NamedTuple):
    """What the canary's process last said.

    Attributes:
        topic: of the partition whose newest visible canary is the oldest.
        partition: its number.
        seen_ms: when that canary was written, in ms since the epoch; where none was seen yet, when the process began.
        latency_s: from writing the latest canary that was seen to seeing it; None before the first.
        written: canaries written.
        seen: canaries seen in Loki.
        error: why the last one could not be written or read; empty where it could.
    """

    topic: str
    partition: int
    seen_ms: int
    latency_s: float | None
    written: int
    seen: int
    error: str

    def freshness_s(self, now_ms: int) -> float:
        """Return the age of the newest record that Loki is known to show, in the partition where it is the oldest."""
        return max(0, now_ms - self.seen_ms) / 1000


class Canary:
    """Keeps the canary's process running while `canary.every_s` is not 0.

    Args:
        program: what it runs, as `module:function`; see `canary_process.main`.
        backoff: makes the delays between its crash and its restart.

    Attributes:
        report: the last one; None while there is none. Replaced, never changed, so any thread may read it.
    """

    def __init__(self, program: str, backoff: Callable[[], Backoff]) -> None:
        self.report: CanaryReport | None = None
        self._program, self._backoff = program, backoff()
        self._settings = Settings()
        self._process: SpawnProcess | None = None
        self._reports: Connection | None = None
        self._due_ns: int | None = None
        self._started_ns = 0

    @property
    def sentinels(self) -> list[Connection]:
        """What becomes ready when it says something, or has ended; empty while it does not run."""
        return [self._reports] if self._reports else []

    def adopt(self, settings: Settings, now_ns: int) -> None:
        """Take settings into use: it begins anew, or ends."""
        self.cancel()
        self._settings = settings
        self._due_ns = now_ns if settings.canary.every_s else None

    def turn(self, now_ns: int) -> None:
        """Do what is due: take in what it reports, start it again when it ended."""
        try:
            while self._reports and self._reports.poll():
                self.report = self._reports.recv()
        except (EOFError, OSError):
            self._ended(now_ns)
        if self._due_ns is not None and now_ns >= self._due_ns:
            self._due_ns, self._started_ns = None, now_ns
            try:
                self._process, self._reports = start_reporting(self._program, self._settings)
            except OSError as error:  # no room for one more process
                self._start_later(f"the canary could not be started: {error}", now_ns)

    def cancel(self) -> None:
        """End it at once; it holds nothing that could be lost."""
        self._kill()
        self._due_ns = self.report = None

    def _kill(self) -> None:
        if self._process and self._reports:
            self._process.kill()
            self._process.join()
            self._reports.close()
        self._process = self._reports = None

    def _ended(self, now_ns: int) -> None:
        if self._process:
            self._process.join()
            code = self._process.exitcode
            self._kill()
            self._start_later(f"the canary ended with exit code {code}", now_ns)

    def _start_later(self, why: str, now_ns: int) -> None:
        delay_s = self._backoff.next_delay_s((now_ns - self._started_ns) / 1e9)
        self._due_ns = now_ns + int(delay_s * 1e9)
        log("warn", f"{why}; nothing else is touched by it", starts_again_in_s=round(delay_s, 1))
