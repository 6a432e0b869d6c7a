"""What `verify` judges, what it leaves out, and what it says that it cannot see."""

from collections.abc import Sequence

import pytest

from messages import StoredMessage
from shipper.errors import CannotStartError, ConfigError
from shipper.loki.query import StreamEntry
from shipper.records import RecordBatch, TopicPartition
from shipper.settings import Kafka, Labels, Settings
from shipper.tools.details import IncompleteAnswerError, Unexpected, time_text
from shipper.tools.entries import matching, spans
from shipper.tools.letters import Letters
from shipper.tools.promised import Wanted
from shipper.tools.sight import Sight, judge
from verifying import NOW_NS, SETTINGS, FakeArchive, entry_of, found_by_verify, letter_of

S = 10**9
DAY = 86_400 * S
AT = TopicPartition("logs", 0)


def record(offset: int, partition: int = 0, at_ns: int = NOW_NS, topic: str = "logs") -> StoredMessage:
    at_ms = at_ns // 10**6
    value = b'{"timestamp":%d,"service":"a","level":"info","userId":"u%d"}' % (at_ms, offset)
    return StoredMessage(value, (topic, partition, offset), timestamp_ms=at_ms)


def archive(*partitions: Sequence[StoredMessage], letters: Sequence[StoredMessage] = ()) -> FakeArchive:
    return FakeArchive({"logs": [list(records) for records in partitions], "logs.dlq": [list(letters)]})


TEN = [record(offset, at_ns=NOW_NS - (10 - offset) * S) for offset in range(10)]
"""One a second, the last one a second ago."""
ENTRIES = list(map(entry_of, TEN))


@pytest.mark.parametrize(
    ("wanted", "judged"),
    [
        (Wanted(), range(10)),
        (Wanted(since_ns=NOW_NS - 4 * S), range(6, 10)),
        (Wanted(until_ns=NOW_NS - 4 * S), range(6)),
        (Wanted(since_ns=NOW_NS - 7 * S, until_ns=NOW_NS - 4 * S), range(3, 6)),
        (Wanted(since_ns=NOW_NS), range(10, 10)),
        (Wanted(until_ns=NOW_NS + DAY), range(10)),
        (Wanted(since_ns=NOW_NS - 4 * S, until_ns=NOW_NS - 7 * S), range(6, 6)),
        (Wanted(partition=0, from_offset=2, to_offset=5), range(2, 5)),
        (Wanted(partition=0, from_offset=8, to_offset=99), range(8, 10)),
    ],
)
def test_a_range_of_times_or_offsets_is_judged_and_nothing_else(wanted: Wanted, judged: range) -> None:
    # What lies outside is not in Loki: whoever judged too much would find it missing.
    found = found_by_verify(archive(TEN), [ENTRIES[offset] for offset in judged], wanted)
    assert (found.tallies[0].first_offset, found.tallies[0].next_offset) == (judged.start, judged.stop)
    assert found.totals.found == found.totals.records == len(judged)
    lost = found_by_verify(archive(TEN), [], wanted)
    assert [one.offset for one in lost.missing] == list(judged)


def test_what_is_not_committed_is_not_promised_and_said_to_be_left_out() -> None:
    kafka = archive(TEN)
    kafka.committed_to[AT] = 7
    found = found_by_verify(kafka, ENTRIES[:8])
    assert (found.totals.records, found.totals.missing, found.totals.unexpected) == (7, 0, 0)
    assert "3 records are not committed by the group shipper yet" in found.cannot_see[0]
    assert not found_by_verify(archive(TEN), ENTRIES).cannot_see


def test_a_group_that_has_committed_nothing_is_an_error_with_the_way_out() -> None:
    kafka = archive(TEN)
    kafka.committed_to[AT] = -1001
    with pytest.raises(
        CannotStartError, match=r"the group shipper has committed nothing in logs.*correct kafka.group_id"
    ):
        found_by_verify(kafka, ENTRIES)
    assert found_by_verify(archive([]), []).totals.records == 0


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Wanted(topic="other"), "--topic other is none of kafka.topics: logs"),
        (Wanted(from_offset=1), "want --partition"),
        (Wanted(to_offset=1), "want --partition"),
        (Wanted(partition=1), "--partition 1: the topic logs has no such partition"),
    ],
)
def test_a_range_that_cannot_be_is_an_error_of_the_command_line(wanted: Wanted, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        found_by_verify(archive(TEN), ENTRIES, wanted)


def test_of_several_topics_one_can_be_verified() -> None:
    settings = Settings(kafka=Kafka(topics=["logs", "more"]))
    kafka = FakeArchive({"logs": [TEN], "more": [[record(0, topic="more", at_ns=NOW_NS - DAY)]], "logs.dlq": [[]]})
    both = found_by_verify(kafka, ENTRIES, settings=settings)
    assert [(one.topic, one.offset) for one in both.missing] == [("more", 0)]
    found = found_by_verify(kafka, ENTRIES, Wanted(topic="logs"), settings=settings)
    assert (found.topics, found.totals.records, found.is_proof) == (["logs"], 10, True)
    with pytest.raises(ConfigError, match="--partition wants --topic, one of logs, more"):
        found_by_verify(kafka, ENTRIES, Wanted(partition=0), settings=settings)


# What cannot be seen.


def test_an_entry_without_a_record_is_told_only_where_the_whole_topics_were_read() -> None:
    odd = StreamEntry({"service": "a", "level": "info"}, NOW_NS - 5 * S, "nobody's", {})
    whole = found_by_verify(archive(TEN), [*ENTRIES, odd])
    assert whole.is_whole
    assert whole.unexpected == [
        Unexpected("no record explains it", time_text(odd.timestamp_ns), odd.labels, "nobody's")
    ]
    assert (whole.totals.unexpected, [tally.unexpected for tally in whole.tallies], whole.is_proof) == (1, [0], False)
    part = found_by_verify(archive(TEN), [*ENTRIES, odd], Wanted(since_ns=NOW_NS - 9 * S))
    assert (part.totals.unexpected, part.unexpected, part.is_proof) == (0, [], True)
    assert any("only a part of the topics is judged" in sentence for sentence in part.cannot_see)


def test_a_second_copy_is_told_also_where_a_part_was_read() -> None:
    part = found_by_verify(archive(TEN), [*ENTRIES, ENTRIES[5]], Wanted(since_ns=NOW_NS - 9 * S))
    assert (part.totals.unexpected, part.tallies[0].unexpected, part.is_proof) == (1, 1, False)
    assert [one.line for one in part.unexpected] == [ENTRIES[5].line]


def test_what_kafka_has_deleted_is_said_with_its_place() -> None:
    kafka = archive(TEN, [record(0, partition=1)])
    kafka.deleted_below[AT] = 4
    found = found_by_verify(kafka, [*ENTRIES, entry_of(record(0, partition=1))])
    assert (found.totals.records, found.totals.unexpected, found.is_whole) == (7, 0, False)
    assert found.tallies[0].first_offset == 4
    assert "has deleted 4 records (logs/0 before offset 4)" in found.cannot_see[0]
    asked = found_by_verify(kafka, ENTRIES, Wanted(partition=0, from_offset=2))
    assert "has deleted 2 records (logs/0 before offset 4)" in asked.cannot_see[0]
    beyond = found_by_verify(kafka, ENTRIES, Wanted(partition=0, from_offset=5))
    assert not any("has deleted" in sentence for sentence in beyond.cannot_see)


def test_letters_that_kafka_has_deleted_and_a_topic_without_letters_are_said() -> None:
    kafka = archive(TEN, letters=[letter_of(TEN[0], 0), letter_of(TEN[1], 1)])
    kafka.deleted_below[TopicPartition("logs.dlq", 0)] = 1
    found = found_by_verify(kafka, ENTRIES[2:])
    assert [one.offset for one in found.missing] == [0]
    assert found.totals.dead_lettered == 1
    assert "has deleted 1 dead letters of logs.dlq" in found.cannot_see[0]
    none = found_by_verify(FakeArchive({"logs": [TEN]}), ENTRIES)
    assert "the dead letter topic logs.dlq does not exist" in none.cannot_see[0]


def test_a_start_at_the_end_is_said_unless_a_beginning_is_given() -> None:
    settings = Settings(kafka=Kafka(start="latest"))
    found = found_by_verify(archive(TEN), ENTRIES, settings=settings)
    assert any('kafka.start is "latest"' in sentence for sentence in found.cannot_see)
    since = found_by_verify(archive(TEN), ENTRIES, Wanted(since_ns=NOW_NS - DAY), settings=settings)
    assert not any("latest" in sentence for sentence in since.cannot_see)


# Ages.


@pytest.mark.parametrize("age_ns", [0, 7 * DAY - S, 7 * DAY, 7 * DAY + S, 40 * 365 * DAY, -600 * S, -601 * S, -DAY])
def test_an_entry_of_any_age_may_be_in_loki_or_dead_lettered_but_must_be_in_one(age_ns: int) -> None:
    one = record(0, at_ns=NOW_NS - age_ns)
    shipped = found_by_verify(archive([one]), [entry_of(one)])
    assert (shipped.totals.found, shipped.is_proof) == (1, True)
    for reason in ("too_old", "too_new", "refused_by_loki"):
        buried = found_by_verify(archive([one], letters=[letter_of(one, 0, reason)]), [])
        assert (buried.totals.dead_lettered, buried.is_proof) == (1, True)
    lost = found_by_verify(archive([one]), [])
    assert [(it.offset, it.timestamp) for it in lost.missing] == [(0, time_text(one.timestamp_ms * 10**6))]


def test_what_loki_has_deleted_by_its_age_is_unseen_and_not_missing() -> None:
    old, older = record(0, at_ns=NOW_NS - 29 * DAY), record(1, at_ns=NOW_NS - 31 * DAY)
    sight = Sight(NOW_NS - 30 * DAY, ["Loki's retention_period is 720h"], ["late"])
    found = found_by_verify(archive([old, older]), [entry_of(old)], sight=sight)
    assert (found.totals.found, found.totals.unseen, found.totals.missing, found.is_proof) == (1, 1, 0, True)
    assert found.cannot_see == ["Loki's retention_period is 720h"]
    there_still = found_by_verify(archive([old, older]), [entry_of(old), entry_of(older)], sight=sight)
    assert (there_still.totals.found, there_still.totals.unseen) == (2, 0)
    lost = found_by_verify(archive([old, older]), [], sight=sight)
    assert [it.offset for it in lost.missing] == [0]
    assert lost.cannot_see == ["Loki's retention_period is 720h", "late"]


def test_a_loki_that_left_out_what_it_holds_proves_nothing() -> None:
    with pytest.raises(IncompleteAnswerError, match=r"Loki gives the entry of logs/0/3, which it left out"):
        found_by_verify(archive(TEN), [*ENTRIES[:3], *ENTRIES[4:]], left_out=[ENTRIES[3]])


# Loki's configuration.

_CONFIG = """\
ingester:
  query_store_max_look_back_period: {look_back}
limits_config:
  max_query_lookback: {lookback}
  retention_period: {period}
{more}compactor:
  retention_enabled: {enabled}
"""


@pytest.mark.parametrize(
    ("lookback", "period", "enabled", "days", "names"),
    [
        ("0s", "0s", "false", None, ""),
        ("0s", "744h", "false", None, ""),
        ("0s", "744h", "true", 31, "retention_period is 744h"),
        ("30d", "0s", "true", 30, "max_query_lookback is 30d"),
        ("7d", "744h", "true", 7, "max_query_lookback is 7d"),
        ("90d", "4w", "true", 28, "retention_period is 4w"),
    ],
)
def test_how_far_back_loki_can_be_seen_is_read_from_its_configuration(
    lookback: str, period: str, enabled: str, days: int | None, names: str
) -> None:
    text = _CONFIG.format(look_back="-1ns", lookback=lookback, period=period, enabled=enabled, more="")
    sight = judge(text, NOW_NS)
    assert sight.horizon_ns == (0 if days is None else NOW_NS - days * DAY)
    assert [names in sentence for sentence in sight.cannot_see] == ([True] if names else [])
    assert sight.if_missing == []


def test_a_configuration_that_is_closed_or_says_more_is_told() -> None:
    assert "/config cannot be read" in judge("<html>403</html>", NOW_NS).cannot_see[0]
    streams = "  retention_stream:\n  - period: 24h\n"
    text = _CONFIG.format(look_back="0s", lookback="0s", period="0s", enabled="true", more=streams)
    sight = judge(text, NOW_NS)
    assert "retention_stream deletes some streams earlier" in sight.cannot_see[0]
    assert "query_store_max_look_back_period" in sight.if_missing[0]


# Small parts.


def test_a_letter_is_found_by_the_last_coordinates_that_it_bears() -> None:
    first = letter_of(TEN[3], 0)
    again = letter_of(first, 1)
    nobodys = StoredMessage(b"", ("logs.dlq", 0, 2), pairs=[("dlq.topic", b"logs"), ("dlq.partition", b"0")])
    broken = letter_of(TEN[5], 3)
    broken_pairs = [(name, b"x" if name == "dlq.offset" else value) for name, value in broken.headers() or ()]
    broken = StoredMessage(b"", ("logs.dlq", 0, 3), pairs=broken_pairs)
    # One that says where a letter's record was put back is no letter.
    note = letter_of(TEN[7], 4)
    note = StoredMessage(b"", ("logs.dlq", 0, 4), pairs=list(note.headers() or ())[2:])
    letters = Letters([RecordBatch("logs.dlq", [first, nobodys, broken, note])], [AT])
    assert letters.have(RecordBatch("logs", TEN)).tolist() == [offset == 3 for offset in range(10)]
    # A letter about a letter, as of a record that was put back with its headers: the later ones count.
    about_letter = Letters([RecordBatch("logs.dlq", [again])], [AT, TopicPartition("logs.dlq", 0)])
    assert not about_letter.have(RecordBatch("logs", TEN)).any()
    assert about_letter.have(RecordBatch("logs.dlq", [first])).all()


def test_spans_are_joined_over_small_gaps_and_nothing_is_left_out() -> None:
    assert spans([(50, 60), (0, 10), (12, 20), (5, 6), (90, 91)], apart_ns=5) == [(0, 20), (50, 60), (90, 91)]
    assert spans([], apart_ns=5) == []


def test_the_selector_holds_all_streams_of_a_configuration_and_escapes_its_texts() -> None:
    assert matching(SETTINGS) == '{level=~"(?s:.+)", service=~"(?s:.+)"}'
    labels = Labels(fields={"level": "level"}, static={"env": 'te"st\\'})
    assert matching(Settings(labels=labels)) == r'{env="te\"st\\", level=~"(?s:.+)"}'
