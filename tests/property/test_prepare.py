"""`prepare` makes of every batch what the oracle makes of each record alone."""

import random
import re
import uuid
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostile import NOW_MS, NOW_NS
from loki_proto import decode_push
from messages import StoredMessage
from oracle import DeadLettered, Filtered, Outcome, Shipped, acceptable
from preparing import DEFAULT, SETTINGS, Way, both_ways, everything_known, prepared
from shipper.loki.encode import compress, encode
from shipper.records import Prepared, Reason
from strategies import batches

_LABELS = re.compile(r'\{(?:[a-z_]+="(?:[^"\\\n]|\\.)*"(?:, (?=[a-z_])|(?=\})))*\}')
_PAIR = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(?:x(..)|u(....)|U(.{8})|(.))")
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}


def parse_labels(text: str) -> dict[str, str]:
    """Read a label string as Go does, and insist on its one form: sorted by name, one space after a comma."""
    assert _LABELS.fullmatch(text), text
    pairs = [(name, _ESCAPE.sub(_unescaped, value)) for name, value in _PAIR.findall(text)]
    assert [name for name, _ in pairs] == sorted({name for name, _ in pairs})
    return dict(pairs)


def _unescaped(match: re.Match[str]) -> str:
    digits = match[1] or match[2] or match[3]
    return chr(int(digits, 16)) if digits else _ESCAPED[match[4]]


def outcomes(result: Prepared, request_bytes_max: int) -> list[Outcome | None]:
    """What became of each row, read from the requests' protobuf; None for what was filtered, whose rule has no row."""
    found: list[Outcome | None] = [None] * len(result.batch)
    covered = 0
    texts: dict[str, str] = {}
    for request in result.requests:
        assert request.first == covered
        covered = request.last
        body = encode(request)
        assert len(body) <= request_bytes_max
        streams = decode_push(compress(body))
        assert len({stream.labels for stream in streams}) == len(streams)
        rows = iter(result.streams.rows[request.first : request.last].tolist())
        for stream in streams:
            labels = parse_labels(stream.labels)
            assert texts.setdefault(repr(sorted(labels.items())), stream.labels) == stream.labels
            last_row = -1
            for entry in stream.entries:
                row = next(rows)
                assert found[row] is None
                assert row > last_row
                last_row = row
                assert len(dict(entry.metadata)) == len(entry.metadata)
                assert list(entry.metadata) == sorted(entry.metadata)
                found[row] = Shipped(labels, entry.timestamp_ns, entry.line.encode(), dict(entry.metadata))
        assert next(rows, None) is None
    assert covered == len(result.streams)
    for rejected in result.rejected:
        assert found[rejected.row] is None
        found[rejected.row] = DeadLettered(rejected.reason)
    return found


def assert_as_the_oracle_says(records: Sequence[StoredMessage], name: str, *, way: Way = DEFAULT) -> None:
    result = prepared(records, name, way=way)
    filtered: Counter[str] = Counter()
    malformed: Counter[Reason] = Counter()
    for record, outcome in zip(records, outcomes(result, SETTINGS[name].loki.request_bytes_max), strict=True):
        accepted = acceptable(record, SETTINGS[name], now_ns=NOW_NS)
        if outcome is None:
            rules = [choice.rule for choice in accepted if isinstance(choice, Filtered)]
            assert rules, f"{record} is missing; expected {accepted}"
            filtered[rules[0]] += 1
        else:
            assert outcome in accepted, f"{record}\n became {outcome}\n expected {accepted[0]}"
        if isinstance(outcome, Shipped) and "shipper_error" in outcome.metadata:
            malformed[Reason(outcome.metadata["shipper_error"])] += 1
    assert +Counter(result.filtered) == filtered
    assert +Counter(result.malformed) == malformed


def entry_bytes(result: Prepared) -> dict[int, tuple[bytes, bytes]]:
    """Label string and protobuf of the entry of each row."""
    streams = result.streams
    return {
        int(streams.rows[entry]): (
            streams.labels[stream],
            bytes(streams.entries[streams.positions[entry] : streams.positions[entry + 1]]),
        )
        for stream in range(len(streams.labels))
        for entry in range(streams.bounds[stream], streams.bounds[stream + 1])
    }


@both_ways
@pytest.mark.parametrize("name", SETTINGS)
def test_all_that_is_known_to_be_hostile_becomes_what_the_oracle_says(name: str, way: Way) -> None:
    values = everything_known()
    random.Random(name).shuffle(values)  # noqa: S311 - not for secrets
    records = [
        StoredMessage(
            value, ("logs", row % 3, 10**12 + row * 7_919), timestamp_ms=2**62 if row % 50 == 7 else NOW_MS - row
        )
        for row, value in enumerate(values)
    ]
    assert_as_the_oracle_says(records, name, way=way)


@both_ways
@pytest.mark.parametrize("name", SETTINGS)
@given(data=st.data())
def test_a_batch_becomes_what_the_oracle_says_of_each_record(name: str, way: Way, data: st.DataObject) -> None:
    assert_as_the_oracle_says(data.draw(batches()), name, way=way)


@given(records=batches(), name=st.sampled_from(sorted(SETTINGS)))
def test_the_same_records_make_the_same_bytes(records: list[StoredMessage], name: str) -> None:
    first, second = prepared(records, name), prepared(list(records), name)
    assert list(map(encode, first.requests)) == list(map(encode, second.requests))
    assert (first.rejected, first.filtered, first.malformed) == (second.rejected, second.filtered, second.malformed)


@given(records=batches(), name=st.sampled_from(sorted(SETTINGS)))
def test_no_request_crosses_a_lane(records: list[StoredMessage], name: str) -> None:
    result = prepared(records, name)
    streams, lanes = result.streams, dict[bytes, int]()
    for request in result.requests:
        for stream, labels in enumerate(streams.labels):
            if max(request.first, streams.bounds[stream]) < min(request.last, streams.bounds[stream + 1]):
                assert streams.lanes[stream] == request.lane
                assert lanes.setdefault(labels, request.lane) == request.lane
    assert len(set(streams.labels)) == len(streams.labels)
    assert streams.partitions.tolist() == result.batch.partitions[streams.rows].tolist()


@settings(max_examples=settings().max_examples // 2)  # each prepares a dozen batches
@given(records=batches(), name=st.sampled_from(sorted(SETTINGS)))
def test_a_record_makes_the_same_bytes_alone_as_among_others(records: list[StoredMessage], name: str) -> None:
    together = entry_bytes(prepared(records, name))
    alone = {}
    for row, record in enumerate(records):
        for entry in entry_bytes(prepared([record], name)).values():
            alone[row] = entry
    assert alone == together


def test_metadata_that_redaction_empties_is_left_out() -> None:
    assert_as_the_oracle_says(
        [StoredMessage(b'{"service":"xz","userId":"x"}', timestamp_ms=NOW_MS)], "filters and redaction"
    )


def test_a_traceparent_of_another_version_is_taken_whole_from_field_and_header() -> None:
    other = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    field = StoredMessage(f'{{"traceparent":"{other}"}}'.encode(), timestamp_ms=NOW_MS)
    header = StoredMessage(b"{}", ("logs", 0, 1), pairs=[("traceparent", other.encode())], timestamp_ms=NOW_MS)
    assert_as_the_oracle_says([field, header], "defaults")


def test_a_label_of_ids_makes_one_stream_however_many_there_are() -> None:
    records = [
        StoredMessage(f'{{"service":"{uuid.UUID(int=row << 64)}"}}'.encode(), ("logs", 0, row), timestamp_ms=NOW_MS)
        for row in range(5_000)
    ]
    result = prepared(records, "defaults")
    assert result.streams.labels == (b'{level="unknown", service="other"}',)
    assert_as_the_oracle_says(records[:50], "defaults")


def test_an_empty_batch_makes_nothing() -> None:
    result = prepared([], "defaults")
    assert (len(result.streams), result.requests, result.rejected, result.filtered) == (0, (), (), {})
