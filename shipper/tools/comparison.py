"""Compares what must be in Loki with what is: as multisets, by fingerprint. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from shipper.records import Bools, Int64s
from shipper.tools.ledger import Kind, Place, Rows


@dataclass
class Comparison:
    """What became of the rows of a ledger; arrays have an element per partition.

    Attributes:
        found: records whose entry is in Loki.
        missing: records whose entry is neither in Loki nor, as a letter, in the dead letter topic.
        faded: records whose entry is not in Loki, which may have deleted it by now.
        buried: records with a letter, whose entry is not in Loki.
        in_both: of those found, records that have a letter as well.
        surplus: copies of entries over the number of records that they stand for.
        collapsed: records that share an entry: Loki keeps equal entries of a stream once.
        unexplained: entries that no record explains.
        missing_at: the first of the missing.
        surplus_rows: rows of the first surplus entries.
        unexplained_rows: rows of the first entries that no record explains.
    """

    partitions: int
    listed_max: int
    found: Int64s = field(init=False)
    missing: Int64s = field(init=False)
    faded: Int64s = field(init=False)
    buried: Int64s = field(init=False)
    in_both: Int64s = field(init=False)
    surplus: Int64s = field(init=False)
    collapsed: int = 0
    unexplained: int = 0
    missing_at: list[Place] = field(default_factory=list)
    surplus_rows: list[Rows] = field(default_factory=list)
    unexplained_rows: list[Rows] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("found", "missing", "faded", "buried", "in_both", "surplus"):
            setattr(self, name, np.zeros(self.partitions, np.int64))

    def take(self, groups: Iterable[Rows]) -> None:
        """Compare the rows of a ledger."""
        for rows in groups:
            if len(rows):
                self._compare(rows)

    def list_missing(self, places: Iterable[Place]) -> None:
        """Add to those that are listed; only the first by partition and offset are kept."""
        self.missing_at = sorted([*self.missing_at, *places])[: self.listed_max]

    def _compare(self, rows: Rows) -> None:
        rows = rows[np.lexsort((rows["low"], rows["high"]))]
        begins = np.append(True, (np.diff(rows["high"]) != 0) | (np.diff(rows["low"]) != 0))
        equal = np.cumsum(begins) - 1
        kinds = rows["kind"]
        copies = {kind: np.bincount(equal[kinds == kind], minlength=equal[-1] + 1) for kind in Kind}
        stored = copies[Kind.FOUND]
        records: Int64s = np.bincount(equal[kinds != Kind.FOUND], minlength=equal[-1] + 1)

        is_stored = stored[equal] > 0
        due, faded, buried = (kinds == kind for kind in (Kind.DUE, Kind.FADED, Kind.BURIED))
        # An entry stands for the records without a letter first.
        in_both = buried & is_stored & (records == copies[Kind.BURIED])[equal]
        self.found += self._by_partition(rows, (due | faded) & is_stored | in_both)
        self.missing += self._by_partition(rows, due & ~is_stored)
        self.faded += self._by_partition(rows, faded & ~is_stored)
        self.buried += self._by_partition(rows, buried & ~in_both)
        self.in_both += self._by_partition(rows, in_both)
        lost = rows[due & ~is_stored]
        self.list_missing(map(Place, lost["partition"].tolist(), lost["where"].tolist()))

        explained = records > 0
        promised = records - copies[Kind.BURIED]
        self.collapsed += int(np.maximum(promised - stored, 0)[explained & (stored > 0)].sum())
        self.unexplained += int(stored[~explained].sum())
        self._list(self.unexplained_rows, rows[(kinds == Kind.FOUND) & ~explained[equal]])
        over = np.where(explained, np.maximum(stored - records, 0), 0)
        # The first record of an entry says in whose partition a surplus copy is counted.
        first = np.full(equal[-1] + 1, len(rows), np.int64)
        of_records = np.flatnonzero(kinds != Kind.FOUND)
        np.minimum.at(first, equal[of_records], of_records)
        doubled = np.flatnonzero(over)
        np.add.at(self.surplus, rows["partition"][first[doubled]], over[doubled])
        self._list(self.surplus_rows, _first_of_each(rows, equal, over[equal] > 0))

    def _by_partition(self, rows: Rows, chosen: Bools) -> Int64s:
        return np.bincount(rows["partition"][chosen], minlength=self.partitions)

    def _list(self, listed: list[Rows], rows: Rows) -> None:
        room = self.listed_max - sum(map(len, listed))
        if room > 0 and len(rows):
            listed.append(rows[:room])


def _first_of_each(rows: Rows, equal: Int64s, chosen: Bools) -> Rows:
    """Return one entry of each chosen group of equal rows."""
    at = np.flatnonzero(chosen & (rows["kind"] == Kind.FOUND))
    return rows[at[np.unique(equal[at], return_index=True)[1]]]
