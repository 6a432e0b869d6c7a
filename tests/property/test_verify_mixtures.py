"""Whatever is lost, doubled, buried, filtered or shipped, in any mixture: `verify` finds exactly that."""

from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from messages import StoredMessage
from shipper.records import TopicPartition
from verifying import NOW_NS, FakeArchive, entry_of, found_by_verify, letter_of

PARTITIONS = 3
_AGES_S = (0, 60, 8 * 86_400, 40 * 365 * 86_400, -86_400)
"""Of which the third and fourth are too old, and the last is too new, for who ships it now."""

FATES = (
    "shipped",
    "lost",
    "buried",
    "buried twice",
    "shipped and buried",
    "shipped twice",
    "shipped with another time",
    "shipped with other metadata",
    "shipped into another stream",
    "filtered",
    "unfit and buried",
    "unfit and lost",
    "not yet committed",
)


_TOO_MUCH: dict[str, dict[str, Any]] = {
    "shipped with another time": {"timestamp_ns": NOW_NS - 1},
    "shipped with other metadata": {"metadata": {"user_id": "somebody else"}},
    "shipped into another stream": {"labels": {"service": "another", "level": "info"}},
}
"""What an entry that no record explains has otherwise than its record's."""


class Case(NamedTuple):
    """A record to be, and what becomes of it."""

    partition: int
    age_s: int
    fate: str


CASES = st.lists(
    st.builds(Case, st.integers(0, PARTITIONS - 1), st.sampled_from(_AGES_S), st.sampled_from(FATES)), max_size=25
)


def record_of(case: Case, number: int, offset: int) -> StoredMessage:
    at_ms = NOW_NS // 10**6 - case.age_s * 1_000 + number
    value = b'{"timestamp":%d,"service":"s%d","level":"info","userId":"u%d"}' % (at_ms, number % 2, number)
    if case.fate == "filtered":
        value = b""
    if case.fate.startswith("unfit"):
        value += b" " * 200  # as a line it is too long
    return StoredMessage(value, ("logs", case.partition, offset), timestamp_ms=at_ms)


@given(CASES)
def test_exactly_what_is_lost_and_what_is_too_much_is_found(cases: list[Case]) -> None:
    # What is not committed comes last in its partition.
    cases = sorted(cases, key=lambda case: case.fate == "not yet committed")
    topic: list[list[StoredMessage]] = [[] for _ in range(PARTITIONS)]
    letters: list[StoredMessage] = []
    stored = []
    committed = dict.fromkeys((TopicPartition("logs", number) for number in range(PARTITIONS)), 0)
    missing: dict[tuple[int, int], str] = {}
    unexpected: Counter[tuple[str, str]] = Counter()
    for number, case in enumerate(cases):
        record = record_of(case, number, len(topic[case.partition]))
        topic[case.partition].append(record)
        if case.fate != "not yet committed":
            committed[TopicPartition("logs", case.partition)] += 1
        line = (record.value() or b"").decode()
        if case.fate.startswith(("shipped", "not yet")):
            stored.append(entry := entry_of(record))
            if case.fate == "shipped twice":
                stored.append(entry)
                unexpected["stored more often than there are records", line] += 1
            extra = _TOO_MUCH.get(case.fate)
            if extra:
                stored.append(msgspec.structs.replace(entry, **extra))
                unexpected["no record explains it", line] += 1
        if "buried" in case.fate:
            times = 2 if "twice" in case.fate else 1
            letters += [letter_of(record, len(letters) + n) for n in range(times)]
        if case.fate in {"lost", "unfit and lost"}:
            reason = "not in Loki" if case.fate == "lost" else "no dead letter (line_too_long)"
            missing[case.partition, record.offset()] = reason
    fates = Counter(case.fate for case in cases)

    found = found_by_verify(FakeArchive({"logs": topic, "logs.dlq": [letters]}, committed), stored)
    assert {(one.partition, one.offset): one.reason for one in found.missing} == missing
    assert Counter((one.reason, one.line) for one in found.unexpected) == unexpected
    totals = found.totals
    assert totals.records == len(cases) - fates["not yet committed"]
    assert totals.missing == len(missing)
    assert totals.unexpected == unexpected.total()
    assert totals.filtered == fates["filtered"]
    # Who has a letter and is too old or too new for Loki is not looked for there; it may be found by the way.
    in_both = [case for case in cases if case.fate == "shipped and buried"]
    assert sum(case.age_s in {0, 60} for case in in_both) <= totals.in_both <= len(in_both)
    letters_alone = fates["buried"] + fates["buried twice"] + fates["unfit and buried"]
    assert totals.dead_lettered == letters_alone + len(in_both) - totals.in_both
    shipped = sum(count for fate, count in fates.items() if fate.startswith("shipped")) - len(in_both)
    assert totals.found == shipped + totals.in_both
    assert found.is_proof == (not missing and not unexpected)


def test_what_comes_to_kafka_and_loki_while_we_read_is_explained() -> None:
    first, second = (record_of(Case(0, 0, "shipped"), number, number) for number in range(2))
    archive = FakeArchive({"logs": [[first]], "logs.dlq": [[]]}, arriving={TopicPartition("logs", 0): [second]})
    found = found_by_verify(archive, [entry_of(first), entry_of(second)])
    assert (found.totals.records, found.totals.found, found.totals.unexpected) == (1, 1, 0)


def test_records_that_share_an_entry_are_all_found() -> None:
    value = b'{"timestamp":"2025-10-09T08:53:20.123456789Z","service":"a","level":"info"}'
    records = [StoredMessage(value, ("logs", 0, offset), timestamp_ms=0) for offset in range(3)]
    found = found_by_verify(FakeArchive({"logs": [records], "logs.dlq": [[]]}), [entry_of(records[0])])
    assert (found.totals.found, found.totals.missing, found.collapsed) == (3, 0, 2)
    lost = found_by_verify(FakeArchive({"logs": [records], "logs.dlq": [[]]}), [])
    assert lost.totals.missing == 3


def test_a_letter_of_a_topic_that_is_no_more_buries_nobody() -> None:
    record = record_of(Case(0, 0, "lost"), 0, 0)
    before = replace(record, timestamp_ms=record.timestamp_ms - 1)
    found = found_by_verify(FakeArchive({"logs": [[record]], "logs.dlq": [[letter_of(before, 0)]]}), [])
    assert (found.totals.missing, found.totals.dead_lettered) == (1, 0)
