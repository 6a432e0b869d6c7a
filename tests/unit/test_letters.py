"""What a record of the dead letter topic is: a letter, a marker, or neither; nothing of it crashes."""

from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messages import StoredMessage
from shipper.kafka.dlq import dead_letter_headers
from shipper.kafka.letters import LETTER_HEADERS, Letter, Marker, Origin, Place, Unreadable, decode, marker_headers
from shipper.records import Headers, Reason, Rejected

LOST = StoredMessage(b"v", ("logs", 3, 41), timestamp_ms=1_700_000_000_123)
SAID: Headers = dead_letter_headers(LOST, Rejected(0, Reason.LINE_TOO_LONG, "300043 bytes, over 262144"))
ORIGIN = Origin(Place("logs", 3, 41), 1_700_000_000_123)


def letter(headers: Headers) -> StoredMessage:
    return StoredMessage(b"v", ("logs.dlq", 1, 7), b"k", headers, 1_700_000_005_000)


def test_a_letter_gives_back_its_record_as_it_was_and_says_why_it_is_here() -> None:
    own: Headers = [("x-request-id", b"\xff1"), ("none", None)]
    assert decode(letter([*own, *SAID])) == Letter(
        at=Place("logs.dlq", 1, 7),
        written_ms=1_700_000_005_000,
        origin=ORIGIN,
        reason="line_too_long",
        detail="300043 bytes, over 262144",
        key=b"k",
        value=b"v",
        headers=tuple(own),
    )


@pytest.mark.parametrize("copied", [[], [("mirrored-by", b"somebody")]])
def test_headers_of_these_names_that_the_record_had_before_stay_its_own(copied: Headers) -> None:
    before = [*SAID[:4], ("dlq.redriven", b"logs/1/2"), *SAID]
    found = decode(letter([*before, *SAID, *copied]))
    assert isinstance(found, Letter)
    assert found.headers == (*before, *copied)


def test_a_marker_says_which_record_was_put_back_and_where_it_lies() -> None:
    headers = marker_headers(ORIGIN, Place("logs", 2, 99))
    found = decode(StoredMessage(None, ("logs.dlq", 1, 8), b"logs/3/41", headers, 5))
    assert found == Marker(Place("logs.dlq", 1, 8), 5, ORIGIN, Place("logs", 2, 99))


@pytest.mark.parametrize(
    "headers",
    [None, [], SAID[1:], [*SAID[:4], ("dlq.offset", b"x"), SAID[5]], [*SAID[:4], ("dlq.offset", None), SAID[5]]],
)
def test_what_is_neither_is_said_and_not_guessed(headers: Headers | None) -> None:
    found = decode(letter(headers or ()))
    assert isinstance(found, Unreadable)
    assert str(found.at) == "logs.dlq/1/7"


def test_headers_that_the_client_cannot_read_are_said() -> None:
    class Unnamed(StoredMessage):
        def headers(self) -> NoReturn:
            raise SystemError("returned a result with an exception set")

    assert isinstance(decode(Unnamed(b"x")), Unreadable)


_NAMES = st.sampled_from([*LETTER_HEADERS, "dlq.redriven", "other"]) | st.text(max_size=3)
_VALUES = st.none() | st.binary(max_size=9) | st.sampled_from([b"1", b"-1", b"a/b/c", b"logs/1/2"])


@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=14))
def test_whatever_the_headers_are_nothing_is_raised_and_a_letter_keeps_all_but_ours(headers: Headers) -> None:
    found = decode(letter(headers))
    if isinstance(found, Letter):
        assert len(found.headers) == len(headers) - len(LETTER_HEADERS)
    with_ours = decode(letter([*headers, *SAID]))
    assert isinstance(with_ours, Letter)
    assert (with_ours.origin, list(with_ours.headers)) == (ORIGIN, list(headers))
