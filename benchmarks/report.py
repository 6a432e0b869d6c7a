"""RESULTS.md and its picture: what was measured, on which machine, with which versions, by which command."""

import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.metadata import version
from pathlib import Path

import confluent_kafka

from benchmarks.cases import BASE, Case
from benchmarks.clients import Way
from benchmarks.end_to_end import Figures, Spread
from benchmarks.instructions import Instructions
from benchmarks.latency import Idle, Latency
from benchmarks.loki_cost import Cost
from benchmarks.measured import Usage
from benchmarks.stream_order import OrderCost
from shipper import native
from shipper.devstack import parts

RESULTS = Path(__file__).with_name("RESULTS.md")
_BAR_HEIGHT, _NAME_WIDTH, _WIDTH = 26, 190, 760


@dataclass
class Results:
    """Everything of one run; what was not asked for is empty."""

    command: str
    cases: dict[Case, Figures] = field(default_factory=dict)
    besides: dict[Case, Spread] = field(default_factory=dict)
    peers: dict[str, tuple[Case, Usage]] = field(default_factory=dict)
    peers_missing: list[str] = field(default_factory=list)
    latencies: dict[str, Latency] = field(default_factory=dict)
    idle: Idle | None = None
    costs: list[Cost] = field(default_factory=list)
    orders: list[OrderCost] = field(default_factory=list)
    instructions: list[Instructions] = field(default_factory=list)
    calls: list[Way] = field(default_factory=list)
    rates: dict[str, Spread] = field(default_factory=dict)
    minutes: float = 0.0
    load: tuple[float, float] = (0.0, 0.0)
    """The machine's load, averaged over a minute, at the beginning and at the end."""


def machine() -> dict[str, str]:
    """Return what the figures depend on: the processor, and what runs on it in which version."""
    models = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    said = subprocess.run([parts.locate("nginx"), "-v"], capture_output=True, text=True, check=True).stderr
    return {
        "processor": f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "librdkafka": confluent_kafka.libversion()[0],
        **{name: version(name) for name in ("confluent-kafka", "msgspec", "numpy", "polars", "python-snappy")},
        "shipper-native": native.describe(wanted=True),
        "Kafka": parts.PARTS["kafka"].version,
        "Loki": parts.PARTS["loki"].version,
        "nginx": said.strip().rpartition("/")[2],
    }


def write(results: Results, to: Path = RESULTS) -> None:
    """Write the results as Markdown, and bars beside them as SVG."""
    picture = to.with_name("results.svg")
    picture.write_text(_svg(_bars(results)), encoding="utf-8")
    to.write_text("\n".join(page(results, picture.name)) + "\n", encoding="utf-8")


def page(results: Results, picture: str = "results.svg") -> list[str]:
    """Return the results as lines of Markdown."""
    told = " · ".join(f"{name} {value}" for name, value in machine().items())
    before, after = results.load
    lines = [
        "# Results",
        "",
        "Written by the command below; [README.md](README.md) says how each figure is taken. CPU time is that of all",
        "threads of the processes, in µs per record. **Trust ratios**: both runs of a pair are slow together.",
        "",
        f"- `{results.command}`, {time.strftime('%Y-%m-%d', time.gmtime())}, {results.minutes:.0f} minutes",
        f"- load of the machine: {before:.1f} before, {after:.1f} after",
        f"- {told}",
        "",
        f"![CPU time per record]({picture})",
        "",
    ]
    if results.cases:
        lines += ["## Cases", "", *_cases(results.cases), *_besides(results.besides), ""]
    if results.peers or results.peers_missing:
        lines += ["## Other shippers, same topic, same sink", "", *_peers(results), ""]
    if results.latencies or results.idle:
        lines += ["## Latency", "", *_latency(results), ""]
    if results.costs:
        lines += ["## Shipper and Loki together", "", *_costs(results.costs), ""]
    if results.orders:
        lines += [_orders(results.orders), ""]
    if results.instructions:
        lines += ["## Instructions", "", *_instructions(results.instructions), ""]
    if results.calls:
        lines += ["## A service's log call", "", *_calls(results), ""]
    return lines


def _cases(cases: Mapping[Case, Figures]) -> list[str]:
    lines = [
        "The ratio is that of the workers to a bare `consume()` loop over the same topic: median, lowest and highest.",
        "",
        "| case | ratio | lowest to highest | worker µs | bare µs | peak RSS MB | records/s (wall) | ratio to base |",
        "|---|---|---|---|---|---|---|---|",
    ]
    base = cases.get(BASE)
    for case, figures in cases.items():
        ratio = figures.ratio
        beside = f"{figures.worker_us.median / base.worker_us.median:.2f}" if base else ""
        cells = (
            case.name,
            f"**{ratio.median:.2f}**",
            f"{ratio.lowest:.2f} to {ratio.highest:.2f}",
            _digits(figures.worker_us),
            _digits(figures.bare_us),
            f"{figures.rss_mb.median:.0f}",
            f"{figures.records_per_s.median:,.0f}",
            beside,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", *(_goals(base) if base else [])]


def _goals(base: Figures) -> list[str]:
    goals = [
        ("at most 3.5 times the bare loop", base.ratio.median, 3.5),
        ("at most 2.0 µs per record", base.worker_us.median, 2.0),
        ("at most 250 MB per worker", base.rss_mb.highest, 250),
    ]
    return [f"- {name}: {_reached(figure, most)} ({figure:.2f})" for name, figure, most in goals]


def _besides(besides: Mapping[Case, Spread]) -> list[str]:
    """The cases that were measured in turns with another one: the ratio to base above is of runs minutes apart."""
    return [
        f"- {case.name}, in turns with {case.beside}: at most {case.beside_most:g} times as much: "
        f"{_reached(ratio.median, case.beside_most)} ({ratio.median:.2f}; {ratio.lowest:.2f} to {ratio.highest:.2f})"
        for case, ratio in besides.items()
    ]


def _reached(figure: float, most: float) -> str:
    return "reached" if figure <= most else "NOT reached"


def _digits(spread: Spread) -> str:
    return f"{spread.median:.2f}" if spread.median < 100 else f"{spread.median:.0f}"


def _peers(results: Results) -> list[str]:
    lines = ["| shipper | CPU µs | peak RSS MB | records/s (wall) |", "|---|---|---|---|"]
    if base := results.cases.get(BASE):
        lines.append(
            f"| **shipper, one worker** | **{_digits(base.worker_us)}** | {base.rss_mb.median:.0f} "
            f"| {base.records_per_s.median:,.0f} |"
        )
    for name, (case, usage) in results.peers.items():
        cpu_us, rate = 1e6 * usage.cpu_s / case.records, case.records / usage.wall_s
        lines.append(f"| {name} ({_version(name)}) | {cpu_us:.2f} | {usage.rss_peak_bytes / 1e6:.0f} | {rate:,.0f} |")
    lines += [f"| {name} | not on PATH | | |" for name in results.peers_missing]
    return [
        *lines,
        "",
        "Their configurations are in `peers/`; each says what it does with a record. The median of three runs each.",
    ]


def _version(name: str) -> str:
    said = subprocess.run([shutil.which(name) or name, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+\.\d+", (said.stdout + said.stderr).partition("\n")[0])
    return found[0] if found else "version unknown"


def _latency(results: Results) -> list[str]:
    lines = [
        "From `produce()` to a query that shows the record, on a real Loki, at 1,000 records/s, two workers:",
        "",
        "| setting | records | p50 | p99 | longest | between two queries |",
        "|---|---|---|---|---|---|",
    ]
    for name, it in results.latencies.items():
        seconds = " | ".join(f"{1000 * s:.0f} ms" for s in (it.p50_s, it.p99_s, it.max_s, it.between_queries_s))
        lines.append(f"| {name} | {it.records:,} | {seconds} |")
    if results.idle:
        lines += [
            "",
            f"Idle: {results.idle.worker:.2%} of a core per worker, {results.idle.supervisor:.2%} the supervisor.",
        ]
    return lines


def _costs(costs: Sequence[Cost]) -> list[str]:
    lines = ["| settings | shipper µs | Loki µs | together | records/s (wall) |", "|---|---|---|---|---|"]
    for cost in costs:
        both = cost.shipper_us + cost.loki_us
        lines.append(
            f"| {cost.name} | {cost.shipper_us:.2f} | {cost.loki_us:.2f} | **{both:.2f}** | {cost.records_per_s:,.0f} |"
        )
    return lines


def _orders(orders: Sequence[OrderCost]) -> str:
    costs = "; ".join(f"{cost.order} {cost.loki_us:.2f}" for cost in orders)
    return f"Order of the streams in a request (200 streams), CPU µs of Loki per record: {costs}."


def _instructions(counted: Sequence[Instructions]) -> list[str]:
    lines = [
        "Of `prepare()`, all of a worker but Kafka, compression and HTTP.",
        "",
        "| way | per record | counted by |",
    ]
    return [*lines, "|---|---|---|", *(f"| {of.way} | {of.per_record:,.0f} | {of.counted_by} |" for of in counted)]


def _calls(results: Results) -> list[str]:
    lines = [
        "With three bound fields, a logger's field, three fields of metadata. The ratio is to servicelog in the same",
        "round.",
        "",
        "| language | way | CPU µs a call | lowest to highest | ratio | lowest to highest |",
        "|---|---|---|---|---|---|",
    ]
    for way in results.calls:
        spreads = (f"{of.median:.2f} | {of.lowest:.2f} to {of.highest:.2f}" for of in (way.call_us, way.ratio))
        lines.append(f"| {way.language} | {way.name} | {' | '.join(spreads)} |")
    own_us = next(way.call_us.median for way in results.calls if way.name == "servicelog")
    lines += ["", f"- at most 10 µs a call in Python: {_reached(own_us, 10)} ({own_us:.2f})"]
    for language, rate in results.rates.items():
        range_ = f"{rate.lowest:,.0f} to {rate.highest:,.0f}"
        lines.append(
            f"- one process of {language} sends {rate.median:,.0f} records/s ({range_}), from the first call until "
            "Kafka has confirmed the last"
        )
    return [*lines, "", "Only servicelog redacts; the others write to nowhere, it into its queue."]


def _bars(results: Results) -> list[tuple[str, float]]:
    bars = [(f"shipper: {case.name}", figures.worker_us.median) for case, figures in results.cases.items()]
    if base := results.cases.get(BASE):
        bars.insert(0, ("bare consume loop", base.bare_us.median))
    bars = [bar for bar in bars if "KB" not in bar[0] and "1,500" not in bar[0]]
    return bars + [(name, 1e6 * usage.cpu_s / case.records) for name, (case, usage) in results.peers.items()]


def _svg(bars: Sequence[tuple[str, float]]) -> str:
    longest = max((value for _, value in bars), default=1.0)
    height = _BAR_HEIGHT * (len(bars) + 2)
    rows = []
    for row, (name, value) in enumerate(bars):
        top, width = _BAR_HEIGHT * (row + 1.5), (_WIDTH - _NAME_WIDTH - 60) * value / longest
        color = "#2f6f4f" if name.startswith("shipper") else "#8a8a8a"
        rows.append(
            f'<text x="{_NAME_WIDTH - 8}" y="{top + 13:.0f}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{_NAME_WIDTH}" y="{top:.0f}" width="{width:.0f}" height="18" fill="{color}"/>'
            f'<text x="{_NAME_WIDTH + width + 6:.0f}" y="{top + 13:.0f}">{value:.2f}</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="13">'
        f'<rect width="100%" height="100%" fill="white"/>'
        f'<text x="8" y="22" font-size="15">CPU time per record, µs (lower is better)</text>{"".join(rows)}</svg>\n'
    )
