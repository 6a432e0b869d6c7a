"""What `shipper verify` found, and the JSON that says it."""

from typing import Any

import msgspec

from shipper.tools.details import Missing, Unexpected


class Counts(msgspec.Struct, frozen=True):
    """Records by what became of them.

    records = expected + filtered + dead_lettered + unseen, and expected = found + missing.

    Attributes:
        records: those that are judged.
        expected: those that Loki must hold, and those that wait in vain for their dead letter.
        found: of the expected, those in Loki.
        missing: of the expected, the others.
        unexpected: entries in Loki that no record explains, second copies among them; of a partition, those alone.
        filtered: dropped by a rule.
        dead_lettered: in the dead letter topic, and not in Loki.
        unseen: not in Loki, which may have deleted or hidden them by its retention.
        in_both: of those found, those that have a dead letter too: a second try was refused after a first that was not.
    """

    records: int = 0
    expected: int = 0
    found: int = 0
    missing: int = 0
    unexpected: int = 0
    filtered: int = 0
    dead_lettered: int = 0
    unseen: int = 0
    in_both: int = 0


class Tally(Counts, frozen=True, kw_only=True):
    """The counts of one partition, from the first offset up to, not including, the next one."""

    topic: str
    partition: int
    first_offset: int
    next_offset: int


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes:
        topics: that were read.
        is_whole: whether they were read whole, so that an entry without a record is known for one.
        tallies: by partition.
        unexplained: entries that no record explains.
        collapsed: records that share an entry with another: Loki keeps equal entries of a stream once.
        missing: the first of the missing.
        unexpected: the first of the unexpected.
        cannot_see: sentences about what was not, or cannot be, verified.
    """

    topics: list[str]
    is_whole: bool
    tallies: list[Tally]
    unexplained: int
    collapsed: int
    missing: list[Missing]
    unexpected: list[Unexpected]
    cannot_see: list[str]

    @property
    def totals(self) -> Counts:
        """The sums over all partitions, with the entries that belong to none."""
        sums = {name: sum(getattr(tally, name) for tally in self.tallies) for name in Counts.__struct_fields__}
        sums["unexpected"] += self.unexplained
        return Counts(**sums)

    @property
    def is_proof(self) -> bool:
        """Whether nothing is missing, and nothing is there that should not be."""
        return not self.totals.missing and not self.totals.unexpected

    def document(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return what the JSON says; `asked` is the range that the user gave."""
        totals = self.totals
        return {
            "topics": self.topics,
            "range": {**asked, "whole_topics": self.is_whole},
            "totals": msgspec.to_builtins(totals),
            "collapsed": self.collapsed,
            "partitions": msgspec.to_builtins(self.tallies),
            "missing": msgspec.to_builtins(self.missing),
            "missing_not_listed": totals.missing - len(self.missing),
            "unexpected": msgspec.to_builtins(self.unexpected),
            "unexpected_not_listed": totals.unexpected - len(self.unexpected),
            "cannot_see": self.cannot_see,
        }
