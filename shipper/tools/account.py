"""What became of the records of Kafka, as far as Kafka alone can tell; the rest goes into the ledger."""

from collections.abc import Mapping

import numpy as np

from shipper.records import Bools, Int64s, Prepared, StreamSet, TopicPartition
from shipper.tools import entries
from shipper.tools.ledger import Kind, Ledger, Place, rows_of
from shipper.tools.letters import Letters

_DAY_NS = 86_400 * 10**9


class Account:
    """Takes prepared records, and counts them by partition; arrays have an element per partition.

    Args:
        judged: the range of offsets of each partition that is judged; other records only explain what Loki holds.
        letters: which records have a dead letter.
        ledger: is given a row for each record that has an entry.
        horizon_ns: Loki may have deleted entries that are older.
        listed_max: how many of the unburied are remembered one by one.

    Attributes:
        records: those that are judged.
        filtered: of them, dropped by a rule.
        buried: of them, those that can never be shipped, and have their letter.
        unburied: those that can never be shipped, and have none.
        unburied_at: the first of them.
        first: the first offset that there was; -1 without any.
        days: first and last timestamp of the entries that Loki must hold, by day.
    """

    def __init__(
        self,
        judged: Mapping[TopicPartition, range],
        letters: Letters,
        ledger: Ledger,
        *,
        horizon_ns: int,
        listed_max: int,
    ) -> None:
        self._letters, self._ledger, self._horizon_ns, self._listed_max = letters, ledger, horizon_ns, listed_max
        self._indices: dict[str, Int64s] = {}
        for index, at in enumerate(judged):
            known = self._indices.get(at.topic, np.zeros(0, np.int64))
            grown = np.zeros(max(len(known), at.partition + 1), np.int64)
            grown[: len(known)], grown[at.partition] = known, index
            self._indices[at.topic] = grown
        self._starts = np.array([span.start for span in judged.values()], np.int64)
        self._stops = np.array([span.stop for span in judged.values()], np.int64)
        self.records, self.filtered, self.buried, self.unburied = (np.zeros(len(judged), np.int64) for _ in range(4))
        self.first = np.full(len(judged), -1, np.int64)
        self.unburied_at: list[Place] = []
        self.days: dict[int, tuple[int, int]] = {}

    def take(self, prepared: Prepared) -> None:
        """Account for the records of a preparation."""
        batch, streams = prepared.batch, prepared.streams
        partitions, offsets = self._indices[batch.topic][batch.partitions], batch.offsets
        judged = (offsets >= self._starts[partitions]) & (offsets < self._stops[partitions])
        lettered = self._letters.have(batch)
        dropped = judged.copy()
        dropped[streams.rows] = False
        rejected = np.array([guilty.row for guilty in prepared.rejected], np.int64)
        dropped[rejected] = False
        self.records += self._count(partitions[judged])
        self.filtered += self._count(partitions[dropped])
        rejected = rejected[judged[rejected]]
        self.buried += self._count(partitions[rejected[lettered[rejected]]])
        unburied = rejected[~lettered[rejected]]
        self.unburied += self._count(partitions[unburied])
        places = map(Place, partitions[unburied].tolist(), offsets[unburied].tolist())
        self.unburied_at = sorted([*self.unburied_at, *places])[: self._listed_max]
        unseen = np.flatnonzero(self.first < 0)
        for index in unseen.tolist():
            of_it = offsets[partitions == index]
            if len(of_it):
                self.first[index] = of_it[0]
        if len(streams):
            self._enter(streams, partitions, offsets, judged, lettered)

    def _enter(self, streams: StreamSet, partitions: Int64s, offsets: Int64s, judged: Bools, lettered: Bools) -> None:
        fingerprints, timestamp_ns = entries.of_streams(streams)
        rows = streams.rows
        kinds = np.where(timestamp_ns < self._horizon_ns, Kind.FADED, Kind.DUE)
        kinds[lettered[rows]] = Kind.BURIED
        kinds[~judged[rows]] = Kind.OTHER
        self._ledger.add(rows_of(fingerprints, offsets[rows], partitions[rows], kinds))
        wanted = timestamp_ns[(kinds == Kind.DUE) | (kinds == Kind.FADED)]
        days = wanted // _DAY_NS
        for day in np.unique(days).tolist():
            of_day = wanted[days == day]
            first, last = int(of_day.min()), int(of_day.max())
            known = self.days.get(day, (first, last))
            self.days[day] = (min(first, known[0]), max(last, known[1]))

    def _count(self, partitions: Int64s) -> Int64s:
        return np.bincount(partitions, minlength=len(self.records))
