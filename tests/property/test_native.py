"""The stages in Rust make of any bytes what those in Python make of them, and leave little to them."""

import dataclasses
import json
import random
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostile import HOSTILE, NOW_MS, NOW_NS
from hostile_fields import TEXTS, TIMESTAMPS
from messages import StoredMessage
from preparing import SETTINGS, Way, everything_known, needs_native, rules_of
from shipper.devstack.generate import generate
from shipper.loki import encode
from shipper.native import stages
from shipper.pipeline import prepare
from shipper.records import Prepared, RecordBatch, StreamSet
from shipper.transform.decode import Decoded, Decoder
from strategies import batches

pytestmark = needs_native

PATHS = ("app.a", "app.name", "level", "requestId", "service", "user.id", "userId", "message", "metadata.roomId")
WAYS: tuple[Way, ...] = ("python", "native")
TIMES = ("timestamp", "app.time")
BITS = (
    *(bytes([bit]) for bit in b'{}[]",:\\ \t\n\x00\x1f\x7f-+.eEutfn0159\xff\xc3\xed'),
    *(b"null", b"1e400", b'"service":', b"\\ud800", "水".encode()),
)


@cache
def decoders() -> tuple[Decoder, Decoder]:
    return Decoder(PATHS, TIMES, ("rfc3339", "epoch")), stages.NativeDecoder(PATHS, TIMES, ("rfc3339", "epoch"))


@cache
def realistic() -> list[bytes]:
    (chunk,) = generate(2_000, seed=7, first_ms=NOW_MS - 60_000, last_ms=NOW_MS)
    return chunk.values


def unequal(first: Decoded | Prepared | StreamSet, second: object) -> str:
    """Name the first attribute in which two results differ, down to the types of their columns."""
    for field in dataclasses.fields(first):
        one, other = getattr(first, field.name), getattr(second, field.name)
        if isinstance(one, np.ndarray):
            is_same = one.dtype == other.dtype and np.array_equal(one, other)
        elif isinstance(one, pl.DataFrame):
            is_same = one.schema == other.schema and one.equals(other)
        elif isinstance(one, StreamSet):
            is_same = not unequal(one, other)
        elif field.name == "requests":
            is_same = list(map(encode.encode, one)) == list(map(encode.encode, other))
        else:
            is_same = one == other
        if not is_same:
            return f"{field.name}: {one} in Python, {other} in Rust"
    return ""


def assert_decoded_alike(values: Sequence[bytes | None]) -> Decoded:
    in_python, in_rust = (decoder.decode(list(values)) for decoder in decoders())
    assert not unequal(in_python, in_rust), values if len(values) < 5 else ""
    return in_rust


def assert_prepared_alike(records: Sequence[StoredMessage], name: str) -> None:
    """Prepare records both ways; with new rules, for these remember the lanes of the streams that they have seen."""
    batch = RecordBatch("logs", records)
    in_python, in_rust = (prepare(batch, rules_of(name, way), now_ns=NOW_NS) for way in WAYS)
    assert not unequal(in_python, in_rust)


def rows_left(values: Sequence[bytes | None], formats: Sequence[str] = ("rfc3339", "epoch")) -> list[int]:
    left: list[int]
    _, left, *_ = stages.NativeDecoder(PATHS, TIMES, formats)._scan(list(values))  # type: ignore[arg-type]  # literals
    return left


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    """A realistic record, with bytes put in, taken out or exchanged in some places."""
    value = draw(st.sampled_from(realistic()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(value)))
        value = value[:at] + draw(st.sampled_from((b"", *BITS))) + value[at + draw(st.integers(0, 2)) :]
    return value


@given(values=st.lists(st.one_of(st.none(), st.binary(max_size=30), _damaged()), max_size=20))
def test_any_bytes_are_decoded_alike(values: list[bytes | None]) -> None:
    assert_decoded_alike(values)


def test_a_record_damaged_anywhere_is_decoded_alike() -> None:
    drawn = random.Random(3)  # noqa: S311 - not for secrets
    values = []
    for at in range(12_000):
        value = bytearray(drawn.choice(realistic()))
        place = drawn.randrange(len(value) + 1)
        value[place : place + drawn.randrange(3)] = drawn.choice(BITS)
        values.append(bytes(value[: drawn.randrange(len(value))] if at % 10 == 0 else value))
    decoded = assert_decoded_alike(values)
    assert 0.1 < len(decoded.faults) / len(values) < 0.9, "the damage is to be of both kinds"


@given(records=batches(), name=st.sampled_from(sorted(SETTINGS)))
def test_a_batch_is_prepared_alike(records: list[StoredMessage], name: str) -> None:
    assert_prepared_alike(records, name)


@pytest.mark.parametrize("share", [0.01, 0.5, 1.0])
@pytest.mark.parametrize("name", SETTINGS)
def test_hostile_records_are_prepared_alike_however_many_they_are(name: str, share: float) -> None:
    drawn = random.Random(share)  # noqa: S311 - not for secrets
    hostile = everything_known()
    if share == 1.0:
        values = hostile
    else:
        values = [drawn.choice(hostile) if drawn.random() < share else value for value in realistic()]
    records = [StoredMessage(value, ("logs", row % 3, row), timestamp_ms=NOW_MS) for row, value in enumerate(values)]
    assert_prepared_alike(records, name)


@pytest.mark.parametrize("value", [hostile.value for hostile in HOSTILE.values()], ids=HOSTILE)
def test_a_hostile_value_is_decoded_alike_alone_and_among_others(value: bytes | None) -> None:
    assert_decoded_alike([value])
    assert_decoded_alike([*realistic()[:3], value, *realistic()[3:5]])


@pytest.mark.parametrize("formats", [("rfc3339",), ("epoch",), ("rfc3339", "epoch")], ids="+".join)
def test_every_form_of_timestamp_is_read_alike(formats: Sequence[Any]) -> None:
    values = [f'{{"timestamp":{text}}}'.encode() for text in (*TIMESTAMPS, *TEXTS)]
    values += [f'{{"timestamp":null,"app":{{"time":{text}}}}}'.encode() for text in TIMESTAMPS]
    in_python = Decoder(PATHS, TIMES, formats).decode(values)
    in_rust = stages.NativeDecoder(PATHS, TIMES, formats).decode(values)
    assert not unequal(in_python, in_rust)


def test_the_last_days_of_every_month_are_read_alike() -> None:
    assert_decoded_alike(
        [
            f'{{"timestamp":"{year}-{month:02}-{day:02}T23:59:59.5Z"}}'.encode()
            for year in (1969, 1970, 1972, 2000, 2026, 2100, 2200, 2261, 2262, 2263)
            for month in range(14)
            for day in (0, 1, 28, 29, 30, 31, 32)
        ]
    )


def test_of_the_same_key_twice_the_last_one_counts_at_every_depth() -> None:
    apps = ('{"a":"x","name":"y"}', '{"name":"z"}', '{"a":"1","a":null}', "{}", "7", '"text"', "null", "[]", "1e400")
    values = [f'{{"app":{first},"level":"info","app":{second}}}'.encode() for first in apps for second in apps]
    values += [f'{{"level":{first},"level":{second}}}'.encode() for first in apps for second in apps]
    assert_decoded_alike(values)
    assert rows_left(values[:1]) == []


@given(numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_every_number_is_read_alike(numbers: list[float]) -> None:
    texts = [text for number in numbers for text in (repr(number), f"{number:.3f}", f"{number:.17e}", f"{number:.0f}")]
    assert_decoded_alike([f'{{"level":{text},"timestamp":{text}}}'.encode() for text in texts if len(text) < 99])


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_is_decoded_alike_at_every_depth(opening: str) -> None:
    closing = {"[": "]", '{"a":': "}"}[opening]
    levels = (*range(60, 70), 200, 255, 1_000, 1_022, 1_023, 1_024, 1_025, 2_000, 4_000)
    values = [f'{{"x":{opening * depth}1{closing * depth}}}'.encode() for depth in levels]
    assert_decoded_alike(values)
    assert rows_left(values[:1]) == []


def test_metadata_of_every_length_is_written_alike() -> None:
    lengths = (*range(140), *range(16_300, 16_400))
    values = [f'{{"userId":"{"x" * length}","requestId":"{"水" * (length % 70)}"}}'.encode() for length in lengths]
    records = [StoredMessage(value, ("logs", 0, row), timestamp_ms=NOW_MS) for row, value in enumerate(values)]
    assert_prepared_alike(records, "any age")


@given(moments=st.lists(st.datetimes(), min_size=1), zone=st.sampled_from(("Z", "z", "+00:00", "-23:59", "+14:00", "")))
def test_every_day_is_read_alike(moments: list[Any], zone: str) -> None:
    assert_decoded_alike([f'{{"timestamp":"{moment.isoformat()}{zone}"}}'.encode() for moment in moments])


def test_records_of_the_common_form_are_not_left_to_python() -> None:
    assert rows_left(realistic()) == []
    members = {
        "escapes": {"message": 'he said "later"\n\t\\\u2028', "level": "in\u0000fo"},
        "escaped characters": {"service": "日本 😀"},
        "numbers and nothing": {"level": 30, "userId": -7, "requestId": None, "app": {"a": True, "b": [1.5e3, {}]}},
        "epoch": {"timestamp": 1_760_000_000_123, "app": {"time": "1760000000"}},
        "unreadable times": {"timestamp": "2025-10-09 08:53:20,123", "app": {"time": True}},
        "floats": {"timestamp": 1_760_000_000.123457, "level": 7.5, "userId": -0.0, "service": 1e14 + 0.5},
        "no fields": {},
    }
    for ensure_ascii in (False, True):
        values = [json.dumps(record, ensure_ascii=ensure_ascii, indent=1).encode() for record in members.values()]
        assert rows_left(values) == []
        assert_decoded_alike(values)


def test_what_is_left_to_python_is_what_rust_is_not_sure_of() -> None:
    unsure = [b"", None, b"{", b'{"level":1.5e20}', b'{"level":[]}', b'{"leve\\u006c":"info"}', b'{"level":-0}']
    assert rows_left([*unsure, b"{}"]) == list(range(len(unsure)))
    assert_decoded_alike([*unsure, b"{}"])
