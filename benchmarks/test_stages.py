"""What each stage costs, alone, with a batch of realistic records: CPU µs per record.

The ways to decode that were not taken are measured too, so that the choice can be looked at again.
"""
# ruff: noqa: D103 - a test's name is its documentation

import contextlib
import time
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import orjson
import polars as pl
import pytest
from confluent_kafka import Message

from benchmarks.conftest import PerRecord
from shipper import native
from shipper.devstack.generate import generate
from shipper.loki import encode
from shipper.pipeline import Rules, prepare
from shipper.records import Int64s, PushRequest, RecordBatch, StreamSet
from shipper.settings import Settings, Workers
from shipper.transform import timestamp
from shipper.transform.decode import Decoded, as_texts
from shipper.transform.label import Labeller

RECORDS = 10_000  # as many as a batch has by default
NOW_NS = time.time_ns()
SETTINGS = Settings()
RULES = Rules.compile(Settings(workers=Workers(native=False)))
NATIVE_RULES = Rules.compile(SETTINGS)  # the same as the others where shipper-native is not built
MALFORMED = {"clean": 0.0, "one_percent_malformed": 0.01}


@dataclass(frozen=True)
class Columns:
    """A batch, taken as far as the stages that are measured need it."""

    messages: list[Message]
    values: list[bytes]
    decoded: Decoded
    timestamp_ns: Int64s


def make_columns(malformed: float) -> Columns:
    """Return a batch of records from the last ten minutes, one partition's."""
    now_ms = NOW_NS // 1_000_000
    chunks = generate(RECORDS, seed=1, first_ms=now_ms - 600_000, last_ms=now_ms, malformed=malformed)
    values = [value for chunk in chunks for value in chunk.values]
    messages = [
        Message(topic="logs", partition=0, offset=offset, value=value, timestamp=(1, now_ms))
        for offset, value in enumerate(values)
    ]
    decoded = RULES.decoder.decode(values)
    timestamp_ns = timestamp.resolve(decoded.ns, np.maximum(decoded.digits, 0), np.arange(RECORDS))
    return Columns(messages, values, decoded, timestamp_ns)


CLEAN = make_columns(0.0)
BROKEN = make_columns(MALFORMED["one_percent_malformed"])


def stage(group: str) -> pytest.MarkDecorator:
    """Mark a stage's benchmark; it is CPU time that counts, since the machine may be shared."""
    return pytest.mark.benchmark(group=group, timer=time.process_time)


both_ways = pytest.mark.parametrize(
    "rules",
    [
        RULES,
        pytest.param(
            NATIVE_RULES, marks=pytest.mark.skipif(not native.is_used(wanted=True), reason="NOT BUILT: make native")
        ),
    ],
    ids=["python", "native"],
)
both = pytest.mark.parametrize("columns", [CLEAN, BROKEN], ids=list(MALFORMED))


# --- decode, and the other ways to


class Named(msgspec.Struct, gc=False):
    """The fields of the default configuration, typed as texts."""

    timestamp: str | None = None
    service: str | None = None
    level: str | None = None
    requestId: str | None = None  # noqa: N815 - the field's name
    correlationId: str | None = None  # noqa: N815 - the same
    traceId: str | None = None  # noqa: N815 - the same
    traceparent: str | None = None
    userId: str | None = None  # noqa: N815 - the same


def decode_with_orjson(values: list[bytes]) -> list[Any]:
    """Build whole values, one at a time."""
    wholes = []
    for value in values:
        try:
            wholes.append(orjson.loads(value))
        except orjson.JSONDecodeError:
            wholes.append(None)
    return wholes


def decode_with_polars(values: list[bytes]) -> pl.DataFrame | list[Any]:
    """Join the values to one text for polars; one bad value fails them all, so they are all decoded again."""
    schema = dict.fromkeys(Named.__struct_fields__, pl.String)
    try:
        return pl.read_ndjson(b"\n".join(values), schema=schema)
    except pl.exceptions.ComputeError:
        return decode_with_orjson(values)


def decode_with_texts(values: list[bytes]) -> list[Named | None]:
    """Decode into a Struct whose fields are texts; a bad value costs itself."""
    decode = msgspec.json.Decoder(Named).decode
    structs: list[Named | None] = []
    waiting = iter(values)
    while len(structs) < len(values):
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            structs.extend(map(decode, waiting))
            break
        structs.append(None)
    return structs


@both
@both_ways
@stage("decode")
def test_decode(per_record: PerRecord, columns: Columns, rules: Rules) -> None:
    decoded = per_record(RECORDS, rules.decoder.decode, columns.values)
    assert decoded.texts.height == RECORDS


@both
@pytest.mark.parametrize("way", [decode_with_orjson, decode_with_polars, decode_with_texts])
@stage("decode")
def test_ways_not_taken(per_record: PerRecord, columns: Columns, way: Any) -> None:  # noqa: ANN401 - any of the three
    assert len(per_record(RECORDS, way, columns.values)) == RECORDS


# --- columns


@stage("columns")
def test_texts(per_record: PerRecord) -> None:
    columns = {text.name: text.to_list() for text in CLEAN.decoded.texts}
    frame = per_record(RECORDS, lambda: pl.DataFrame([as_texts(path, texts) for path, texts in columns.items()]))
    assert frame.equals(CLEAN.decoded.texts)


@stage("columns")
def test_timestamps(per_record: PerRecord) -> None:
    column = [orjson.loads(value)["timestamp"] for value in CLEAN.values]
    ns, _ = per_record(RECORDS, timestamp.parse, column, SETTINGS.timestamp.formats)
    assert ns.tolist() == CLEAN.decoded.ns.tolist()


@stage("columns")
def test_metadata(per_record: PerRecord) -> None:
    metadata = per_record(RECORDS, lambda: CLEAN.decoded.texts.select(**RULES.metadata))
    assert metadata.columns == sorted(SETTINGS.structured_metadata)


@pytest.mark.parametrize("streams", [5, 200, 5_000])
@stage("columns")
def test_label_groups(per_record: PerRecord, streams: int) -> None:
    random = np.random.default_rng(1)
    drawn = np.concatenate((np.arange(streams), random.integers(0, streams, RECORDS - streams)))
    texts = pl.DataFrame(
        {"service": drawn // 5, "level": drawn % 5}, schema=dict.fromkeys(SETTINGS.labels.fields, pl.String)
    )
    labeller = Labeller(texts.columns, {}, SETTINGS.loki.limits.label_value_bytes_max, (), SETTINGS.label_values)
    assert len(per_record(RECORDS, labeller.group, texts, RECORDS).labels) == streams


# --- bodies


def build(metadata: pl.DataFrame, join: encode.Joiner = encode.join_entries) -> StreamSet:
    """Group the clean batch by its labels and encode its entries."""
    grouped = RULES.labeller.group(CLEAN.decoded.texts.select(**RULES.labels), RECORDS)
    rows, line_bytes = np.arange(RECORDS), np.array(list(map(len, CLEAN.values)))
    lanes = RULES.lanes.of(grouped.labels, np.bincount(grouped.stream_of_row, line_bytes).astype(np.int64).tolist())
    return encode.build(
        labels=grouped.labels,
        lanes=np.array(lanes, np.int64),
        stream_of_entry=grouped.stream_of_row,
        partitions=np.zeros(RECORDS, np.int32),
        rows=rows,
        lines=CLEAN.values,
        line_bytes=line_bytes,
        timestamp_ns=CLEAN.timestamp_ns,
        metadata=metadata,
        join=join,
    )


METADATA = {"without_metadata": pl.DataFrame(), "with_metadata": CLEAN.decoded.texts.select(**RULES.metadata)}
STREAMS = build(METADATA["with_metadata"])
NONE_DOUBTFUL = np.zeros(len(STREAMS), np.bool_)
REQUESTS = encode.plan(STREAMS, SETTINGS.loki.request_bytes_max, NONE_DOUBTFUL)
BODIES = [encode.encode(request) for request in REQUESTS]


@pytest.mark.parametrize("metadata", METADATA.values(), ids=METADATA.keys())
@both_ways
@stage("bodies")
def test_group_and_encode_entries(per_record: PerRecord, metadata: pl.DataFrame, rules: Rules) -> None:
    assert len(per_record(RECORDS, build, metadata, rules.join)) == RECORDS


@stage("bodies")
def test_cut_into_requests(per_record: PerRecord) -> None:
    assert per_record(RECORDS, encode.plan, STREAMS, SETTINGS.loki.request_bytes_max, NONE_DOUBTFUL)


@stage("bodies")
def test_encode_requests(per_record: PerRecord) -> None:
    def encode_all(requests: tuple[PushRequest, ...]) -> list[bytes]:
        return list(map(encode.encode, requests))

    assert per_record(RECORDS, encode_all, REQUESTS) == BODIES


@stage("bodies")
def test_compress(per_record: PerRecord) -> None:
    assert all(per_record(RECORDS, lambda: list(map(encode.compress, BODIES))))


# --- all of it but Kafka, compression and HTTP


@both
@both_ways
@stage("whole")
def test_prepare(per_record: PerRecord, columns: Columns, rules: Rules) -> None:
    # A batch keeps the columns that it was asked for, so each round gets a new one.
    prepared = per_record(
        RECORDS,
        lambda: prepare(RecordBatch("logs", columns.messages), rules, now_ns=NOW_NS),  # type: ignore[arg-type]  # confluent_kafka has no types
    )
    assert sum(map(len, prepared.requests)) == RECORDS
