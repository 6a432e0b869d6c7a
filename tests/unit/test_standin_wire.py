"""The stand-in's decoder against the official protobuf runtime."""

import contextlib

import pytest
import snappy
from google.protobuf.message import DecodeError as OfficialDecodeError
from hypothesis import given
from hypothesis import strategies as st

from loki_proto import Entry, Stream, decode_push, encode_protobuf, encode_push
from shipper.devstack.standin import wire

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=150)
_ENTRIES = st.builds(
    Entry,
    st.integers(-(10**18), 10**19),
    _TEXT,
    st.lists(st.tuples(_TEXT, _TEXT), max_size=3).map(tuple),
)
_STREAMS = st.lists(st.builds(Stream, _TEXT, st.lists(_ENTRIES, max_size=4).map(tuple)), max_size=3)


def _decoded(body: bytes) -> list[Stream]:
    return [
        Stream(
            stream.labels.decode(),
            tuple(
                Entry(timestamp_ns, line.decode(), tuple((name.decode(), value.decode()) for name, value in pairs))
                for timestamp_ns, line, pairs in zip(stream.timestamps_ns, stream.lines, stream.metadata, strict=True)
            ),
        )
        for stream in wire.decode_push(body)
    ]


@given(_STREAMS)
def test_what_the_official_runtime_writes_is_read(streams: list[Stream]) -> None:
    assert _decoded(encode_protobuf(streams)) == streams
    assert list(decode_push(encode_push(streams))) == streams


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(wire.DecodeError):
        wire.decode_push(body)


@given(_STREAMS, st.data())
def test_a_damaged_request_is_read_as_the_official_runtime_reads_it_or_refused(
    streams: list[Stream], data: st.DataObject
) -> None:
    body = bytearray(encode_protobuf(streams))
    if not body:
        return
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = _decoded(bytes(body))
    except (wire.DecodeError, UnicodeDecodeError):
        return
    with contextlib.suppress(OfficialDecodeError):  # it checks more than Loki's decoder does: unknown groups, strings
        official = [stream.labels for stream in decode_push(snappy.compress(bytes(body)))]
        assert [stream.labels for stream in found] == official


def test_an_entry_without_a_time_has_the_first_of_january_of_year_one() -> None:
    [stream] = wire.decode_push(bytes.fromhex("0a 05 12 03 12 01 78"))
    assert stream.lines == [b"x"]
    assert stream.timestamps_ns == [-62_135_596_800 * 10**9]


def test_every_prefix_of_a_request_is_refused_or_ends_between_streams() -> None:
    entry = Entry(1_700_000_000_123_456_789, "line", (("a", "b"),))
    streams = [Stream('{a="1"}', (entry, entry)), Stream('{a="2"}', (entry,))]
    body = encode_protobuf(streams)
    ends = {0, len(encode_protobuf(streams[:1])), len(body)}
    for size in range(len(body) + 1):
        if size in ends:
            wire.decode_push(body[:size])
        else:
            with pytest.raises(wire.DecodeError):
                wire.decode_push(body[:size])


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param("12 03 12 05 78 28 01 28 01", id="line beyond its entry"),
        pytest.param("12 06 0a 01 08 12 01 78", id="time beyond its message"),
        pytest.param("12 0a 1a 05 0a 01 61 12 05 62 12 01", id="value beyond its pair"),
        pytest.param("12 05 0a 09 08 01 10 28 01 28 01", id="times beyond their entry"),
    ],
)
def test_a_part_that_reaches_beyond_its_whole_is_refused(stream: str) -> None:
    inside = bytes.fromhex(stream)
    with pytest.raises(wire.DecodeError):
        wire.decode_push(bytes([0x0A, len(inside)]) + inside + b"\x28\x01" * 9)
