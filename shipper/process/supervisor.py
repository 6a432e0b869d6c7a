"""The supervisor: starts the workers, watches them, restarts them, drains them, and serves status. It ships nothing.

One loop in the main thread waits for whatever comes first: a signal (handlers only write to a pipe), the end of a
worker, the answer of a survey, or the next second. Each turn then does everything that is due, in `_Supervisor.turn`.

| comes | becomes |
|---|---|
| SIGTERM, SIGINT | workers drain up to `workers.drain_timeout_s`; exit 0 when all ended well, else 1 |
| a second one | workers are killed; exit 1 |
| SIGHUP | the config is loaded and checked again; a good one replaces the workers, a bad one is logged |
| worker exits 2, or 3 at its first start | all workers drain; the same exit code |
| worker ends otherwise, unasked | it is started again, after a delay that grows; with `until_caught_up`, 0 means done |
| worker hangs or stalls | the stacks of its threads are logged, it is killed and started again |
| SIGUSR1 | the stacks of all workers' threads are logged |
"""

import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing import connection

from shipper import native
from shipper.errors import ConfigError
from shipper.kafka.assignment import workers_count
from shipper.logs import log
from shipper.process import spawn, stacks
from shipper.process.backoff import Backoff
from shipper.process.canary import Canary
from shipper.process.counters import Counters
from shipper.process.history import History
from shipper.process.limit import PushLimit
from shipper.process.loss import LossWatch
from shipper.process.reloading import Reloading
from shipper.process.signals import SignalPipe
from shipper.process.spawn import Programs, Question
from shipper.process.status import Look, WorkerLook, pushes, summarise
from shipper.process.watchdog import Patience
from shipper.process.web import StatusServer, make_app
from shipper.process.worker_process import Ending, WorkerProcess
from shipper.settings import Settings

WORKERS_MAX = 256
_TICK_NS = 1_000_000_000
_KILL_TIMEOUT_S = 5.0


def run(
    settings: Settings,
    *,
    until_caught_up: bool = False,
    reload: Callable[[], Settings] | None = None,
    ready: Callable[[str], None] | None = None,
    programs: Programs | None = None,
    patience: Patience | None = None,
    backoff: Callable[[], Backoff] = Backoff,
) -> int:
    """Ship until a signal says to stop, or until everything is shipped that was there at the start.

    Must be called in the main thread, because of the signals. The environment that workers inherit is completed.

    Args:
        settings: the configuration.
        until_caught_up: stop when every partition has reached the end that it had at the start.
        reload: loads the configuration again, for SIGHUP; a ShipperError that it raises keeps the old one.
        ready: called once the status endpoint answers and workers were started, with the endpoint's URL.
        programs: what the processes run.
        patience: how long a worker may take for what.
        backoff: makes the delays between a worker's crash and its restart.

    Returns: the exit code: 0 done, 1 something was killed or left undone, 2 bad config, 3 cannot start.
    Raises: ConfigError, CannotStartError before anything was started.
    """
    spawn.prepare_environment()
    programs = programs or Programs()
    partitions = Question(programs.survey, settings).answer()
    started_ms = time.time_ns() // 1_000_000
    counters = Counters.create(WORKERS_MAX, ())
    supervisor = _Supervisor(counters, until_caught_up, reload, programs, patience or Patience(), backoff)
    app = make_app(supervisor.look, supervisor.history, started_ms)
    try:
        with (
            SignalPipe((signal.SIGTERM, signal.SIGINT, signal.SIGHUP, stacks.SIGNAL)) as signals,
            StatusServer(settings.status.listen, app) as server,
        ):
            try:
                supervisor.adopt(settings, partitions)
                is_native = native.describe(wanted=settings.workers.native)
                log("info", "shipper runs", status=server.url, workers=len(supervisor.workers), native=is_native)
                if ready:
                    ready(server.url)
                while (code := supervisor.turn(signals)) is None:
                    pass
            finally:
                supervisor.kill_all("the supervisor ends")
            log("info", "shipper ends", exit_code=code)
            return code
    finally:
        counters.close()


class _Supervisor:
    """The workers and what is to become of them; `turn` is the loop's body."""

    def __init__(
        self,
        counters: Counters,
        until_caught_up: bool,  # noqa: FBT001 - made in one place, above
        reload: Callable[[], Settings] | None,
        programs: Programs,
        patience: Patience,
        backoff: Callable[[], Backoff],
    ) -> None:
        self.workers: list[WorkerProcess] = []
        self.history = History()
        self._counters = counters
        self._until_caught_up = until_caught_up
        self._programs = programs
        self._patience = patience
        self._backoff = backoff
        self._settings = Settings()
        self._looks: Sequence[WorkerLook] = ()
        self._rows_used = 0
        self._exit_code: int | None = None
        self._reloading = Reloading(reload, programs.survey)
        self._loss = LossWatch(programs.retention)
        self._canary = Canary(programs.canary, backoff)
        self._regroup_to: int | None = None
        self._rolling: deque[WorkerProcess] = deque()
        self._sampled_ns = 0
        self._push_limit = PushLimit(0, 0, 0)

    def adopt(self, settings: Settings, partitions: int) -> None:
        """Take settings into use: at the start, and at each SIGHUP.

        Raises: ConfigError if there are more workers or filters than counters.
        """
        count = workers_count(
            settings.workers.count,
            cores=spawn.count_cores(),
            partitions=partitions,
            node_count=settings.kafka.node_count,
        )
        if count > WORKERS_MAX:
            raise ConfigError(f"workers.count: {count} workers, at most {WORKERS_MAX} can be counted on one host")
        try:
            rules = [rule.name for rule in settings.filters]
            self._counters.register(settings.kafka.topics, rules, list(settings.labels.fields))
        except ValueError as error:
            raise ConfigError(f"the configuration has {error}") from error
        before, self._settings = self._settings, settings
        self._loss.adopt(settings, time.monotonic_ns())
        if not self._until_caught_up:  # a job that ends has nothing to be fresh
            self._canary.adopt(settings, time.monotonic_ns())
        if not self.workers:
            self._man(count)
        elif count != len(self.workers) or settings.kafka != before.kafka:
            # Who reads which partition changes: all stop before the first starts, or two would read the same one.
            self._regroup_to = count
            self._drain_all()
        else:
            self._push_limit = self._new_push_limit(count)
            self._rolling.extend(self.workers)

    def turn(self, signals: SignalPipe) -> int | None:
        """Wait for what comes first, do what is due; return the exit code once all is over."""
        waited_for: list[int | connection.Connection] = [signals.fileno()]
        waited_for += [*self._reloading.sentinels, *self._canary.sentinels]
        waited_for += [worker.sentinel for worker in self.workers if worker.sentinel is not None]
        connection.wait(waited_for, timeout=self._wait_s())

        for number in signals.take():
            self._obey(number)
        now_ns = time.monotonic_ns()
        for worker in self.workers:
            worker.watch(now_ns)
            if ending := worker.reap(now_ns):
                self._decide(worker, ending, now_ns)
        self._reloading.finish(self.adopt)
        self._canary.turn(now_ns)
        self._regroup()
        self._roll(now_ns)
        for worker in self.workers:
            if worker.due_ns is not None and worker.due_ns <= now_ns:
                self._start(worker)
        if now_ns - self._sampled_ns >= _TICK_NS:
            self._sample(now_ns)
        return self._finished()

    def look(self) -> Look:
        """Take a look at everything; any thread may."""
        return Look(
            now_ms=time.time_ns() // 1_000_000,
            now_ns=time.monotonic_ns(),
            rows=[self._counters.read(index) for index in range(self._rows_used)],
            workers=self._looks,
            topics=self._counters.topics,
            rules=self._counters.rules,
            labels=self._counters.labels,
            draining=self._exit_code is not None,
            losses=self._loss.losses,
            canary=self._canary.report,
        )

    def kill_all(self, why: str) -> None:
        """Kill every process that still runs, and wait for its end."""
        self._reloading.cancel()
        self._loss.cancel()
        self._canary.cancel()
        for worker in self.workers:
            worker.kill(why)
        for worker in self.workers:
            if worker.sentinel is not None:
                connection.wait([worker.sentinel], timeout=_KILL_TIMEOUT_S)
                worker.reap(time.monotonic_ns())

    def _wait_s(self) -> float:
        now_ns = time.monotonic_ns()
        due_ns = [self._sampled_ns + _TICK_NS, *(worker.due_ns for worker in self.workers if worker.due_ns is not None)]
        return max(0.0, (min(due_ns) - now_ns) / 1e9)

    def _obey(self, number: signal.Signals) -> None:
        if number == stacks.SIGNAL:
            for worker in self.workers:
                worker.ask_for_stacks()
        elif number == signal.SIGHUP:
            if self._exit_code is None:
                self._reloading.begin(self._settings)
        elif self._exit_code is None:
            log("info", f"{number.name}: draining", timeout_s=self._settings.workers.drain_timeout_s)
            self._stop(0)
        else:
            log("warn", f"{number.name} again: ending at once, what is in flight will be shipped again")
            self._exit_code = self._exit_code or 1
            for worker in self.workers:
                worker.kill("a second signal said so")

    def _stop(self, exit_code: int) -> None:
        self._exit_code = self._exit_code or exit_code
        self._reloading.cancel()
        self._canary.cancel()
        self._rolling.clear()
        self._regroup_to = None
        self._drain_all()

    def _drain_all(self) -> None:
        now_ns = time.monotonic_ns()
        for worker in self.workers:
            worker.drain(now_ns, self._settings.workers.drain_timeout_s)

    def _decide(self, worker: WorkerProcess, ending: Ending, now_ns: int) -> None:
        context: dict[str, object] = {"worker": worker.index, "lived_s": round(ending.lived_s, 1)}
        if ending.stacks:
            context["stacks"] = ending.stacks
        if ending.fatal:
            log("error", f"worker {ending}; stopping, because starting it again cannot help", **context)
            self._stop(ending.code)
        elif self._exit_code is not None:
            if not ending.clean:
                log("error", f"worker {ending} while draining", **context)
                self._exit_code = self._exit_code or 1
        elif ending.drained and ending.clean:
            # Asked to end for a new config: the next one starts in this turn, or when all have ended.
            if self._regroup_to is None:
                worker.due_ns = now_ns
        elif ending.code == 0 and self._until_caught_up:
            worker.state = "done"
            log("info", "worker caught up", **context)
        elif self._regroup_to is None:
            delay_s = worker.restart_later(ending, now_ns)
            log("error", f"worker {ending}", starts_again_in_s=round(delay_s, 1), **context)
        else:
            log("error", f"worker {ending} while draining", **context)

    def _finished(self) -> int | None:
        if any(worker.alive for worker in self.workers):
            return None
        if self._exit_code is None and all(worker.state == "done" for worker in self.workers):
            return 0
        return self._exit_code

    def _man(self, count: int) -> None:
        more = range(len(self.workers), count)
        # Those that stay remember their restarts, and that they ran before.
        self.workers = self.workers[:count] + [
            WorkerProcess(index, self._counters, self._patience, self._backoff()) for index in more
        ]
        self._rows_used = max(self._rows_used, count)
        self._push_limit = self._new_push_limit(count)
        for worker in self.workers:
            self._start(worker)
        self._sample(time.monotonic_ns())

    def _new_push_limit(self, workers: int) -> PushLimit:
        return PushLimit(workers, self._settings.loki.in_flight_max, self._settings.loki.timeout_s)

    def _start(self, worker: WorkerProcess) -> None:
        worker.start(
            self._programs.worker,
            len(self.workers),
            self._settings,
            time.monotonic_ns(),
            until_caught_up=self._until_caught_up,
        )

    def _regroup(self) -> None:
        if self._regroup_to is not None and not any(worker.alive for worker in self.workers):
            count, self._regroup_to = self._regroup_to, None
            self._man(count)

    def _roll(self, now_ns: int) -> None:
        """Replace workers one after another: the next drains when the one before it runs."""
        if self._rolling and all(worker.state in ("running", "done") for worker in self.workers):
            worker = self._rolling.popleft()
            if worker.alive:
                worker.drain(now_ns, self._settings.workers.drain_timeout_s)

    def _sample(self, now_ns: int) -> None:
        self._sampled_ns = now_ns
        self._looks = tuple(worker.look() for worker in self.workers)
        look = self.look()
        self._loss.turn(look)
        self.history.record(summarise(look))
        for worker, lanes in zip(self.workers, self._push_limit.decide(pushes(look), now_ns / 1e9), strict=True):
            self._counters.limit_pushes(worker.index, lanes)
