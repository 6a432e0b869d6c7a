"""An entry has the same fingerprint worked out and given back by Loki, and another one if anything differs."""

import re

import numpy as np
from hypothesis import given

from loki_proto import Entry, Stream, decode_push
from messages import StoredMessage
from shipper.loki.encode import compress, encode, plan
from shipper.loki.query import StreamEntry
from shipper.pipeline import Rules, prepare
from shipper.records import RecordBatch
from shipper.settings import Labels, Limits, Loki, Redact, Settings
from shipper.tools.entries import Read, of_streams
from strategies import batches

SETTINGS = Settings(
    loki=Loki(limits=Limits(entry_age_max_s=1e10, entry_ahead_max_s=1e10)),
    labels=Labels(fields={"service": "service", "level": "level"}, static={"env": 'te"st\\ \x7f\n'}),
    redact=[Redact(name="letters", pattern="[xz]+", replacement="")],
)
RULES = Rules.compile(SETTINGS)
_ESCAPE = re.compile(r"\\(?:u(.{4})|(.))")


def given_back(stream: Stream, entry: Entry) -> StreamEntry:
    """What Loki's API gives for an entry that was pushed, its own additions included."""
    labels = {
        name: _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else match[2], value)
        for name, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', stream.labels)
    }
    added = {"service_name": "unknown_service", "__stream_shard__": "3"}
    return StreamEntry(labels | added, entry.timestamp_ns, entry.line, {**dict(entry.metadata), "detected_level": "x"})


@given(batches())
def test_what_is_pushed_and_what_is_given_back_have_the_same_fingerprint(records: list[StoredMessage]) -> None:
    prepared = prepare(RecordBatch("logs", records), RULES, now_ns=0)
    worked_out, timestamps = of_streams(prepared.streams)
    requests = plan(prepared.streams, 10**9, np.zeros(len(prepared.streams), np.bool_))
    streams = [stream for request in requests for stream in decode_push(compress(encode(request)))]
    entries = [given_back(stream, entry) for stream in streams for entry in stream.entries]
    assert Read(SETTINGS).fingerprints(entries) == worked_out
    assert timestamps.tolist() == [entry.timestamp_ns for entry in entries]


def test_whatever_differs_makes_another_fingerprint() -> None:
    labels, metadata = {"service": "a", "level": "info"}, {"user_id": "u", "trace_id": "t"}
    entries = [
        StreamEntry(labels, 5, "line", metadata),
        StreamEntry(labels | {"level": "warn"}, 5, "line", metadata),
        StreamEntry(labels | {"more": "x"}, 5, "line", metadata),
        StreamEntry(labels, 6, "line", metadata),
        StreamEntry(labels, 5, "lin", metadata),
        StreamEntry(labels, 5, "line ", metadata),
        StreamEntry(labels, 5, "line", metadata | {"user_id": "v"}),
        StreamEntry(labels, 5, "line", {"user_id": "u"}),
        StreamEntry(labels, 5, "line", {}),
        StreamEntry(labels, 5, "line", metadata | {"more": "x"}),
    ]
    assert len(set(Read(SETTINGS).fingerprints(entries))) == len(entries)


def test_what_loki_adds_counts_only_where_it_is_our_own() -> None:
    bare = StreamEntry({"service": "a"}, 5, "line", {})
    added = StreamEntry({"service": "a", "service_name": "a"}, 5, "line", {"detected_level": "info"})
    assert len(set(Read(Settings()).fingerprints([bare, added]))) == 1
    own = Settings(labels=Labels(static={"service_name": "a"}), structured_metadata={"detected_level": "level"})
    assert len(set(Read(own).fingerprints([bare, added]))) == 2
