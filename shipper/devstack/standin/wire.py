"""A push request's protobuf, decoded by hand as Loki's generated code does it.

Fields may come in any order, numbers with any padding, and unknown fields are skipped. Loki's decoder does not check
that strings are UTF-8, and neither does this one: everything stays bytes.
Source: pkg/push/push.proto of Grafana Loki.
"""

from dataclasses import dataclass, field
from struct import Struct

_YEAR_1_S = -62_135_596_800
_YEAR_10000_S = 253_402_300_800
NO_TIMESTAMP_NS = _YEAR_1_S * 10**9
"""What an entry without a timestamp has: Go's zero time, the first of January of year one."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_CONTINUED = 0x80
_SHIFT_MAX = 63
_NS_PER_S = 10**9

# Keys (number and wire type) of an entry's and of its parts' fields.
_TIMESTAMP, _LINE, _METADATA = 0x0A, 0x12, 0x1A
_ENTRY_KEYS = frozenset((_TIMESTAMP, _LINE, _METADATA))
_SECONDS, _NANOS = 0x08, 0x10
_NAME, _VALUE = 0x0A, 0x12

_TIME = Struct("<BIBBIB")
"""A timestamp of two varints of five bytes, each as its first four bytes and its last."""
_ALL_CONTINUED = 0x8080_8080

Pairs = tuple[tuple[bytes, bytes], ...]


class DecodeError(ValueError):
    """The bytes are no push request."""


@dataclass(slots=True)
class PushedStream:
    """One stream of a push request, its entries in columns, in the order of the request."""

    labels: bytes = b""
    timestamps_ns: list[int] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    metadata: list[Pairs] = field(default_factory=list)


def decode_push(body: bytes) -> list[PushedStream]:
    """Decode an uncompressed push request; raises DecodeError with a text in Loki's manner."""
    streams = []
    try:
        position, end = 0, len(body)
        while position < end:
            number, kind, position = _tag(body, position)
            if number == 1:
                start, position = _bounds(body, position, end, kind, "Streams")
                streams.append(_stream(body, start, position))
            else:
                position = _skip(body, position, end, kind)
    except IndexError:
        raise DecodeError("unexpected EOF") from None
    return streams


def _varint(body: bytes, position: int) -> tuple[int, int]:
    value = body[position]
    position += 1
    if value < _CONTINUED:
        return value, position
    value &= 0x7F
    shift = 7
    while True:
        byte = body[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < _CONTINUED:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7
        if shift > _SHIFT_MAX:
            raise DecodeError("proto: integer overflow")


def _tag(body: bytes, position: int) -> tuple[int, int, int]:
    key, position = _varint(body, position)
    if key >> 3 == 0:
        raise DecodeError(f"proto: illegal tag 0 (wire type {key & 7})")
    return key >> 3, key & 7, position


def _bounds(body: bytes, position: int, end: int, kind: int, name: str) -> tuple[int, int]:
    if kind != _LENGTH:
        raise DecodeError(f"proto: wrong wireType = {kind} for field {name}")
    length, position = _varint(body, position)
    if position + length > end:
        raise DecodeError("unexpected EOF")
    return position, position + length


def _skip(body: bytes, position: int, end: int, kind: int) -> int:
    if kind == _VARINT:
        _, position = _varint(body, position)
    elif kind == _FIXED64:
        position += 8
    elif kind == _FIXED32:
        position += 4
    elif kind == _LENGTH:
        _, position = _bounds(body, position, end, kind, "")
    else:
        raise DecodeError(f"proto: illegal wireType {kind}")
    if position > end:
        raise DecodeError("unexpected EOF")
    return position


def _stream(body: bytes, position: int, end: int) -> PushedStream:
    stream = PushedStream()
    timestamps_ns, lines, metadata = stream.timestamps_ns, stream.lines, stream.metadata
    while position < end:
        number, kind, position = _tag(body, position)
        if number == 1:
            start, position = _bounds(body, position, end, kind, "Labels")
            stream.labels = body[start:position]
        elif number == 2:  # noqa: PLR2004 - the field's number in push.proto
            start, position = _bounds(body, position, end, kind, "Entries")
            timestamp_ns, line, pairs = _entry(body, start, position)
            timestamps_ns.append(timestamp_ns)
            lines.append(line)
            metadata.append(pairs)
        else:
            position = _skip(body, position, end, kind)
    if position > end:
        raise DecodeError("unexpected EOF")
    return stream


# The functions below run for every entry. A number of one byte is read in place, a timestamp of the usual twelve bytes
# at once: that saves half of the whole cost.


def _entry(body: bytes, position: int, end: int) -> tuple[int, bytes, Pairs]:
    timestamp_ns, line = NO_TIMESTAMP_NS, b""
    pairs: Pairs = ()
    while position < end:
        key = body[position]
        if key not in _ENTRY_KEYS:
            _, kind, position = _tag(body, position)
            position = _skip(body, position, end, kind)
            continue
        length = body[position + 1]
        position += 2
        if length >= _CONTINUED:
            length, position = _varint(body, position - 1)
        start, position = position, position + length
        if key == _METADATA:
            pairs += (_pair(body, start, position),)
        elif key == _LINE:
            line = body[start:position]
        else:
            timestamp_ns = _timestamp_ns(body, start, position)
    if position > end:
        raise DecodeError("unexpected EOF")
    return timestamp_ns, line, pairs


def _timestamp_ns(body: bytes, position: int, end: int) -> int:
    if end - position == _TIME.size:
        tag_1, low_1, high_1, tag_2, low_2, high_2 = _TIME.unpack_from(body, position)
        whole = low_1 & low_2 & _ALL_CONTINUED == _ALL_CONTINUED and high_1 | high_2 < _CONTINUED
        nanos = _joined(low_2, high_2)
        if whole and tag_1 == _SECONDS and tag_2 == _NANOS and nanos < _NS_PER_S:
            return _joined(low_1, high_1) * _NS_PER_S + nanos
    seconds = nanos = 0
    while position < end:
        number, kind, position = _tag(body, position)
        if number > 2:  # noqa: PLR2004 - Timestamp has two fields
            position = _skip(body, position, end, kind)
            continue
        if kind != _VARINT:
            raise DecodeError(f"proto: wrong wireType = {kind} for field {('Seconds', 'Nanos')[number - 1]}")
        value, position = _varint(body, position)
        if number == 1:
            seconds = value - (1 << 64) if value >> 63 else value
        else:
            nanos = value & 0xFFFF_FFFF
    if position > end:
        raise DecodeError("unexpected EOF")
    if not _YEAR_1_S <= seconds < _YEAR_10000_S or nanos >= _NS_PER_S:
        raise DecodeError(f"timestamp: &types.Timestamp{{Seconds: {seconds},\nNanos: {nanos},\n}} out of range")
    return seconds * _NS_PER_S + nanos


def _joined(low: int, high: int) -> int:
    return low & 0x7F | low >> 1 & 0x3F80 | low >> 2 & 0x1F_C000 | low >> 3 & 0xFE0_0000 | high << 28


def _pair(body: bytes, position: int, end: int) -> tuple[bytes, bytes]:
    if position + 2 < end:
        # The usual form: both lengths of one byte, and the value ends where the pair does.
        name_size = body[position + 1]
        middle = position + 2 + name_size
        if body[position] == _NAME and name_size < _CONTINUED and middle + 1 < end and body[middle] == _VALUE:
            value_size = body[middle + 1]
            if value_size < _CONTINUED and middle + 2 + value_size == end:
                return body[position + 2 : middle], body[middle + 2 : end]
    name = value = b""
    while position < end:
        number, kind, position = _tag(body, position)
        if number > 2:  # noqa: PLR2004 - LabelPairAdapter has two fields
            position = _skip(body, position, end, kind)
            continue
        start, position = _bounds(body, position, end, kind, ("Name", "Value")[number - 1])
        if number == 1:
            name = body[start:position]
        else:
            value = body[start:position]
    return name, value
