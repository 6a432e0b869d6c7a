"""The judge: what must become of every record, by the oracle that shares no code with the engine, and what has.

A record is *settled* when it is filtered, is in Loki, or is in the dead letter topic. A position may be committed only
if all records before it are settled, or were deleted from Kafka before anybody could read them.
"""

from collections import Counter
from dataclasses import dataclass, field

import oracle
from messages import StoredMessage
from shipper.devstack.standin.store import Tenant
from shipper.records import Reason
from shipper.settings import Settings
from simulation.broker import Broker
from simulation.letterbox import Letter
from simulation.loki import LINE_BYTES_MAX
from simulation.world import BrokenPromiseError

Place = tuple[int, int]
"""(partition, offset)"""
Entry = tuple[tuple[tuple[str, str], ...], int, bytes, tuple[tuple[str, str], ...]]
"""(labels, nanoseconds, line, structured metadata)"""
_ADDED_BY_LOKI = ("service_name", "detected_level")


@dataclass(eq=False)
class Fate:
    """What must become of one record, and what has.

    Attributes:
        place: where it is in Kafka.
        must: what must become of it.
        is_settled: whether it has.
        letters: how many letters there are of it.
        is_gone: whether Kafka lost it before it was settled.
        is_told: whether a worker has to say so; nobody can who had not begun to read.
    """

    place: Place
    must: oracle.Outcome
    is_settled: bool = False
    letters: int = 0
    is_gone: bool = False
    is_told: bool = False

    def __str__(self) -> str:
        return f"record logs/{self.place[0]}/{self.place[1]}"


@dataclass
class Ledger:
    """All records of a simulation."""

    settings: Settings
    broker: Broker
    fates: list[Fate] = field(default_factory=list)
    _at: dict[Place, Fate] = field(default_factory=dict)
    _by_line: dict[bytes, Fate] = field(default_factory=dict)
    _by_value: dict[bytes | None, Fate] = field(default_factory=dict)
    _prefix: Counter[int] = field(default_factory=Counter)

    def write(self, record: StoredMessage, now_ns: int) -> None:
        """Note a record that was written to Kafka."""
        _, *place = record.place
        must = oracle.expect(record, self.settings, now_ns=now_ns)
        fate = Fate((place[0], place[1]), must, is_settled=isinstance(must, oracle.Filtered))
        if isinstance(must, oracle.Shipped):
            self._by_line[must.line] = fate
            if len(must.line) > LINE_BYTES_MAX:
                fate.must = oracle.DeadLettered(Reason.LINE_TOO_LONG)
        self._by_value[record.value()] = self._at[fate.place] = fate
        self.fates.append(fate)

    def stored(self, line: bytes) -> None:
        """Note a line that Loki has stored."""
        fate = self._by_line.get(line)
        if fate is None:
            raise BrokenPromiseError(f"Loki was sent a line that nobody wrote: {line!r}")
        if not isinstance(fate.must, oracle.Shipped):
            raise BrokenPromiseError(f"{fate} is in Loki, and should be {fate.must}")
        fate.is_settled = True

    def buried(self, letter: Letter) -> None:
        """Note a letter in the dead letter topic."""
        fate = self._by_value[letter.value]
        if fate.must != oracle.DeadLettered(Reason(letter.reason)) or fate.place != (letter.partition, letter.offset):
            raise BrokenPromiseError(f"{fate} has a letter, {letter}, and should be {fate.must}")
        fate.is_settled = True
        fate.letters += 1

    def deleted(self, partition: int, before: int) -> None:
        """Note that retention passed: whoever has begun to read has to say what it did not see."""
        for place, fate in self._at.items():
            if place[0] == partition and place[1] < before and not (fate.is_settled or fate.is_gone):
                fate.is_gone = True
                fate.is_told = partition in self.broker.begun_s

    def made_anew(self, partition: int) -> None:
        """Note that a partition begins again at 0: what was not settled is gone, and nobody can count it."""
        for place in [place for place in self._at if place[0] == partition]:
            fate = self._at.pop(place)
            fate.is_gone, fate.is_told = not fate.is_settled, False
        self._prefix[partition] = 0

    def committed(self, partition: int, position: int, epoch: int) -> None:
        """Judge a position that is committed, by somebody who has begun to read the partition as it is now.

        Raises: BrokenPromiseError if a record before it is not settled.
        """
        log = self.broker.logs[partition]
        if epoch < log.epoch:
            return
        if position > log.high:
            raise BrokenPromiseError(f"{position} is committed of partition {partition}, which ends at {log.high}")
        while self._prefix[partition] < position:
            fate = self._at.get((partition, self._prefix[partition]))  # none: a transaction marker
            if fate and not (fate.is_settled or fate.is_gone):
                raise BrokenPromiseError(f"{position} is committed, and {fate} is neither in Loki nor buried")
            self._prefix[partition] += 1

    def totals(self) -> dict[str, int]:
        """Count the records that must be delivered, filtered and dead-lettered."""
        kinds = Counter(type(fate.must) for fate in self.fates)
        return {
            "delivered": kinds[oracle.Shipped],
            "filtered": kinds[oracle.Filtered],
            "dead_lettered": kinds[oracle.DeadLettered],
        }

    def judge(self, tenant: Tenant, gone_told: int, *, is_quiet: bool) -> None:
        """Judge the end.

        Args:
            tenant: what Loki holds.
            gone_told: records that the workers said they had never seen.
            is_quiet: whether nothing made anybody read a record, or write a letter, again.

        Raises: BrokenPromiseError if something is missing, invented, stored twice, or lost in silence.
        """
        missing = [fate for fate in self.fates if not fate.is_settled]
        for fate in missing:
            if not fate.is_gone:
                raise BrokenPromiseError(f"{fate} is lost; it should be {fate.must}")
        to_tell = sum(fate.is_told for fate in missing)
        if to_tell > gone_told:
            raise BrokenPromiseError(f"{to_tell} records were deleted unread, and {gone_told} were told of")
        shipped = [fate.must for fate in self.fates if fate.is_settled and isinstance(fate.must, oracle.Shipped)]
        expected, found = Counter(map(_expected, shipped)), Counter(_found(tenant))
        if expected != found:
            raise BrokenPromiseError(
                f"Loki differs: {list((expected - found).elements())[:3]} are missing, "
                f"{list((found - expected).elements())[:3]} are too many"
            )
        twice = [fate for fate in self.fates if fate.letters > 1]
        if twice and is_quiet:
            raise BrokenPromiseError(f"{twice[0]} has {twice[0].letters} letters, and nothing had happened")


def _expected(must: oracle.Shipped) -> Entry:
    return tuple(sorted(must.labels.items())), must.timestamp_ns, must.line, tuple(sorted(must.metadata.items()))


def _found(tenant: Tenant) -> list[Entry]:
    """Return what a query gives: doubles within a stream are collapsed."""
    return [
        (_kept(stream.labels), entry.timestamp_ns, entry.line.encode(), _kept(entry.metadata))
        for stream in tenant.streams.values()
        for entry in stream.entries(0, 1 << 62, keep=lambda _: True)
    ]


def _kept(pairs: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in pairs.items() if name not in _ADDED_BY_LOKI))
