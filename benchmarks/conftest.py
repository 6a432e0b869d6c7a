"""How a stage's figures are taken and shown: per record, in a process that is set up as a worker's."""

import gc
from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import baseline
from shipper.process import spawn

PerRecord = Callable[..., Any]
"""`per_record(records, stage, *arguments)` measures a stage that handles so many records at once."""

_US_PER_RECORD = "CPU µs per record"
_FIGURES = pytest.StashKey[list[tuple[str, str, float, float, float | None]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what chooses the cases of the end-to-end run."""
    parser.addoption(
        "--case",
        action="append",
        default=[],
        help="end to end, only cases with this in their name; may be repeated; RESULTS.md is left as it is then",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin with no figures, and with a worker's environment: polars reads it when it is first imported."""
    config.stash[_FIGURES] = []
    spawn.prepare_environment()


@pytest.fixture
def per_record(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> PerRecord:
    """Measures a function, and keeps what it took per record."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000)

    def measure(records: int, stage: Callable[..., Any], *arguments: object) -> object:
        outcome = benchmark(stage, *arguments)
        if benchmark.stats:  # not with --benchmark-disable
            lowest_s, before_s = benchmark.stats.stats.min, baseline.lowest_s().get(benchmark.fullname)
            median, lowest = (1e6 * s / records for s in (benchmark.stats.stats.median, lowest_s))
            ratio = lowest_s / before_s if before_s else None
            benchmark.extra_info[_US_PER_RECORD] = round(median, 4)
            request.config.stash[_FIGURES].append((benchmark.group, benchmark.name, median, lowest, ratio))
        return outcome

    return measure


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the stages, µs per record."""
    figures = config.stash[_FIGURES]
    if not figures:
        return
    terminalreporter.section(_US_PER_RECORD)
    terminalreporter.line(f"{'':<70}{'median':>10}{'lowest':>10}{'to baseline':>12}")
    for group, name, median, lowest, ratio in figures:
        beside = "" if ratio is None else f"{ratio:.2f}"
        terminalreporter.line(f"{group:<12}{name.removeprefix('test_'):<58}{median:>10.3f}{lowest:>10.3f}{beside:>12}")


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Keep nothing local of the machine."""
    baseline.trim_machine(machine_info)


def pytest_benchmark_update_json(output_json: dict[str, Any]) -> None:
    """Keep nothing local of the run."""
    baseline.trim_run(output_json)
