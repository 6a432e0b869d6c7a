"""The oracle's judgement of what came out, for as many records as there are: 8 bytes are kept of each.

`tests/oracle.py` says what must become of a record. What must be in Loki, and what is, are compared as multisets of
64-bit digests: a soak of millions is judged in the memory of a test. Of what differs, examples are read a second time.
Two entries with the same digest would hide each other: with ten million entries, one chance in 400,000.
"""

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from messages import StoredMessage
from oracle import DeadLettered, Outcome, Shipped
from shipper.loki.query import StreamEntry

_EXAMPLES_MAX = 3
Letter = tuple[int, int, str]
"""Partition, offset, reason."""


@dataclass(frozen=True)
class Judgement:
    """What became of the records of a topic.

    Attributes:
        records: how many the topic holds.
        shipped: how many must be in Loki.
        dead_lettered: how many must be dead letters.
        filtered: how many a rule lets go.
        lost: how many are missing, in Loki or in the dead letter topic.
        duplicated: how many entries Loki holds once more than it should.
        unexpected: entries and letters that no record asks for.
        examples: some of what differs, in words.
    """

    records: int
    shipped: int
    dead_lettered: int
    filtered: int
    lost: int = 0
    duplicated: int = 0
    unexpected: int = 0
    examples: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.duplicated or self.unexpected)


def judge(
    records: Callable[[], Iterable[StoredMessage]],
    expect: Callable[[StoredMessage], Outcome],
    entries: Callable[[], Iterable[StreamEntry]],
    letters: frozenset[Letter],
) -> Judgement:
    """Hold what is in Loki and in the dead letter topic against what must be there.

    Args:
        records: reads the topic; called a second time where something is missing.
        expect: the oracle, for one record.
        entries: reads all that Loki holds of them; called a second time where something is too much.
        letters: the dead letters that are there.
    """
    must, has = array("Q"), array("Q")
    must_letters: set[Letter] = set()
    kinds: Counter[type[Outcome]] = Counter()
    for record in records():
        outcome = expect(record)
        kinds[type(outcome)] += 1
        if isinstance(outcome, Shipped):
            must.append(_digest(_comparable(outcome)))
        elif isinstance(outcome, DeadLettered):
            must_letters.add((record.partition(), record.offset(), outcome.reason.value))
    for entry in entries():
        has.append(_digest(_found(entry)))

    missing, surplus = _differences(must, has)
    known = set(np.frombuffer(must, np.uint64).tolist()) if surplus else set()
    doubled = Counter({digest: number for digest, number in surplus.items() if digest in known})
    missing_letters, foreign_letters = must_letters - letters, letters - must_letters
    return Judgement(
        records=kinds.total(),
        shipped=kinds[Shipped],
        dead_lettered=kinds[DeadLettered],
        filtered=kinds.total() - kinds[Shipped] - kinds[DeadLettered],
        lost=missing.total() + len(missing_letters),
        duplicated=doubled.total(),
        unexpected=surplus.total() - doubled.total() + len(foreign_letters),
        examples=(
            *(_missing_examples(records, expect, missing) if missing else ()),
            *(_surplus_examples(entries, surplus) if surplus else ()),
            *(f"no letter: {letter}" for letter in sorted(missing_letters)[:_EXAMPLES_MAX]),
            *(f"a letter too much: {letter}" for letter in sorted(foreign_letters)[:_EXAMPLES_MAX]),
        ),
    )


def _differences(must: "array[int]", has: "array[int]") -> tuple[Counter[int], Counter[int]]:
    """Digests that are missing, and those that are too much, each with how often."""
    (must_have, musts), (have, has_) = (
        np.unique(np.array(digests, np.uint64), return_counts=True) for digests in (must, has)
    )
    digests, signed = np.concatenate([must_have, have]), np.concatenate([musts, -has_])
    order = np.argsort(digests, kind="stable")
    digests, signed = digests[order], signed[order]
    starts = np.flatnonzero(np.diff(digests, prepend=~digests[:1]))
    balance = np.add.reduceat(signed, starts) if len(starts) else signed
    missing, surplus = (
        Counter(dict(zip(digests[starts][which].tolist(), np.abs(balance[which]).tolist(), strict=True)))
        for which in (balance > 0, balance < 0)
    )
    return missing, surplus


def _missing_examples(
    records: Callable[[], Iterable[StoredMessage]],
    expect: Callable[[StoredMessage], Outcome],
    missing: Counter[int],
) -> list[str]:
    found = []
    for record in records():
        outcome = expect(record)
        if isinstance(outcome, Shipped) and _digest(comparable := _comparable(outcome)) in missing:
            found.append(f"missing: {record.partition()}/{record.offset()} {str(comparable)[:400]}")
            if len(found) == _EXAMPLES_MAX:
                break
    return found


def _surplus_examples(entries: Callable[[], Iterable[StreamEntry]], surplus: Counter[int]) -> list[str]:
    found = []
    for entry in entries():
        if _digest(comparable := _found(entry)) in surplus:
            found.append(f"too much: {str(comparable)[:400]}")
            if len(found) == _EXAMPLES_MAX:
                break
    return found


def _digest(comparable: tuple[object, ...]) -> int:
    return int.from_bytes(hashlib.blake2b(repr(comparable).encode(), digest_size=8).digest())


def _comparable(shipped: Shipped) -> tuple[object, ...]:
    return (
        tuple(sorted(shipped.labels.items())),
        shipped.timestamp_ns,
        shipped.line.decode(),
        tuple(sorted(shipped.metadata.items())),
    )


def _found(entry: StreamEntry) -> tuple[object, ...]:
    # These two are what Loki adds of its own.
    labels = {name: value for name, value in entry.labels.items() if name != "service_name"}
    metadata = {name: value for name, value in entry.metadata.items() if name != "detected_level"}
    return tuple(sorted(labels.items())), entry.timestamp_ns, entry.line, tuple(sorted(metadata.items()))
