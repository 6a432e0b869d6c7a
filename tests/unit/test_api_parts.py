"""Parts of the log API that need no server: cursors, patterns, and what a line says."""

import time

import msgspec
import pytest

from shipper.api import cursors
from shipper.api.cursors import Position
from shipper.api.entries import digest, parse_id, shown
from shipper.api.patterns import pattern_of
from shipper.api.principal import Principal, Role
from shipper.api.problems import Problem
from shipper.api.record import record_of
from shipper.api.saved import Saved
from shipper.loki.paging import StreamEntry

_NOW_NS = 1_763_974_800_123_456_789
_VIEWER = Principal("viewer", Role.VIEWER)


def test_a_cursor_is_read_by_its_caller_for_its_query_alone() -> None:
    position = Position(_NOW_NS - 100, _NOW_NS, _NOW_NS - 50, b"12345678")
    asked = {"level": "info", "service": ["a"]}
    cursor = cursors.write(position, _VIEWER, asked)
    assert cursors.read(cursor, _VIEWER, dict(reversed(asked.items()))) == position
    for principal, other in (
        (Principal("other", Role.VIEWER), asked),
        (Principal("viewer", Role.VIEWER, tenant="b"), asked),
        (Principal("viewer", Role.VIEWER, token="https://login.example#viewer"), asked),
        (_VIEWER, {**asked, "level": "warn"}),
    ):
        with pytest.raises(Problem) as caught:
            cursors.read(cursor, principal, other)
        assert (caught.value.status, caught.value.parameter) == (400, "cursor")
    for place in range(len(cursor)):
        changed = cursor[:place] + ("A" if cursor[place] != "A" else "B") + cursor[place + 1 :]
        with pytest.raises(Problem):
            cursors.read(changed, _VIEWER, asked)


def test_what_was_saved_belongs_to_an_identity_and_not_to_a_name_that_a_jwt_chooses() -> None:
    of_a_token = Principal("mara", Role.VIEWER, token="5f2c9a01be")
    again = Principal("mara", Role.VIEWER, token="0000000000")
    of_jwts = [Principal("mara", Role.VIEWER, token=f"https://login.example#{sub}") for sub in ("1", "2")]
    mine = Saved("logs", {}, {}, "", "", of_a_token.identity, "mara", "", shared=False, at_ms=1)
    assert [mine.is_changed_by(who) for who in (of_a_token, again, *of_jwts)] == [True, True, False, False]
    its = msgspec.structs.replace(mine, owner=of_jwts[0].identity)
    assert [its.is_changed_by(who) for who in (of_a_token, *of_jwts)] == [False, True, False]


@pytest.mark.parametrize(
    ("messages", "pattern"),
    [
        (["Took 12 ms", "Took 7.5 ms"], "Took <n> ms"),
        (["Room 'a b' is gone", 'Room "c" is gone'], "Room <text> is gone"),
        (["Lost usr_006aab", "Lost room-375"], "Lost <id>"),
        (["No answer of 10.0.0.1:80", "No answer of 10.2.3.4:8080"], "No answer of <address>"),
        (["Get http://a/b?c=1 failed", "Get https://d failed"], "Get <url> failed"),
        (["Id 0e32a00a-2024-498f-a4ed-51ee263ed0f2"], "Id <uuid>"),
        (["At 2026-11-24T09:00:00Z"], "At <time>"),
        (["Nothing differs"], "Nothing differs"),
    ],
)
def test_messages_that_differ_in_values_only_are_one_pattern(messages: list[str], pattern: str) -> None:
    assert {pattern_of(message) for message in messages} == {pattern}


@pytest.mark.parametrize("part", ["1-", "1", "a-", "'", "1.", "-", "0a", "a://"])
def test_no_message_takes_much_longer_than_another_of_its_length(part: str) -> None:
    def taken_s(message: str) -> float:
        begun_s = time.thread_time()
        pattern_of(message)
        return time.thread_time() - begun_s

    plain_s = min(taken_s("room 17 is gone " * 2_500) for _ in range(3))
    assert taken_s(part * (40_000 // len(part))) < 50 * plain_s


@pytest.mark.parametrize(
    "line", ["", "no json", "[]", "{", '{"message": 5}', '{"error": "text", "durationMs": true}', "[" * 10_000]
)
def test_a_line_that_is_no_record_is_its_own_message(line: str) -> None:
    record = record_of(StreamEntry({"service": "a"}, 1, line, {}))
    assert (record.service, record.level, record.message) == ("a", "unknown", line[:1_000])
    assert (record.duration_ms, record.error) == (None, "")


def test_an_id_names_time_and_entry_and_does_not_depend_on_the_order_of_labels() -> None:
    one = StreamEntry({"a": "1", "b": "2"}, _NOW_NS, "x", {"c": "3", "d": "4"})
    same = StreamEntry({"b": "2", "a": "1"}, _NOW_NS, "x", {"d": "4", "c": "3"})
    other = StreamEntry({"a": "1", "b": "2"}, _NOW_NS, "x", {"c": "3", "d": "5"})
    assert digest(one) == digest(same) != digest(other)
    assert parse_id(shown(one, digest(one))["id"]) == (_NOW_NS, digest(one))
