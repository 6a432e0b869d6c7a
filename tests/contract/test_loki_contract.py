"""What we rely on in Loki, asked of the stand-in and of the real one: where they differ, the stand-in is wrong."""

import pytest
import snappy

from loki_proto import Entry, encode_protobuf, encode_push
from loki_target import BASE_NS, LINE_BYTES_MAX, S, Target, field, make_line, padded

# What is pushed comes back.


def test_an_entry_is_read_back_as_it_was_pushed(target: Target) -> None:
    entry = make_line('{"a": 1}', BASE_NS + 123_456_789, request_id="r-1", user_id="ü")
    answer = target.push(target.stream(entry, service="chat", level="warn"))
    assert (answer.status_code, answer.text) == (204, "")
    [found] = target.entries()
    assert found.labels == {"service": "chat", "service_name": "chat", "level": "warn", "test_id": target.test_id}
    assert found.metadata == {"request_id": "r-1", "user_id": "ü", "detected_level": "warn"}
    assert (found.timestamp_ns, found.line) == (entry.timestamp_ns, entry.line)


@pytest.mark.parametrize(
    ("labels", "service_name"),
    [
        ({}, "unknown_service"),
        ({"service": "a", "app": "b"}, "a"),
        ({"job": "b"}, "b"),
        ({"service_name": "c", "service": "a"}, "c"),
    ],
)
def test_a_stream_gets_a_service_name(target: Target, labels: dict[str, str], service_name: str) -> None:
    target.push(target.stream(make_line(), **labels))
    assert [one.labels["service_name"] for one in target.entries()] == [service_name]


@pytest.mark.parametrize(
    ("labels", "line", "level"),
    [
        ({"level": "WARNING"}, "an error", "warn"),
        ({"level": "odd"}, "an error", "odd"),
        ({}, '{"msg": "an error", "level": "INF"}', "info"),
        ({}, '{"meta": {"severity": "fatal"}, "level": 30}', "fatal"),
        ({}, '{"a": {"b": {"level": "dbg"}}}', "unknown"),
        ({}, "msg=hello lvl=dbg", "debug"),
        ({}, "[ERROR] no such error", "error"),
        ({}, "nothing of the kind", "unknown"),
        ({}, "", "unknown"),
    ],
)
def test_an_entry_gets_a_detected_level(target: Target, labels: dict[str, str], line: str, level: str) -> None:
    target.push(target.stream(make_line(line), **labels))
    assert [one.metadata for one in target.entries()] == [{"detected_level": level}]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(" \t\r\n ", id="white space"),
        pytest.param("a\x00b\x1b[31m\x7f", id="control characters"),
        pytest.param('"\\ {} </script> %s `', id="quotes"),
        pytest.param("über 日本語 😀 \u2028 \ufeff \U0010ffff", id="unicode"),
        pytest.param("replaced \ufffd", id="replacement character"),
        pytest.param("x" * LINE_BYTES_MAX, id="as long as may be"),
    ],
)
def test_any_text_comes_back_as_a_line(target: Target, text: str) -> None:
    assert target.push(target.stream(make_line(text))).status_code == 204
    assert target.read() == [make_line(text)]


def test_any_text_comes_back_as_a_label_and_in_metadata(target: Target) -> None:
    text = "über 日本語 😀 \u2028"
    target.push(target.stream(make_line("", note=text + '"\\\n'), note2=text + '\\"\\\\\\n'))
    [found] = target.entries()
    assert found.metadata["note"] == text + '"\\\n'
    assert found.labels["note2"] == text + '"\\\n'


def test_each_byte_that_is_no_utf_8_comes_back_as_a_replacement_character(target: Target) -> None:
    body = encode_protobuf([target.stream(make_line("QQQ.QQ"))]).replace(b"QQQ.QQ", b"\xff\xe2\x82.\xc3\x28")
    assert target.post(snappy.compress(body)).status_code == 204
    assert target.read() == [make_line("\ufffd\ufffd\ufffd.\ufffd(")]


def test_names_of_metadata_are_normalized_and_empty_values_dropped(target: Target) -> None:
    pairs = (("request.id", "1"), ("a__b", "2"), ("_x", "3"), ("9a", "4"), ("__r__", "5"), ("empty", ""), ("é-e", "6"))
    assert target.push(target.stream(Entry(BASE_NS, "a line", pairs))).status_code == 204
    kept = (("__r__", "5"), ("_e", "6"), ("_x", "3"), ("a_b", "2"), ("key_9a", "4"), ("request_id", "1"))
    assert target.read() == [Entry(BASE_NS, "a line", kept)]


def test_a_replacement_character_in_metadata_becomes_a_space(target: Target) -> None:
    target.push(target.stream(make_line("a line", user="x\ufffdy")))
    assert target.read() == [make_line("a line", user="x y")]


def test_metadata_named_like_a_label_comes_back_under_another_name(target: Target) -> None:
    target.push(target.stream(make_line("a line", level="from metadata"), level="info"))
    assert target.read() == [make_line("a line", level_extracted="from metadata")]


@pytest.mark.parametrize("width", [4, 9])
def test_padded_varints_are_read_as_the_plain_ones(target: Target, width: int) -> None:
    stream = target.stream(*(make_line(f"line {n}", BASE_NS + n * 7, id=str(n)) for n in range(50)))
    body = field(1, stream.labels.encode(), width)
    for timestamp_ns, line, metadata in stream.entries:
        seconds, nanos = divmod(timestamp_ns, S)
        times = b"\x08" + padded(seconds, max(width, 5)) + b"\x10" + padded(nanos, max(width, 5))
        pairs = [field(1, name.encode(), width) + field(2, value.encode(), width) for name, value in metadata]
        entry = field(1, times, width) + field(2, line.encode(), width)
        body += field(2, entry + b"".join(field(3, pair, width) for pair in pairs), width)
    assert target.post(snappy.compress(field(1, body, width))).status_code == 204
    assert target.read() == list(stream.entries)


@pytest.mark.parametrize("content_type", ["application/x-protobuf", "application/x-protobuf; a=b", "text/plain"])
@pytest.mark.parametrize("encoding", [None, "snappy"])
def test_protobuf_is_taken_under_any_content_type_but_json(
    target: Target, content_type: str, encoding: str | None
) -> None:
    body = encode_push([target.stream(make_line())])
    headers = {"Content-Type": content_type, "Content-Encoding": encoding}
    assert target.post(body, **headers).status_code == 204
    assert target.read() == [make_line()]


def test_fields_that_nobody_knows_are_skipped(target: Target) -> None:
    unknown = b"\x28\x01" + b"\x32\x02hi" + b"\x39" + bytes(8) + b"\x45" + bytes(4)
    body = unknown + encode_protobuf([target.stream(make_line())]) + unknown
    assert target.post(snappy.compress(body)).status_code == 204
    assert target.read() == [make_line()]


# Order and duplicates.


def test_entries_come_in_order_of_time_however_they_were_pushed(target: Target) -> None:
    times = [5, 1, 3, 9, 2, 8]
    for part in (times[:3], times[3:]):
        target.push(
            target.stream(*(make_line(f"a{n}", BASE_NS + n) for n in part), side="a"),
            target.stream(*(make_line(f"b{n}", BASE_NS + n) for n in reversed(part)), side="b"),
        )
    found = [one.timestamp_ns - BASE_NS for one in target.entries()]
    assert found == sorted(times * 2)


def test_an_identical_request_sent_again_leaves_no_trace(target: Target) -> None:
    entries = [make_line(f"line {n % 40}", BASE_NS + n // 3, id=str(n)) for n in range(100)]
    body = encode_push([target.stream(*entries)])
    assert [target.post(body).status_code for _ in range(3)] == [204] * 3
    assert target.read() == sorted(entries)
    assert target.reader.count(target.selector, BASE_NS - S, BASE_NS + S) == 100


def test_only_an_entry_equal_in_time_line_and_metadata_is_a_duplicate(target: Target) -> None:
    different = [
        make_line("x"),
        make_line("y"),
        make_line("x", BASE_NS + 1),
        make_line("x", id="1"),
        make_line("x", id="2"),
    ]
    target.push(target.stream(*different, *different), target.stream(*different, other="stream"))
    assert target.read() == sorted(different * 2)
