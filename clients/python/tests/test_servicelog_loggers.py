"""The loggers' own calls, what is told of delivery, and the library as `configure` sets it up."""

from collections.abc import Iterator

import pytest

import servicelog
from answering import Answering, answering
from keeping import Kept, keeping
from reading import wait_for
from servicelog.console import Console
from servicelog.core import CURRENT, use
from servicelog.metrics import Latencies


@pytest.fixture
def kept() -> Iterator[Kept]:
    with keeping(level="trace") as sink:
        yield sink


LEVELS = {
    "trace": "trace", "debug": "debug", "info": "info", "warn": "warn", "warning": "warn", "error": "error",
    "exception": "error", "fatal": "fatal", "critical": "fatal",
}  # fmt: skip


def test_every_call_writes_its_level_and_log_any_that_is_named(kept: Kept) -> None:
    log = servicelog.get_logger("t")
    for name in LEVELS:
        getattr(log, name)("m")
    for name in ("Silly", "VERBOSE", "notice", "loud"):
        log.log(name, "m")
    levels = [record["level"] for record in kept.records]
    assert levels == [*LEVELS.values(), "trace", "debug", "info", "info"]
    assert [record.get("logProblem") for record in kept.records][-2:] == [None, 'unknown level "loud"']


def test_exception_tells_what_is_handled_and_nothing_where_nothing_is(kept: Kept) -> None:
    log = servicelog.get_logger("t")
    log.exception("m")  # noqa: LOG004 - it is what is asked
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        log.exception("m")
    nothing, told = kept.records
    assert "error" not in nothing
    assert told["error"]["type"] == "ZeroDivisionError"


def test_a_level_that_is_off_is_not_written_by_any_call(kept: Kept) -> None:
    log = servicelog.get_logger("quiet.part")
    CURRENT.core.levels.set_live({"quiet": "fatal"})
    for name in LEVELS:
        getattr(log, name)("m")
    log.log("warn", "m")
    with log.timed("m"):
        pass
    assert [record["level"] for record in kept.records] == ["fatal", "fatal"]


def test_stderr_shows_so_many_lines_and_counts_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(lines_per_s=2_000)
    for n in range(2_100):
        console.show(b"%d" % n)
    assert console.hidden == 100
    console.write_out(everything=True)
    assert capsys.readouterr().err.split() == [str(n) for n in range(2_000)]


def test_latencies_are_told_as_upper_bounds_of_classes() -> None:
    latencies = Latencies()
    assert latencies.summary() == {"p50": 0.0, "p99": 0.0, "max": 0.0}
    for time_ms in [3.0] * 98 + [40.0, 700_000.0]:
        latencies.add(time_ms)
    assert latencies.summary() == {"p50": 5.0, "p99": 50.0, "max": 700_000.0}


def test_configure_asks_for_levels_until_it_is_told_otherwise() -> None:
    before = CURRENT.core
    with answering() as address:
        Answering.levels = (200, '"1"', b'{"levels":{"*":"debug"}}')
        try:
            servicelog.configure(service="s", logging=False, level_url=f"{address}/v1/levels/s", level_every_s=0.02)
            wait_for(lambda: servicelog.get_logger("t").is_enabled("debug"), "the level is applied")
            servicelog.configure(service="s", logging=False)
            asked = Answering.asked
            assert not servicelog.get_logger("t").is_enabled("debug")
        finally:
            use(before)
    assert Answering.asked <= asked + 1, "one may have been under way"
