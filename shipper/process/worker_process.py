"""One worker index through all the lives of its process: started, watched, drained, killed, started again."""

import contextlib
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from shipper.logs import log
from shipper.process.backoff import Backoff
from shipper.process.counters import Counters
from shipper.process.snapshot import RowSnapshot
from shipper.process.spawn import start_worker
from shipper.process.stacks import Stacks
from shipper.process.status import WorkerLook, WorkerState
from shipper.process.watchdog import Patience, Watchdog
from shipper.settings import Settings

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

CONFIG_ERROR = 2
CANNOT_START = 3
_DUMP_S = 0.5  # writing the stacks of all threads takes some milliseconds, and more on a machine that is overloaded
_DUMP_MAX_S = 5.0
_NO_STACKS = f"none came within {_DUMP_MAX_S:.0f} s: the process is stopped, or waits in the kernel"


@dataclass(frozen=True, slots=True)
class Ending:
    """How one life of a worker ended.

    Attributes:
        code: exit code; minus the signal's number where one killed it.
        ran: whether its loop turned at least once in this life.
        ran_before: whether it did in an earlier one.
        drained: whether it had been asked to end.
        killed_because: why the supervisor killed it; empty where it did not.
        lived_s: from its start to its end, in seconds.
        stacks: what its threads were doing when it was killed for that, or when a crash ended it; else empty.
    """

    code: int
    ran: bool
    ran_before: bool
    drained: bool
    killed_because: str
    lived_s: float
    stacks: str = ""

    @property
    def fatal(self) -> bool:
        """Whether starting it again cannot help: a bad config, or something missing at the very first start."""
        return self.code == CONFIG_ERROR or (self.code == CANNOT_START and not self.ran and not self.ran_before)

    @property
    def clean(self) -> bool:
        """Whether nothing was left undone; one that was asked to end before it had begun had nothing to do."""
        return self.code == 0 or (self.drained and not self.ran and self.code == -signal.SIGTERM)

    def __str__(self) -> str:
        if self.killed_because:
            return f"was killed by the supervisor: {self.killed_because}"
        if self.code == -signal.SIGKILL:
            return "was killed (SIGKILL); perhaps out of memory?"
        if self.code < 0:
            return f"was killed by {signal.Signals(-self.code).name}"
        return f"ended with exit code {self.code}"


class WorkerProcess:
    """A worker index: its present process, if there is one, and what is remembered from one to the next.

    Args:
        index: the worker's index.
        counters: its row is repaired whenever its process has died.
        patience: how long it may take for what.
        backoff: how long to wait after a crash.
    """

    def __init__(self, index: int, counters: Counters, patience: Patience, backoff: Backoff) -> None:
        self.index = index
        self.state: WorkerState = "stopped"
        self.due_ns: int | None = None
        self._counters = counters
        self._patience = patience
        self._backoff = backoff
        self._process: SpawnProcess | None = None
        self._usage: psutil.Process | None = None
        self._cpu_s = self._cpu_before_s = 0.0
        self._watchdog = Watchdog(patience, 0)
        self._stacks = Stacks()
        self._stacks_seen_ns: int | None = None
        self._asked_ns: int | None = None
        self._started_ns = 0
        self._restarts = 0
        self._ran_before = False
        self._killed_because = ""
        self._kill_ns: int | None = None

    @property
    def alive(self) -> bool:
        """Whether there is a process that has not been reaped."""
        return self._process is not None

    @property
    def sentinel(self) -> int | None:
        """Becomes ready when the process has ended; None while there is none."""
        return self._process.sentinel if self._process else None

    def start(self, target: str, workers: int, settings: Settings, now_ns: int, *, until_caught_up: bool) -> None:
        """Start a process; there must be none. Where the system has no room for it, it is due again later."""
        try:
            self._process = start_worker(
                target,
                self.index,
                workers,
                settings,
                self._counters.fd,
                self._stacks.fd,
                until_caught_up=until_caught_up,
            )
        except OSError as error:
            self._start_later(error, now_ns)
            return
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            self._usage = psutil.Process(self._process.pid)
        self._started_ns = now_ns
        self._watchdog = Watchdog(self._patience.beside(settings.loki), now_ns)
        self.state = "restarting" if self._restarts else "starting"
        self.due_ns = None
        log("info", "worker started", worker=self.index, pid=self._process.pid, restarts=self._restarts)

    def _start_later(self, error: OSError, now_ns: int) -> None:
        delay_s = self._backoff.next_delay_s(0.0)
        self.state = "restarting"
        self.due_ns = now_ns + int(delay_s * 1e9)
        log(
            "error",
            f"worker could not be started: {error}; raise the limit (ulimit -n, ulimit -u), or free memory",
            worker=self.index,
            starts_again_in_s=round(delay_s, 1),
        )

    def restart_later(self, ending: Ending, now_ns: int) -> float:
        """Let the next process be due after a delay that grows from crash to crash; return it in seconds."""
        delay_s = self._backoff.next_delay_s(ending.lived_s)
        self._restarts += 1
        self.state = "restarting"
        self.due_ns = now_ns + int(delay_s * 1e9)
        return delay_s

    def drain(self, now_ns: int, timeout_s: float) -> None:
        """Ask the process to finish what is in flight in `timeout_s`; some time after that it is killed."""
        self.due_ns = None
        if self._process and self._kill_ns is None:
            self.state = "draining"
            self._kill_ns = now_ns + int((timeout_s + self._patience.end_s) * 1e9)
            self._process.terminate()

    def kill(self, why: str) -> None:
        """End the process at once; what it had in flight will be consumed again."""
        self.due_ns = None
        if self._process:
            self._killed_because = self._killed_because or why
            self._process.kill()

    def watch(self, now_ns: int) -> None:
        """Notice that the process got going; have it dumped, then killed, if it hangs, stalls, or does not end in time.

        Between the two lie some turns: nobody waits here.
        """
        if not self._process:
            return
        if self._asked_ns is not None:
            asked_s = (now_ns - self._asked_ns) / 1e9
            if asked_s > (_DUMP_S if self._stacks.there else _DUMP_MAX_S):
                self.kill(self._killed_because)
            return
        if self._killed_because:
            return
        self._log_stacks(now_ns)
        row = self._counters.read(self.index)
        if self.state in ("starting", "restarting") and self._turned(row):
            self.state = "running"
        if self._kill_ns is not None:
            if now_ns > self._kill_ns:
                self._condemn("it did not end in time after it was asked to (workers.drain_timeout_s)", now_ns)
        elif complaint := self._watchdog.complaint(row, now_ns):
            self._condemn(complaint, now_ns)

    def ask_for_stacks(self) -> None:
        """Have the process say what its threads are doing; `watch` logs it."""
        if self._process and self._process.pid:
            self._stacks.ask(self._process.pid)

    def _log_stacks(self, now_ns: int) -> None:
        """Log what somebody asked for with SIGUSR1, once it is written to its end; what a crash leaves is `reap`'s."""
        if not self._stacks.there:
            self._stacks_seen_ns = None
        elif self._stacks_seen_ns is None:
            self._stacks_seen_ns = now_ns
        elif now_ns - self._stacks_seen_ns > _DUMP_S * 1e9:
            log("info", "worker's stacks, as SIGUSR1 asked for", worker=self.index, stacks=self._stacks.take())

    def _condemn(self, why: str, now_ns: int) -> None:
        self._killed_because, self._asked_ns = why, now_ns
        self.ask_for_stacks()

    def reap(self, now_ns: int) -> Ending | None:
        """Return how the process ended, and put its row in order; None while it lives, or where there is none."""
        if not self._process or self._process.exitcode is None:
            return None
        ran = self._turned(self._counters.read(self.index))
        ending = Ending(
            code=self._process.exitcode,
            ran=ran,
            ran_before=self._ran_before,
            drained=self._kill_ns is not None,
            killed_because=self._killed_because,
            lived_s=(now_ns - self._started_ns) / 1e9,
            stacks=self._stacks.take() or ("" if self._asked_ns is None else _NO_STACKS),
        )
        self._process.close()
        self._asked_ns = self._stacks_seen_ns = None
        self._process, self._usage, self._kill_ns, self._killed_because = None, None, None, ""
        self._cpu_before_s, self._cpu_s = self._cpu_before_s + self._cpu_s, 0.0
        self._ran_before |= ran
        self._counters.row(self.index).repair()
        self.state = "stopped"
        return ending

    def look(self) -> WorkerLook:
        """Return what the operating system says of the process, since the last look.

        The CPU time is that of all its lives, as far as it was looked at: like the counts, it never goes down.
        """
        pid = self._process.pid if self._process else None
        cpu_percent, rss_bytes = 0.0, 0
        if self._usage:
            # An OSError: no descriptor is left to read /proc with.
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, OSError), self._usage.oneshot():
                times = self._usage.cpu_times()
                self._cpu_s = max(self._cpu_s, times.user + times.system)
                cpu_percent, rss_bytes = self._usage.cpu_percent(), self._usage.memory_info().rss
        return WorkerLook(
            self.index,
            pid,
            self.state,
            self._restarts,
            cpu_percent=cpu_percent,
            cpu_s=self._cpu_before_s + self._cpu_s,
            rss_bytes=rss_bytes,
        )

    def _turned(self, row: RowSnapshot) -> bool:
        return row.heartbeat_ns >= self._started_ns
