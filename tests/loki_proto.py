"""Push requests by the official protobuf runtime, which owes nothing to our encoder nor to the stand-in's decoder.

Source: pkg/push/push.proto of Grafana Loki.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import snappy
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

_FIELD = descriptor_pb2.FieldDescriptorProto
_MESSAGES: Mapping[str, tuple[tuple[str, int, Any, str], ...]] = {
    "PushRequest": (("streams", 1, _FIELD.LABEL_REPEATED, ".logproto.StreamAdapter"),),
    "StreamAdapter": (
        ("labels", 1, _FIELD.LABEL_OPTIONAL, ""),
        ("entries", 2, _FIELD.LABEL_REPEATED, ".logproto.EntryAdapter"),
    ),
    "EntryAdapter": (
        ("timestamp", 1, _FIELD.LABEL_OPTIONAL, ".google.protobuf.Timestamp"),
        ("line", 2, _FIELD.LABEL_OPTIONAL, ""),
        ("structuredMetadata", 3, _FIELD.LABEL_REPEATED, ".logproto.LabelPairAdapter"),
    ),
    "LabelPairAdapter": (("name", 1, _FIELD.LABEL_OPTIONAL, ""), ("value", 2, _FIELD.LABEL_OPTIONAL, "")),
}


class Entry(NamedTuple):
    """One entry, as it is pushed."""

    timestamp_ns: int
    line: str
    metadata: tuple[tuple[str, str], ...] = ()


class Stream(NamedTuple):
    """One stream of a push request, its label string as it is sent."""

    labels: str
    entries: tuple[Entry, ...]


def _push_request_class() -> type[Any]:
    file = descriptor_pb2.FileDescriptorProto(name="push.proto", package="logproto", syntax="proto3")
    file.dependency.append(timestamp_pb2.DESCRIPTOR.name)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, label, type_name in fields:
            kind = _FIELD.TYPE_MESSAGE if type_name else _FIELD.TYPE_STRING
            message.field.add(name=field, number=number, label=label, type=kind, type_name=type_name or None)
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("logproto.PushRequest"))


_PushRequest = _push_request_class()


def encode_protobuf(streams: Iterable[Stream]) -> bytes:
    """The streams as an uncompressed push request."""
    request = _PushRequest()
    for labels, entries in streams:
        stream = request.streams.add(labels=labels)
        for timestamp_ns, line, metadata in entries:
            entry = stream.entries.add(line=line)
            entry.timestamp.seconds, entry.timestamp.nanos = divmod(timestamp_ns, 10**9)
            for name, value in metadata:
                entry.structuredMetadata.add(name=name, value=value)
    encoded: bytes = request.SerializeToString()
    return encoded


def encode_push(streams: Iterable[Stream]) -> bytes:
    """The streams as the body of a push: protobuf in one snappy block."""
    compressed: bytes = snappy.compress(encode_protobuf(streams))
    return compressed


def decode_push(body: bytes) -> tuple[Stream, ...]:
    """Read the body of a push back; raises google.protobuf.message.DecodeError."""
    request = _PushRequest()
    request.ParseFromString(bytes(snappy.uncompress(body)))
    return tuple(
        Stream(
            stream.labels,
            tuple(
                Entry(
                    entry.timestamp.seconds * 10**9 + entry.timestamp.nanos,
                    entry.line,
                    tuple((pair.name, pair.value) for pair in entry.structuredMetadata),
                )
                for entry in stream.entries
            ),
        )
        for stream in request.streams
    )
