"""The comparison of `verify`, held against a plain one with counters; spilled to disk or not, in whatever order."""

import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.tools.comparison import Comparison
from shipper.tools.ledger import Kind, Ledger, LedgerFullError, Place, fingerprint, rows_of

PARTITIONS = 3


class Row(NamedTuple):
    """A row of the ledger, with what it stands for in place of a fingerprint."""

    what: int
    where: int
    partition: int
    kind: Kind


ROWS = st.lists(
    st.builds(Row, st.integers(0, 5), st.just(0), st.integers(0, PARTITIONS - 1), st.sampled_from(Kind)),
    max_size=60,
).map(
    lambda rows: [
        row._replace(partition=0 if row.kind is Kind.FOUND else row.partition, where=number)
        for number, row in enumerate(rows)
    ]
)


def compared(rows: Sequence[Row], rows_max: int = 1_000) -> Comparison:
    comparison = Comparison(PARTITIONS, 1_000)
    with Ledger(rows_max) as ledger:
        for first in range(0, len(rows), 7):
            part = rows[first : first + 7]
            columns = [np.array(column, np.int64) for column in zip(*part, strict=True)][1:]
            ledger.add(rows_of([fingerprint(str(row.what).encode()) for row in part], *columns))
        comparison.take(ledger.groups())
    return comparison


@given(ROWS)
def test_every_row_counts_as_a_plain_comparison_counts_it(rows: list[Row]) -> None:
    expected: dict[str, Counter[int]] = defaultdict(Counter)
    surplus = unexplained = collapsed = 0
    missing = []
    for what in {row.what for row in rows}:
        same = [row for row in rows if row.what == what]
        records = [row for row in same if row.kind is not Kind.FOUND]
        stored = len(same) - len(records)
        buried = [row for row in records if row.kind is Kind.BURIED]
        for row in records:
            if row.kind is Kind.BURIED:
                in_both = stored > 0 and len(buried) == len(records)
                expected["found" if in_both else "buried"][row.partition] += 1
                expected["in_both"][row.partition] += in_both
            elif row.kind is not Kind.OTHER:
                fate = "found" if stored else {Kind.DUE: "missing", Kind.FADED: "faded"}[row.kind]
                expected[fate][row.partition] += 1
                if fate == "missing":
                    missing.append(Place(row.partition, row.where))
        if records:
            surplus += max(0, stored - len(records))
            collapsed += max(0, len(records) - len(buried) - stored) if stored else 0
        else:
            unexplained += stored

    comparison = compared(rows)
    for name in ("found", "missing", "faded", "buried", "in_both"):
        assert Counter(dict(enumerate(getattr(comparison, name).tolist()))) == expected[name], name
    assert comparison.missing_at == sorted(missing)
    assert comparison.surplus.sum() == surplus
    assert (comparison.unexplained, comparison.collapsed) == (unexplained, collapsed)


@given(ROWS, st.randoms(use_true_random=False))
def test_neither_the_order_nor_the_disk_changes_what_is_found(rows: list[Row], shuffling: random.Random) -> None:
    held = compared(rows)
    shuffling.shuffle(rows)
    spilled = compared(rows, rows_max=10)
    for name in ("found", "missing", "faded", "buried", "in_both"):
        assert np.array_equal(getattr(held, name), getattr(spilled, name)), name
    assert held.surplus.sum() == spilled.surplus.sum()
    assert held.missing_at == spilled.missing_at
    assert (held.unexplained, held.collapsed) == (spilled.unexplained, spilled.collapsed)


def test_a_second_copy_is_told_once_with_its_time_and_in_the_partition_of_its_record() -> None:
    rows = [Row(1, 7, 2, Kind.DUE), *(Row(1, 99, 0, Kind.FOUND) for _ in range(3)), Row(2, 8, 1, Kind.DUE)]
    comparison = compared(rows)
    assert comparison.surplus.tolist() == [0, 0, 2]
    assert [array["where"].tolist() for array in comparison.surplus_rows] == [[99]]


def test_only_the_first_of_the_missing_are_listed() -> None:
    comparison = Comparison(1, listed_max=3)
    comparison.list_missing(Place(0, offset) for offset in (9, 2, 5))
    comparison.list_missing(Place(0, offset) for offset in (3, 8))
    assert comparison.missing_at == [(0, 2), (0, 3), (0, 5)]


def test_rows_beyond_the_bound_lie_on_disk_and_are_cleared_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows = rows_of([fingerprint(bytes([n])) for n in range(200)], *(np.arange(200),) * 3)
    with Ledger(rows_max=100) as ledger:
        ledger.add(rows)
        ledger.add(rows)
        assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) == 400 * 32
        assert sum(map(len, ledger.groups())) == 400
    assert not list(tmp_path.iterdir())


def test_a_disk_that_takes_nothing_is_said_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(blocked))
    with Ledger(rows_max=1) as ledger, pytest.raises(LedgerFullError, match="set TMPDIR to a folder with room"):
        ledger.add(rows_of([fingerprint(b"")], *(np.zeros(1, np.int64),) * 3))
