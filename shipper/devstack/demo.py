"""`shipper demo`: Kafka, shipper and Loki on this machine, half a million records, and an account of every one.

Nothing stays behind: the servers die with this process, and what they stored lies in a temporary folder.
"""

import contextlib
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from shipper.devstack import parts
from shipper.devstack.broker import EmbeddedBroker
from shipper.devstack.demo_account import Account, Counted, read_dead_letters
from shipper.devstack.demo_screen import Dashboard, Steps, picture_of_progress
from shipper.devstack.demo_shipper import WORKERS, ShipperProcess
from shipper.devstack.generate import Truth, generate
from shipper.devstack.kafka import KafkaServer
from shipper.devstack.loki import LokiServer
from shipper.devstack.produce import produce_chunks
from shipper.devstack.server import Server, ServerFailedError
from shipper.devstack.standin import LokiStandIn
from shipper.errors import INTERRUPTED
from shipper.kafka import topics
from shipper.loki.query import LokiReader
from shipper.settings import Settings

_PARTITIONS = 6
_SEED = 1
_MALFORMED = 0.01
_POISONOUS = 12
_HISTORY_MS = 600_000
"""The records look as if they had been written in the ten minutes before."""

_MARGIN_MS = 3_600_000
"""A malformed record has Kafka's time, and clocks differ: queries look an hour further on both sides."""

_LOOK_PERIOD_S = 0.25
_WATCH_PERIOD_S = 1.0
_STOP_TIMEOUT_S = 10.0
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(*, records: int, keep: bool, kafka: bool, loki: bool, console: Console) -> int:
    """Start everything, produce, ship, read back, and print what became of every record.

    Must be called in the main thread: the servers' lives are bound to it.

    Args:
        records: how many to produce.
        keep: leave everything up at the end, until Ctrl-C.
        kafka: use a real Apache Kafka, not the embedded broker.
        loki: use a real Grafana Loki, not the stand-in.
        console: where to show it.

    Returns: the exit code: 0 only when every record is accounted for, 130 after Ctrl-C.
    Raises: PartMissingError, ServerFailedError, KafkaUnavailableError, LokiQueryError, each with what to do.
    """
    for name, wanted in (("kafka", kafka), ("loki", loki)):
        if wanted:
            parts.locate(name)
    try:
        with interruptible(), tempfile.TemporaryDirectory(prefix="shipper-demo-") as folder:
            return _Demo(Path(folder), kafka=kafka, loki=loki, console=console).run(records, keep=keep)
    except KeyboardInterrupt:
        console.print("  stopped; nothing is left running", style="yellow")
        return INTERRUPTED


class _Demo:
    """The servers, in a folder, and what is done with them."""

    def __init__(self, folder: Path, *, kafka: bool, loki: bool, console: Console) -> None:
        self._console, self._steps = console, Steps(console)
        self._kafka: KafkaServer | EmbeddedBroker = (KafkaServer if kafka else EmbeddedBroker)(folder / "kafka")
        self._loki: LokiServer | LokiStandIn = (LokiServer if loki else LokiStandIn)(folder / "loki")
        self._kafka_name = "Apache Kafka" if kafka else "embedded broker"
        self._loki_name = "Grafana Loki" if loki else "Loki stand-in"
        self._shipper = ShipperProcess(folder / "shipper", bootstrap=self._kafka.bootstrap, loki_url=self._loki.url)
        self._servers: tuple[Server, ...] = (self._kafka, self._loki, self._shipper)

    def run(self, records: int, *, keep: bool) -> int:
        title = f"\n  [bold]shipper demo[/]  {records:,} records of five services, from Kafka to Loki\n"
        self._console.print(title)
        settings = self._shipper.settings
        with contextlib.ExitStack() as stack:
            # What they store is deleted next: there is nothing to save by an orderly end, and Ctrl-C is obeyed at once.
            for server in self._servers:
                stack.callback(server.kill)
            self._start(settings)
            now_ms = time.time_ns() // 1_000_000
            truth = self._produce(settings, records, now_ms)
            counted = self._ship(truth.records)
            account = self._read_back(settings, truth, counted, now_ms)
            account.show(self._console)
            if keep:
                self._console.print()
                self._keep()
            self._shipper.stop(_STOP_TIMEOUT_S)
        self._console.print()
        return 1 if account.faults() else 0

    def _start(self, settings: Settings) -> None:
        with self._steps.step("Kafka", f"starting: {self._kafka_name}") as done:
            self._kafka.start()
            done(f"{self._kafka_name} at {self._kafka.bootstrap}")
        with self._steps.step("Loki", f"starting: {self._loki_name}") as done:
            self._loki.start()
            done(f"{self._loki_name} at {self._loki.url}")
        with self._steps.step("topics", "creating") as done:
            outcomes = topics.create(settings, partitions=_PARTITIONS, replication_factor=1)
            done(f"{' and '.join(outcome.topic.name for outcome in outcomes)}, {_PARTITIONS} partitions each")

    def _produce(self, settings: Settings, records: int, now_ms: int) -> Truth:
        chunks = generate(
            records,
            seed=_SEED,
            first_ms=now_ms - _HISTORY_MS,
            last_ms=now_ms,
            malformed=_MALFORMED,
            poisonous=min(_POISONOUS, records // 100),
        )
        started = time.monotonic()
        with self._steps.moving_step("produced") as (show, done):

            def on_progress(written: int) -> None:
                elapsed_s = time.monotonic() - started
                show(
                    picture_of_progress("producing", written, records, "records", elapsed_s),
                    f"{written:,} of {records:,}",
                )

            truth = produce_chunks(settings.kafka, chunks, on_progress=on_progress)
            done(
                f"{truth.records:,} records, {truth.malformed.total():,} malformed, "
                f"{truth.dead_letters.total():,} poisonous"
            )
        return truth

    def _ship(self, records: int) -> Counted:
        with self._steps.step("shipper", "starting") as done:
            self._shipper.start()
            done(f"{WORKERS} workers, live page at {self._shipper.url}")
        title = f"{self._kafka_name} → {WORKERS} workers → {self._loki_name}"
        dashboard = Dashboard(records, title)
        with self._steps.moving_step("shipped") as (show, done):
            for status in self._shipper.watch(records, sleep=lambda: time.sleep(_LOOK_PERIOD_S), clock=time.monotonic):
                self._check_servers()
                dashboard.add(status)
                show(dashboard.picture(status), dashboard.line(status))
            done(
                f"{status.totals.settled:,} records, {dashboard.records_per_s:,.0f}/s, "
                f"at most {dashboard.rss_bytes_max / 1e6:.0f} MB per worker"
            )
        return Counted(
            status.totals,
            self._shipper.count("shipper_records_malformed_total", "reason").total(),
            self._shipper.count("shipper_records_dead_lettered_total", "reason"),
        )

    def _read_back(self, settings: Settings, truth: Truth, counted: Counted, now_ms: int) -> Account:
        with self._steps.step("read back", "asking Loki, reading the dead letter topic") as done:
            start_ms, end_ms = now_ms - _HISTORY_MS - _MARGIN_MS, now_ms + _MARGIN_MS
            counts = LokiReader(self._loki.url).counts_by(
                ("service", "level"), '{service=~".+"}', start_ms * 1_000_000, end_ms * 1_000_000
            )
            found = Counter({(service, level): entries for (service, level), entries in counts.items()})
            letters = read_dead_letters(settings)
            done(f"{found.total():,} entries in Loki, {letters.total():,} dead letters")
        return Account(truth, counted, found, letters)

    def _keep(self) -> None:
        """Say where everything is, and wait for Ctrl-C."""
        query = 'query={service="chat-service", level="error"}'
        produce = f"{sys.argv[0]} produce --config {self._shipper.config}"
        for name, what in {
            "live page": self._shipper.url,
            "Kafka": self._kafka.bootstrap,
            "Loki": self._loki.url,
            "ask Loki": f"curl -sG {self._loki.url}/loki/api/v1/query_range -d limit=5 --data-urlencode '{query}'",
            "send more": f"{produce} --records 60000 --rate 1000",
        }.items():
            self._steps.say(name, what)
        self._console.print("\n  Everything is up. Ctrl-C ends it.", style="bold")
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                self._check_servers()
                time.sleep(_WATCH_PERIOD_S)

    def _check_servers(self) -> None:
        """See that all of them live.

        Raises: ServerFailedError, for the first that does not.
        """
        for server in self._servers:
            if not server.running:
                raise ServerFailedError(f"{server.name} has ended. Its log ends with:\n{server.log_tail()}")


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM, and a terminal that is closed, end the block as Ctrl-C does; what comes after the first is ignored.

    Clearing away takes a moment, and must not be interrupted. What was ignored before, as by nohup, stays so.
    """

    def interrupt(*_: object) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    heeded = [number for number in _ENDINGS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is interrupt:  # else the process ends, and shall do so in peace
                signal.signal(number, handler)
