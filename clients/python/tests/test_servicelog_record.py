"""What the vectors cannot say: laws that hold for every call."""

import json
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from servicelog.record import RecordWriter
from servicelog.redact import Redaction

_ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.text(st.characters(codec=None))
    | st.binary(max_size=5)
    | st.datetimes()
    | st.decimals()
    | st.uuids(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers() | st.none(), inner, max_size=4)
    ),
    max_leaves=12,
)
_SECRETS = {
    "a JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.SECRETsignature",
    "a bearer": "Bearer SECRETabcdef",
    "a password in an address": "https://user:SECRET@host/",
    "an assignment": "userPassword=SECRET",
    "an assignment in quotes": '{"token": "SECRET value"}',
    "a card": "4111 1111 1111 1111",
    "a card without spaces": "5500005555555559",
}
_SHOWN = re.compile(rb"SECRET|4111 1111 1111 1111|5500005555555559")
_WRITER = RecordWriter("chat-service")
_quickly = settings(max_examples=60, deadline=None, derandomize=True)


@_quickly
@given(level=_ANYTHING, message=_ANYTHING, fields=st.dictionaries(st.text(), _ANYTHING, max_size=5))
def test_whatever_is_logged_becomes_one_json_object(level: object, message: object, fields: dict[str, object]) -> None:
    written = _WRITER.write(1_760_000_000_123, level, message, fields)
    record = json.loads(written)
    assert list(record)[:4] == ["timestamp", "level", "service", "message"]
    assert b"\n" not in written


@st.composite
def _hidden(draw: st.DrawFn) -> tuple[object, dict[str, object], BaseException | None]:
    """A message, fields and an error, with a secret in one of them: in a text, a name, or under a secret's name."""
    secret = draw(st.sampled_from(sorted(_SECRETS.values())))
    around = st.text(st.sampled_from(" abcé,;\n\"'{}[]()<>/"), max_size=6)
    value: Any = draw(around) + " " + secret + draw(st.just("") | around.map(lambda text: " " + text))
    if by_name := draw(st.booleans()):
        value = {
            draw(st.sampled_from(["password", "X-Api-Key", "refresh_token", "pin"])): draw(
                st.just("SECRET") | st.just(["SECRET"])
            )
        }
    for _ in range(draw(st.integers(0, 4))):
        # What is under a name is found as long as it is a value: somebody's `str()` of it is only a text.
        shape = draw(st.integers(0, 3 if by_name else 5))
        name = draw(st.text(st.characters(categories=["L"]), max_size=4))
        value = [
            {name: value},
            [1, value],
            (value, None),
            {name: {"x": [value]}},
            ValueError(value),
            {str(value): 1},
        ][shape]
    place = draw(st.sampled_from(["message", "userId", "route", "a", *([] if by_name else ["error"])]))
    error = ValueError(value) if place == "error" else None
    return (value if place == "message" else "m"), ({place: value} if place not in ("message", "error") else {}), error


@_quickly
@given(_hidden())
def test_a_secret_placed_anywhere_is_never_in_the_bytes(
    call: tuple[object, dict[str, object], BaseException | None],
) -> None:
    message, fields, error = call
    try:
        raise error or KeyError
    except (ValueError, KeyError):
        written = _WRITER.write(0, "info", message, fields, error=error)
    assert not _SHOWN.search(written), written


def test_no_text_makes_redaction_slow() -> None:
    # With expressions that backtrack, one of these takes minutes; the bound is of the whole test.
    redaction = Redaction(emails=True)
    for hostile in [
        "eyJ",
        "eyJaaaaa.",
        "a-",
        "token-",
        "token='",
        'token="',
        "://a:",
        "bearer ",
        "4 ",
        "41-",
        "a@",
        "a.",
        "@a.",
        "key=",
        "password : ",
    ]:
        for end in ("", "=", "@", ".", "="):
            redaction.text(hostile * 20_000 + end)
            redaction.text("@=:eyJ bearer token " + hostile * 20_000 + end)
