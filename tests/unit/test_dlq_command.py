"""Dead letters, counted and shown: no server is asked."""

import base64
import itertools
import json
from io import StringIO

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from shipper.cli import dlq, letters
from shipper.cli.moment import moment_ms
from shipper.errors import ConfigError, KafkaUnavailableError
from shipper.kafka.backlog import Position
from shipper.kafka.letters import Letter, Marker, Origin, Place, Unreadable
from shipper.kafka.redrive import Redriver, redrive_settings
from shipper.moments import show_ms
from shipper.settings import Kafka, Settings
from shipper.tools import letter_fields, redrive
from shipper.tools.dead_letters import Index, Wanted

NOW_MS = 1_795_500_000_000


def letter(offset: int, at: int = 0, *, value: bytes | None = b"v", written_ms: int = 5, partition: int = 0) -> Letter:
    origin = Origin(Place("logs", 3, offset), 1_700_000_000_123)
    return Letter(Place("logs.dlq", partition, at), written_ms, origin, "not_json", "why", b"k", value, ())


def marker(offset: int, to: int) -> Marker:
    return Marker(
        Place("logs.dlq", 0, 99), 9, Origin(Place("logs", 3, offset), 1_700_000_000_123), Place("logs", 3, to)
    )


def index(*found: Letter | Marker | Unreadable, wanted: Wanted | None = None) -> Index:
    made = Index(wanted or Wanted())
    for one in found:
        made.add(one)
    return made


def test_a_letter_that_was_written_twice_is_one_wherever_its_copies_lie() -> None:
    (known,) = index(letter(41, 7, written_ms=6), letter(41, 2, partition=1)).letters()
    assert (known.written_ms, known.copies) == (5, (Place("logs.dlq", 0, 7), Place("logs.dlq", 1, 2)))


def test_records_of_a_topic_that_was_made_anew_are_others() -> None:
    other = Letter(Place("logs.dlq", 0, 8), 5, Origin(Place("logs", 3, 41), 1_800_000_000_000), "x", "", None, None, ())
    assert len(index(letter(41), other).letters()) == 2


def test_markers_count_in_whatever_order_they_are_read() -> None:
    found: list[Letter | Marker] = [letter(1), letter(2), marker(1, 50), letter(50), marker(50, 60), letter(60)]
    for order in itertools.permutations(found):
        known = {it.origin.place.offset: it for it in index(*order).letters()}
        assert {offset: bool(it.marker) for offset, it in known.items()} == {1: True, 2: False, 50: True, 60: False}
        assert {offset: it.rounds for offset, it in known.items()} == {1: 0, 2: 0, 50: 1, 60: 2}


def test_rounds_that_run_in_a_circle_come_to_an_end() -> None:
    (known, _) = index(letter(1), letter(2), marker(1, 2), marker(2, 1)).letters()
    assert known.rounds == 1


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(), [1, 2]),
        (Wanted(reasons=["not_json"], topics=["logs"], partitions=[3]), [1, 2]),
        (Wanted(reasons=["too_old"]), []),
        (Wanted(topics=["logs.dlq"]), []),
        (Wanted(partitions=[0]), []),
        (Wanted(since_ms=6), [2]),
        (Wanted(until_ms=6), [1]),
        (Wanted(contains=b"lue"), [2]),
        (Wanted(places=[Place("logs", 3, 1)]), [1]),
    ],
)
def test_each_filter_leaves_out_what_it_does_not_name(wanted: Wanted, found: list[int]) -> None:
    made = index(letter(1, value=None), letter(2, value=b"value", written_ms=6), wanted=wanted)
    assert [known.origin.place.offset for known in made.letters()] == found


@pytest.mark.parametrize(
    ("offset", "committed", "again"), [(4, None, False), (5, None, True), (5, 5, True), (5, 6, False), (9, 3, False)]
)
def test_shipper_reads_again_what_is_there_and_not_committed(offset: int, committed: int | None, again: bool) -> None:  # noqa: FBT001 - a parameter
    assert redrive._is_due(Place("logs", 3, offset), Position("logs", 3, 5, 9, committed)) is again


def test_a_table_has_one_line_for_each_letter_and_nothing_in_it_moves_a_terminal() -> None:
    hostile = Letter(Place("d", 0, 0), 5, Origin(Place("logs", 3, 1), 5), "x\x1b[2J", "a\r\nb\u202e", None, b"", ())
    lines = list(letters.table(index(letter(1), hostile, marker(1, 9)).letters()))
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
    assert "a\\r\\nb\\u202e" in lines[1]
    assert "redriven" in lines[2]


@given(st.none() | st.binary(max_size=60), st.none() | st.binary(max_size=9))
def test_whatever_a_letter_holds_it_is_shown_and_json_gives_its_bytes_back(
    value: bytes | None, key: bytes | None
) -> None:
    origin = Origin(Place("logs", 3, 1), -1)
    whole = Letter(Place("d", 0, 0), 5, origin, "x", "y", key, value, (("h", value), ("n", None)))
    (known,) = index(whole).letters()
    assert all(line.isprintable() for line in letters.description(known, whole))
    output = StringIO()
    letters.say_json(Console(file=output), letter_fields.all_fields(known, whole))
    told = json.loads(output.getvalue())
    assert output.getvalue().count("\n") == 1
    assert _bytes(told, "value") == _bytes(told["headers"][0], "value") == value
    assert _bytes(told, "key") == key


def _bytes(told: dict[str, str | None], name: str) -> bytes | None:
    if encoded := told.get(f"{name}_base64"):
        return base64.b64decode(encoded)
    text = told[name]
    return None if text is None else text.encode()


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("90s", NOW_MS - 90_000),
        ("2h", NOW_MS - 7_200_000),
        ("7d", NOW_MS - 604_800_000),
        ("2026-11-24T05:50:00Z", 1_795_499_400_000),
        ("2026-11-24T06:50:00.5+01:00", 1_795_499_400_500),
        ("2026-11-24 05:50", 1_795_499_400_000),
        ("2026-11-24", 1_795_478_400_000),
    ],
)
def test_a_moment_is_a_time_a_date_or_so_long_ago(text: str, ms: int) -> None:
    assert moment_ms("--since", text, now_ms=NOW_MS) == ms


def test_what_is_no_moment_no_reason_and_no_place_is_told() -> None:
    with pytest.raises(ConfigError, match=r"--since wants 2026-11-24T05:50:00Z, .*not 'yesterday'"):
        dlq.wanted(since="yesterday")
    with pytest.raises(ConfigError, match="--reason to_old: there is no such reason; known are not_json"):
        dlq.wanted(reasons=["to_old"])
    with pytest.raises(ConfigError, match="'logs/3' is no place of a record: give TOPIC/PARTITION/OFFSET"):
        dlq.wanted(places=["logs/3"])
    assert show_ms(1_795_499_400_500) == "2026-11-24T05:50:00.500Z"
    assert show_ms(10**18) is None


def test_all_redrives_of_a_topic_share_one_name_and_a_user_cannot_take_their_safety_away() -> None:
    client: dict[str, str | int | float | bool] = {"transactional.id": "mine", "transaction.timeout.ms": 1, "acks": 0}
    groups = [Settings(kafka=Kafka(group_id=group, client=client)) for group in ("a", "b")]
    made = [redrive_settings(settings) for settings in groups]
    assert {it["transactional.id"] for it in made} == {"shipper-redrive-logs.dlq"}
    assert {(it["acks"], it["enable.idempotence"], it["transaction.timeout.ms"]) for it in made} == {
        ("all", True, 30_000)
    }


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (KafkaError._UNSUPPORTED_FEATURE, "have no transactions .* nothing was put back"),
        (KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "grant WRITE on that transactional id"),
        (KafkaError._TIMED_OUT, "transaction.state.log.replication.factor is 3 there"),
    ],
)
def test_where_transactions_cannot_be_had_nothing_is_put_back_and_the_way_out_is_said(code: int, said: str) -> None:
    redriver = Redriver(Settings(kafka=Kafka(bootstrap_servers=["127.0.0.1:1"])))
    with pytest.raises(KafkaUnavailableError, match=said):
        raise redriver._cannot_begin(KafkaError(code))
