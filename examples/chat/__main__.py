"""`make chat`: five services that log, a shipper, and Loki; traffic, and one request followed through all of them.

Nothing stays behind: the servers die with this process, and what they stored lies in a temporary folder.
"""

import contextlib
import sys
import tempfile
import time
from concurrent import futures
from pathlib import Path
from typing import Annotated, Final

import httpx
import typer
from rich.console import Console
from rich.padding import Padding

from examples.chat import SERVICES, traffic
from examples.chat.following import follow, in_loki_of, picture_of_counts, picture_of_request
from examples.chat.report import Report
from examples.chat.stack import PORTS, Stack
from shipper.devstack import parts
from shipper.devstack.broker import EmbeddedBroker
from shipper.devstack.demo import interruptible
from shipper.devstack.demo_screen import Steps, picture_of_progress
from shipper.devstack.demo_shipper import ShipperProcess
from shipper.devstack.kafka import KafkaServer
from shipper.devstack.loki import LokiServer
from shipper.devstack.server import Server, answers
from shipper.devstack.standin import LokiStandIn
from shipper.errors import INTERRUPTED, ShipperError
from shipper.kafka import topics
from shipper.loki.query import LokiReader

_PARTITIONS: Final = 6
_LOOK_S: Final = 0.2
_MARGIN_NS: Final = 60 * 10**9
_STOP_S: Final = 10.0
# A service that is slow because the machine is busy is not one that is stuck: the traffic knows only of the latter.
_UPSTREAM_TIMEOUT_S: Final = 4.0


class _Chat:
    """The servers, in a folder, and what is done with them."""

    def __init__(self, folder: Path, *, kafka: bool, loki: bool, nest: bool, level: str, console: Console) -> None:
        self._console, self._steps = console, Steps(console)
        self._kafka: KafkaServer | EmbeddedBroker = (KafkaServer if kafka else EmbeddedBroker)(folder / "kafka")
        self._loki: LokiServer | LokiStandIn = (LokiServer if loki else LokiStandIn)(folder / "loki")
        self._shipper = ShipperProcess(folder / "shipper", bootstrap=self._kafka.bootstrap, loki_url=self._loki.url)
        self._services = Stack(
            folder / "chat",
            bootstrap=self._kafka.bootstrap,
            servicelog={"level": level},
            ports={service: port for service, port in PORTS.items() if not answers(port)},
            gateway="nest" if nest else "python",
            upstream_timeout_s=_UPSTREAM_TIMEOUT_S,
        )
        self._began_ns = time.time_ns()

    def run(self, requests: int, *, keep: bool) -> int:
        """Start, drive, read back and show; returns the exit code: 0 if all counters agree."""
        self._console.print("\n  [bold]chat[/]  five services, their logs through Kafka and shipper into Loki\n")
        with contextlib.ExitStack() as stack:
            servers: tuple[Server, ...] = (self._kafka, self._loki, self._shipper)
            for server in servers:
                stack.callback(server.kill)
            stack.callback(self._services.kill)
            self._start()
            report = self._drive(requests)
            sent = self._wait(report)
            agree = self._show(report, sent)
            if keep:
                self._keep()
            self._services.stop()
            self._shipper.stop(_STOP_S)
        return 0 if agree else 1

    def _start(self) -> None:
        with self._steps.step("Kafka", "starting") as done:
            self._kafka.start()
            done(f"{self._kafka.name} at {self._kafka.bootstrap}")
        with self._steps.step("Loki", "starting") as done:
            self._loki.start()
            done(f"{self._loki.name} at {self._loki.url}")
        with self._steps.step("shipper", "making topics, starting") as done:
            topics.create(self._shipper.settings, partitions=_PARTITIONS, replication_factor=1)
            self._shipper.start()
            done(f"live page at {self._shipper.url}")
        with self._steps.step("services", "starting") as done:
            self._services.start()
            done(f"{len(SERVICES)}, the gateway at {self._services.gateway_url}")

    def _drive(self, requests: int) -> Report:
        with self._steps.moving_step("traffic") as (show, done):
            began_s, answered = time.monotonic(), [0]
            # In a thread of its own: Ctrl-C ends this one at once, and with it the services, and so the traffic.
            pool = futures.ThreadPoolExecutor(1)
            url = self._services.gateway_url
            driving = pool.submit(traffic.run, url, requests=requests, on_progress=answered.append)
            try:
                while futures.wait([driving], _LOOK_S).not_done:
                    elapsed_s, of = time.monotonic() - began_s, max(requests, answered[-1])
                    picture = picture_of_progress("asking", answered[-1], of, "requests", elapsed_s)
                    show(picture, f"{answered[-1]:,} of {of:,} requests")
            finally:
                pool.shutdown(wait=False)
            report = driving.result()
            refused = sum(sent.status >= 400 for sent in report.requests)  # noqa: PLR2004 - where HTTP's errors begin
            failed = sum(sent.status >= 500 for sent in report.requests)  # noqa: PLR2004 - the same
            done(
                f"{len(report.requests):,} requests, {refused - failed:,} refused, {failed:,} failed, "
                f"{report.exceptions.total():,} exceptions, on purpose"
            )
        return report

    def _wait(self, report: Report) -> dict[str, int]:
        """Wait until the services are done, and all that they have sent is in Loki."""
        with self._steps.step("shipped", "waiting for the last notification, and for shipper") as done:
            sent = self._services.wait_until_done()
            records = sum(sent.values())
            for _ in self._shipper.watch(records, sleep=lambda: time.sleep(_LOOK_S), clock=time.monotonic):
                pass
            done(f"{records:,} records, {records / len(report.requests):.1f} per request")
        return sent

    def _show(self, report: Report, sent: dict[str, int]) -> bool:
        loki, end_ns = LokiReader(self._loki.url), time.time_ns() + _MARGIN_NS
        lines = follow(loki, report.followed, self._began_ns, end_ns)
        counts = loki.counts_by(("service", "level"), '{service=~".+"}', self._began_ns, end_ns)
        found = {(service, level): number for (service, level), number in counts.items()}
        self._print_title(f"One request, as Loki has it: {report.followed}")
        for line in picture_of_request(lines):
            self._console.print(line, soft_wrap=True)  # a long line is left to the terminal, so that it can be copied
        self._print_title("Records by service and level")
        self._console.print(Padding(picture_of_counts(sent, found), (0, 0, 0, 2), expand=False))
        wrong = [service for service in SERVICES if in_loki_of(service, found) != sent[service]]
        missing = set(SERVICES) - {line.service for line in lines}
        if not wrong and not missing:
            said = "each service has sent as many as Loki holds, and the request is found in all five"
            self._console.print(f"\n  [bold green]✓ {sum(sent.values()):,} records:[/] {said}\n", soft_wrap=True)
        for service in wrong:
            self._console.print(f"  ✗ {service}: what it has sent is not what Loki holds", style="bold red")
        for service in sorted(missing):
            self._console.print(f"  ✗ {service}: the request is not found", style="bold red")
        return not wrong and not missing

    def _print_title(self, title: str) -> None:
        self._console.print(f"\n  [bold]{title}[/]\n")

    def _keep(self) -> None:
        for name, what in {
            "live page": self._shipper.url,
            "Kafka": self._kafka.bootstrap,
            "Loki": self._loki.url,
            **{service: self._services.services[service].url for service in SERVICES},
        }.items():
            self._steps.say(name, what)
        self._console.print("\n  Everything is up. Ctrl-C ends it.", style="bold")
        with contextlib.suppress(KeyboardInterrupt):
            while all(service.running for service in self._services.services.values()):
                time.sleep(_LOOK_S)


def chat(
    *,
    requests: Annotated[int, typer.Option(min=1, help="How many, at least.")] = 400,
    level: Annotated[str, typer.Option(help="The services' level.")] = "debug",
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything up, until Ctrl-C.")] = False,
    kafka: Annotated[bool, typer.Option("--kafka", help="Real Apache Kafka instead of the embedded broker.")] = False,
    loki: Annotated[bool, typer.Option("--loki", help="Real Grafana Loki instead of the embedded stand-in.")] = False,
    nest: Annotated[bool, typer.Option("--nest", help="The gateway in NestJS instead of the one in Python.")] = False,
) -> None:
    """Start five services that log, drive traffic through them, and follow one request through all five."""
    console = Console(highlight=False)
    try:
        for name, wanted in (("kafka", kafka), ("loki", loki), ("node", nest)):
            if wanted:
                parts.locate(name)
        with interruptible(), tempfile.TemporaryDirectory(prefix="shipper-chat-") as folder:
            code = _Chat(Path(folder), kafka=kafka, loki=loki, nest=nest, level=level, console=console).run(
                requests, keep=keep
            )
    except KeyboardInterrupt:
        console.print("  stopped; nothing is left running", style="yellow")
        code = INTERRUPTED
    except (ShipperError, traffic.UnexpectedAnswerError, httpx.TransportError) as error:
        said = f"the gateway is away: {error!r}" if isinstance(error, httpx.TransportError) else str(error)
        console.print(f"  ✗ {said}", style="red", markup=False)
        code = error.exit_code if isinstance(error, ShipperError) else 1
    sys.exit(code)


if __name__ == "__main__":
    typer.run(chat)
