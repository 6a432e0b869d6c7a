"""Counting instructions: seen to work where something counts, and to say so where nothing does."""
# ruff: noqa: D103 - a test's name is its documentation

import pytest

from benchmarks import instructions, report
from benchmarks.prepared import RECORDS


def test_where_nothing_counts_a_sentence_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert instructions.measure_instructions() == []
    assert "no instructions are counted" in capsys.readouterr().out


@pytest.mark.parametrize(
    "said",
    ["==1== I   refs:      1,234\n", "1234,,instructions:u,1,100.00,,\n"],
    ids=["valgrind", "perf"],
)
def test_what_is_counted_is_the_difference_of_two_processes(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = iter([said, said.replace("1,234", "20,001,234").replace("1234,", "20001234,")])
    monkeypatch.setattr(instructions, "_run", lambda _: next(runs))
    counted = instructions.per_record(["counter"], "python", rounds=2)
    assert counted == 20_000_000 / (2 * RECORDS)
    page = report.page(report.Results("a test", instructions=[instructions.Instructions("Python", 17_977.2, "perf")]))
    assert "| Python | 17,977 | perf |" in page
