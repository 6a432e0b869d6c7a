"""The measuring of a service's log calls: seen to work, on a few calls."""
# ruff: noqa: D103 - a test's name is its documentation

from benchmarks import clients, report
from benchmarks.end_to_end import Spread


def test_log_calls_are_measured_and_told() -> None:
    ways = list(clients.measure_calls(calls=50, rounds=2))
    assert {way.language for way in ways} - {"Node"} == {"Python"}  # Node where it is
    for way in ways:
        assert 0 < way.call_us.lowest <= way.call_us.median <= way.call_us.highest
        assert way.name != "servicelog" or way.ratio == Spread(1, 1, 1)
    page = "\n".join(report.page(report.Results("a test", calls=ways, rates={"Node": Spread(1_234, 1, 2_000)})))
    assert "| Python | logging with python-json-logger |" in page
    assert "one process of Node sends 1,234 records/s" in page
