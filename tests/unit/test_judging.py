"""The judgement sees what is lost, what is there twice, and what nobody asked for, and names it."""

from collections.abc import Sequence

from judging import Judgement, Letter, judge
from messages import StoredMessage
from oracle import DeadLettered, Filtered, Outcome, Shipped
from shipper.loki.query import StreamEntry
from shipper.records import Reason

RECORDS = [StoredMessage(b"%d" % offset, ("logs", offset % 2, offset)) for offset in range(10)]
LETTERS = frozenset({(1, 9, "too_old")})


def expect(record: StoredMessage) -> Outcome:
    if record.offset() == 8:
        return Filtered("empty")
    if record.offset() == 9:
        return DeadLettered(Reason.TOO_OLD)
    return Shipped({"service": "a"}, record.offset(), record.body or b"", {})


def entry(number: int) -> StreamEntry:
    added = {"service_name": "a"}, {"detected_level": "info"}
    return StreamEntry({"service": "a"} | added[0], number, str(number), added[1])


def judged(numbers: Sequence[int], letters: frozenset[Letter] = LETTERS) -> Judgement:
    return judge(lambda: RECORDS, expect, lambda: map(entry, numbers), letters)


def test_all_of_it_once_is_clean() -> None:
    verdict = judged(range(8))
    assert verdict.is_clean
    assert (verdict.records, verdict.shipped, verdict.dead_lettered, verdict.filtered) == (10, 8, 1, 1)


def test_what_is_missing_is_named_with_its_place() -> None:
    verdict = judged([0, 1, 2, 4, 5, 6])
    assert (verdict.lost, verdict.duplicated, verdict.unexpected) == (2, 0, 0)
    assert [example.split("(")[0] for example in verdict.examples] == ["missing: 1/3 ", "missing: 1/7 "]


def test_what_is_there_twice_is_told_from_what_nobody_asked_for() -> None:
    verdict = judged([*range(8), 3, 3, 77])
    assert (verdict.lost, verdict.duplicated, verdict.unexpected) == (0, 2, 1)
    assert len(verdict.examples) == 3 + 1 - 1, "at most three entries"


def test_letters_are_judged_too() -> None:
    verdict = judged(range(8), frozenset({(0, 4, "too_old")}))
    assert (verdict.lost, verdict.unexpected) == (1, 1)
    assert verdict.examples == ("no letter: (1, 9, 'too_old')", "a letter too much: (0, 4, 'too_old')")


def test_nothing_of_nothing_is_clean() -> None:
    assert judge(list, expect, list, frozenset()).is_clean
