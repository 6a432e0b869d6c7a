"""Batches of Kafka records for hypothesis: well-formed, nearly well-formed, hostile, and plain noise, in any order."""

import json

from hypothesis import strategies as st

from hostile import HOSTILE, NOW_MS
from hostile_fields import LEVELS, TEXTS, TIMESTAMPS
from messages import StoredMessage

_NAMES = ("timestamp", "time", "service", "level", "message", "userId", "requestId", "traceId", "traceparent")
_HEADER_NAMES = ("requestId", "REQUESTID", "traceid", "correlationId", "traceparent", "userId", "ids.requestId", "x")
_TRACEPARENTS = (
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-00",
    "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
)


def _dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


# Final sigma is lower-cased by its neighbours, which languages do differently.
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="Σ"), max_size=12)
_STRINGS = st.one_of(
    _TEXT,
    st.sampled_from(
        ("auth-service", "chat-service", "/health", "abc", "me@home 1234", "水", "x", "zzz", *_TRACEPARENTS)
    ),
)
_NUMBERS = st.one_of(
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(1_759_000_000, 1_761_000_000),
    st.integers(1_759_000_000_000, 1_761_000_000_000),
    st.floats(1_759_000_000, 1_761_000_000),
)
_MOMENTS = st.datetimes().map(lambda moment: f'"{moment.isoformat()}Z"')
_SCALARS = st.one_of(
    _STRINGS.map(_dumped),
    _NUMBERS.map(_dumped),
    st.sampled_from((*TIMESTAMPS, *LEVELS, *TEXTS)),
    _MOMENTS,
    st.sampled_from(("null", "true", "false", '""', "{}", "[]", "1e400", "NaN", '"\\ud800"', "01", "")),
)


@st.composite
def _objects(draw: st.DrawFn, members: st.SearchStrategy[tuple[str, str]]) -> str:
    pairs = draw(st.lists(members, max_size=7))
    comma, colon = draw(st.sampled_from(((",", ":"), (", ", ": "), (" ,\n", "\t:\r\n"))))
    return "{" + comma.join(f"{_dumped(name)}{colon}{text}" for name, text in pairs) + "}"


_INNER = _objects(
    st.tuples(st.sampled_from(("id", "name", "a", "level", "time", "requestId", "traceparent")), _SCALARS)
)
_NESTED = st.tuples(st.sampled_from(("app", "user", "ids")), st.one_of(_INNER, _SCALARS))
_FLAT = st.tuples(st.one_of(st.sampled_from(_NAMES), _TEXT), st.one_of(_SCALARS, _INNER))
_RECORDS = _objects(st.one_of(_FLAT, _NESTED)).map(str.encode)


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    """A record with some bytes exchanged for others."""
    value = draw(_RECORDS)
    first = draw(st.integers(0, len(value)))
    return value[:first] + draw(st.binary(max_size=3)) + value[first + draw(st.integers(0, 3)) :]


_VALUES = st.one_of(
    _RECORDS,
    _RECORDS,
    _mutated(),
    st.sampled_from([hostile.value for hostile in HOSTILE.values()]),
    st.binary(max_size=40),
)
_HEADERS = st.lists(
    st.tuples(
        st.sampled_from(_HEADER_NAMES),
        st.one_of(st.none(), st.binary(max_size=5), st.sampled_from(_TRACEPARENTS).map(str.encode)),
    ),
    max_size=4,
)


@st.composite
def batches(draw: st.DrawFn) -> list[StoredMessage]:
    """Up to a dozen records of three partitions, offsets ascending in each."""
    offset = draw(st.one_of(st.integers(0, 10), st.integers(0, 2**53)))
    records = []
    for value, headers in draw(st.lists(st.tuples(_VALUES, st.none() | _HEADERS), max_size=12)):
        offset += draw(st.sampled_from((1, 1, 1_000_003)))
        timestamp_ms = draw(st.sampled_from((NOW_MS, NOW_MS - 1, -1, 0, NOW_MS + 700_000, NOW_MS - 700_000_000, 2**62)))
        place = ("logs", draw(st.integers(0, 2)), offset)
        records.append(StoredMessage(value, place, pairs=headers, timestamp_ms=timestamp_ms))
    return records
