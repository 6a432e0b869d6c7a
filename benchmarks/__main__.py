"""`python -m benchmarks`: measures shipper end to end, against real Kafka, a sink that reads bodies, and a real Loki.

Processes are spawned from here, and spawning imports the program's main module again, unless it has this name: so what
is measured has nothing in memory that a worker would not have.
"""

import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import clients, end_to_end, instructions, latency, loki_cost, peers, report, stream_order
from benchmarks.cases import BASE, CASES, Case
from benchmarks.measured import NotMeasuredError
from shipper.devstack.kafka import KafkaServer
from shipper.devstack.loki import LokiServer
from shipper.devstack.nginx import NginxSink
from shipper.errors import ShipperError
from shipper.process import spawn

PARTS = ("cases", "peers", "latency", "loki", "clients", "instructions")
_NAMES = ", ".join(one.name for one in CASES)
_BESIDE_PAIRS = 7  # a tenth more or less is what they are to tell
_LATENCY_S, _IDLE_S = 20.0, 20.0
_PEER_RUNS = 3  # the median of them counts


def main(
    parts: Annotated[list[str] | None, typer.Argument(help=f"Which of {', '.join(PARTS)}; all by default.")] = None,
    case: Annotated[list[str] | None, typer.Option(help="Only cases with this in their name; may be repeated.")] = None,
    scale: Annotated[float, typer.Option(help="Share of the records that each case has.")] = 1.0,
    pairs: Annotated[int, typer.Option(help="Runs of each case that count; 0: as many as it has.")] = 0,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="A setting other than default, section.key=value.")
    ] = None,
    *,
    write: Annotated[bool, typer.Option("--write", help="Write RESULTS.md and its picture.")] = False,
) -> None:
    """Measure a worker against a bare consume loop, other shippers, latency, Loki's cost, and a service's log call."""
    if unknown := set(parts or ()) - set(PARTS):
        raise typer.BadParameter(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if not _named(case or []):
        raise typer.BadParameter(f"no case has {' or '.join(case or [])} in its name; there are {_NAMES}")
    chosen = parts or list(PARTS)
    results = report.Results(" ".join(["python -m benchmarks", *sys.argv[1:]]))
    began, load = time.monotonic(), os.getloadavg()[0]
    spawn.prepare_environment()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="shipper-bench-") as folder,
            KafkaServer(Path(folder, "kafka")) as kafka,
        ):
            if {"cases", "peers"} & set(chosen):
                _measure_cases(results, kafka, Path(folder), chosen, case or [], scale, pairs, tuple(sets or ()))
            if "latency" in chosen:
                _measure_latency(results, kafka, Path(folder))
            if "loki" in chosen:
                _measure_loki(results, kafka, scale)
            if "clients" in chosen:
                _measure_clients(results, kafka)
            if "instructions" in chosen:
                print("instructions", flush=True)
                results.instructions = instructions.measure_instructions()
    except (ShipperError, NotMeasuredError) as error:
        print(f"not measured: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    results.minutes, results.load = (time.monotonic() - began) / 60, (load, os.getloadavg()[0])
    print(*report.page(results), sep="\n")
    if write:
        report.write(results)
        print(f"wrote {report.RESULTS}")


def _named(names: list[str]) -> list[Case]:
    return [one for one in CASES if not names or any(name in one.name for name in names)]


def _measure_cases(
    results: report.Results,
    kafka: KafkaServer,
    folder: Path,
    chosen: list[str],
    names: list[str],
    scale: float,
    pairs: int,
    overrides: tuple[str, ...],
) -> None:
    cases = _named(names)
    with NginxSink(folder / "nginx") as sink:
        for number, one in enumerate(cases):
            scaled = replace(one, records=max(1_000, int(one.records * scale)))
            print(f"[{number + 1}/{len(cases)}] {one.name}: writing {scaled.records:,} records", flush=True)
            topic = end_to_end.fill_topic(kafka.bootstrap, scaled)
            if "cases" in chosen:
                measured = end_to_end.run_pairs(topic, sink.url, overrides, pairs=pairs or one.pairs, show=_show)
                results.cases[one] = end_to_end.summarise(scaled, measured)
                if one.beside:
                    other = next(case for case in CASES if case.name == one.beside)
                    beside = end_to_end.fill_topic(kafka.bootstrap, replace(other, records=scaled.records))
                    results.besides[one] = end_to_end.run_beside(
                        topic, beside, sink.url, overrides, pairs=pairs or _BESIDE_PAIRS, show=_show
                    )
            if "peers" in chosen and one == BASE:
                here, results.peers_missing = peers.on_path()
                for peer in here:
                    usages = [peers.measure_peer(peer, topic, sink.url) for _ in range(_PEER_RUNS)]
                    usage = sorted(usages, key=lambda one: one.cpu_s)[_PEER_RUNS // 2]
                    results.peers[peer.name] = (scaled, usage)
                    _show(f"{peer.name}: {1e6 * usage.cpu_s / scaled.records:.2f} µs a record")


def _measure_latency(results: report.Results, kafka: KafkaServer, folder: Path) -> None:
    with LokiServer(folder / "loki") as loki:
        for setting in ("kafka.batch_wait_s=0.25", "kafka.batch_wait_s=0.05", "kafka.batch_wait_s=1"):
            print(f"latency, {setting}", flush=True)
            with latency.running(kafka.bootstrap, loki.url, [setting]) as (supervisor, topic):
                results.latencies[setting] = latency.measure_latency(
                    kafka.bootstrap, loki.url, topic, seconds=_LATENCY_S
                )
                if results.idle is None:
                    results.idle = latency.measure_idle(supervisor, _IDLE_S)


def _measure_loki(results: report.Results, kafka: KafkaServer, scale: float) -> None:
    case = replace(BASE, records=int(BASE.records * scale))
    topic = end_to_end.fill_topic(kafka.bootstrap, case)
    for cost in loki_cost.measure_costs(topic, peers.on_path()[0]):
        _show(f"{cost.name}: shipper {cost.shipper_us:.2f} µs, Loki {cost.loki_us:.2f} µs a record")
        results.costs.append(cost)
    results.orders = list(stream_order.measure_orders())


def _measure_clients(results: report.Results, kafka: KafkaServer) -> None:
    print("log calls of services", flush=True)
    for way in clients.measure_calls():
        _show(f"{way.language}, {way.name}: {way.call_us.median:.2f} µs a call")
        results.calls.append(way)
    results.rates = clients.measure_rates(kafka.bootstrap)


def _show(line: str) -> None:
    print(f"    {line}", flush=True)


if __name__ == "__main__":
    typer.run(main)
