"""How a stage's figures are taken and shown: per record, in a process that is set up as a worker's."""

import gc
from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from shipper.process import spawn

PerRecord = Callable[..., Any]
"""`per_record(records, stage, *arguments)` measures a stage that handles so many records at once."""

_US_PER_RECORD = "CPU µs per record"
_FIGURES = pytest.StashKey[list[tuple[str, str, float, float]]]()


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
            median, lowest = (1e6 * s / records for s in (benchmark.stats.stats.median, benchmark.stats.stats.min))
            benchmark.extra_info[_US_PER_RECORD] = round(median, 4)
            request.config.stash[_FIGURES].append((benchmark.group, benchmark.name, median, lowest))
        return outcome

    return measure


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the stages, µs per record."""
    figures = config.stash[_FIGURES]
    if not figures:
        return
    terminalreporter.section(_US_PER_RECORD)
    terminalreporter.line(f"{'':<70}{'median':>10}{'lowest':>10}")
    for group, name, median, lowest in figures:
        terminalreporter.line(f"{group:<12}{name.removeprefix('test_'):<58}{median:>10.3f}{lowest:>10.3f}")
