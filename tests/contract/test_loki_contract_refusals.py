"""What Loki refuses, how it says so, and what it stores beside it: asked of the stand-in and of the real one."""

import http.client
import uuid
from urllib.parse import urlsplit

import pytest
import snappy

from loki_proto import Entry, Stream, encode_protobuf, encode_push
from loki_target import BASE_NS, HOUR, LINE_BYTES_MAX, S, Target, field, make_line, padded
from shipper.loki.query import LokiQueryError, LokiReader

# What is refused, and what is stored beside it.

_LONG = "x" * (LINE_BYTES_MAX + 1)
_MANY = Entry(BASE_NS, "m", tuple((f"k{n}", "v") for n in range(129)))


@pytest.mark.parametrize(
    ("guilty", "text"),
    [
        pytest.param(make_line(_LONG), "max entry size '262144' bytes exceeded for stream '", id="line too long"),
        pytest.param(make_line("old", BASE_NS - 8 * 24 * HOUR), "has timestamp too old: ", id="too old"),
        pytest.param(make_line("new", BASE_NS + 2 * HOUR), "has timestamp too new: ", id="too new"),
        pytest.param(
            make_line("m", k="v" * (64 << 10)), "has structured metadata too large: '65537' bytes", id="too large"
        ),
        pytest.param(_MANY, "has too many structured metadata labels: '129', limit: '128'", id="too many"),
    ],
)
def test_an_entry_over_a_limit_is_refused_alone(target: Target, guilty: Entry, text: str) -> None:
    before, after = make_line("before"), make_line("after", BASE_NS + 5, id="1")
    answer = target.push(target.stream(before, guilty, after), target.stream(make_line("beside"), other="stream"))
    assert answer.status_code == 400
    assert text in answer.text
    assert f'test_id="{target.test_id}"' in answer.text
    assert answer.text.endswith("\n")
    assert target.read() == sorted([before, after, make_line("beside")])


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        pytest.param({f"l{n}": "v" for n in range(15)}, "has 16 label names; limit 15", id="count"),
        pytest.param({"l" * 1025: "v"}, "has label name too long: 'lll", id="name"),
        pytest.param({"l": "é" * 1025}, "has label value too long: 'ééé", id="value"),
    ],
)
def test_a_stream_with_labels_over_a_limit_is_refused_alone(target: Target, labels: dict[str, str], text: str) -> None:
    answer = target.push(target.stream(make_line("guilty"), **labels), target.stream(make_line("beside")))
    assert answer.status_code == 400
    assert text in answer.text
    assert target.read() == [make_line("beside")]


def test_labels_at_their_limits_are_taken(target: Target) -> None:
    labels = {"a" * 1024: "v", "b": "é" * 1024, **{f"l{n}": "v" for n in range(12)}}
    assert target.push(target.stream(make_line(), **labels, service_name="not counted")).status_code == 204
    assert target.read() == [make_line()]


def test_a_label_given_twice_is_refused_alone(target: Target) -> None:
    twice = Stream(f'{{a="1", a="2", test_id="{target.test_id}"}}', (make_line("guilty"),))
    answer = target.push(twice, target.stream(make_line("beside")))
    assert answer.status_code == 400
    assert "has duplicate label name: 'a'" in answer.text
    assert target.read() == [make_line("beside")]


def test_equal_errors_are_told_once_with_their_number(target: Target) -> None:
    answer = target.push(target.stream(make_line(_LONG), make_line(_LONG), make_line(_LONG + "x"), make_line("good")))
    assert answer.status_code == 400
    assert answer.text.count("2 errors like: max entry size") == 1
    assert answer.text.count("1 errors like: max entry size") == 1
    assert answer.text.count("; ") == 1
    assert target.read() == [make_line("good")]


@pytest.mark.parametrize(
    "labels", ["{", "{a=b}", '{a="b"', '{a=~"b"}', '{a="\\q"}', '{1a="b"}', '{a="b" c="d"}', "{a}"]
)
def test_one_bad_label_string_refuses_the_whole_request(target: Target, labels: str) -> None:
    answer = target.push(target.stream(make_line("beside")), Stream(labels, (make_line("guilty"),)))
    assert answer.status_code == 400
    assert answer.text.startswith("couldn't parse labels: ")
    assert target.read() == []


@pytest.mark.parametrize(
    ("body", "text"),
    [
        pytest.param(b"", "snappy: corrupt input\n", id="empty"),
        pytest.param(b"no snappy at all", "snappy: corrupt input\n", id="no snappy"),
        pytest.param(snappy.compress(b"\x0a\xff\x01abc"), "unexpected EOF\n", id="cut short"),
        pytest.param(snappy.compress(b"\x08\x01"), "proto: wrong wireType = 0 for field Streams\n", id="other type"),
    ],
)
def test_what_is_no_push_request_is_refused(target: Target, body: bytes, text: str) -> None:
    answer = target.post(body)
    assert (answer.status_code, answer.text) == (400, text)


def test_a_request_cut_short_stores_nothing(target: Target) -> None:
    body = encode_protobuf([target.stream(make_line("whole")), target.stream(make_line("cut"), other="stream")])
    assert target.post(snappy.compress(body[:-1])).status_code == 400
    assert target.read() == []


@pytest.mark.parametrize(("seconds", "nanos"), [(1, S), (253_402_300_800, 0)], ids=["nanos", "year 10000"])
def test_an_impossible_time_refuses_the_whole_request(target: Target, seconds: int, nanos: int) -> None:
    times = b"\x08" + padded(seconds, 6) + b"\x10" + padded(nanos, 6)
    guilty = field(1, b'{a="b"}', 1) + field(2, field(1, times, 1) + field(2, b"guilty", 1), 1)
    body = encode_protobuf([target.stream(make_line("beside"))]) + field(1, guilty, 1)
    answer = target.post(snappy.compress(body))
    assert answer.status_code == 400
    assert answer.text.startswith("timestamp: ")
    assert target.read() == []


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        pytest.param({"Content-Type": None}, "mime: no media type\n", id="no content type"),
        pytest.param({"Content-Encoding": "zstd"}, 'Content-Encoding "zstd" not supported\n', id="zstd"),
    ],
)
def test_headers_that_cannot_be_used_are_refused(target: Target, headers: dict[str, str | None], text: str) -> None:
    answer = target.post(encode_push([target.stream(make_line())]), **headers)
    assert (answer.status_code, answer.text) == (400, text)
    assert target.read() == []


def test_a_request_without_streams_is_422(target: Target) -> None:
    answer = target.push()
    assert (answer.status_code, answer.text) == (422, "error at least one valid stream is required for ingestion\n")


def test_a_stream_without_entries_is_204(target: Target) -> None:
    assert target.push(target.stream()).status_code == 204


def test_a_body_over_100_mebibytes_is_413_before_it_is_read(target: Target) -> None:
    connection = http.client.HTTPConnection(urlsplit(target.url).netloc, timeout=30)
    connection.putrequest("POST", "/loki/api/v1/push")
    connection.putheader("Content-Type", "application/x-protobuf")
    connection.putheader("Content-Length", str((100 << 20) + 1))
    connection.endheaders(b"the first bytes")
    answer = connection.getresponse()
    assert answer.status == 413
    assert answer.read().startswith(b"request body too large: message size too large than max (104857601 vs 104857600)")
    connection.close()


def test_a_request_over_4_mebibytes_is_500_however_often_it_is_sent(untuned: Target) -> None:
    body = encode_push([untuned.stream(*(make_line("x" * 250_000, BASE_NS + n) for n in range(18)))])
    for _ in range(2):
        answer = untuned.post(body)
        assert answer.status_code == 500
        assert "received message larger than max" in answer.text
    assert untuned.read() == []


def test_a_request_of_3_mebibytes_is_taken(target: Target) -> None:
    entries = [make_line("x" * 3000, BASE_NS + n) for n in range(1000)]
    assert target.push(target.stream(*entries)).status_code == 204
    assert target.read() == entries


@pytest.mark.parametrize("name", ["", "__", "."])
def test_a_metadata_name_of_nothing_is_500_and_stores_nothing(target: Target, name: str) -> None:
    answer = target.push(target.stream(make_line("before"), Entry(BASE_NS, "guilty", ((name, "v"),))))
    assert answer.status_code == 500
    assert "label name" in answer.text
    assert target.read() == []


# The window for entries out of order.


def test_an_entry_an_hour_behind_is_taken_and_a_nanosecond_more_is_not(target: Target) -> None:
    edge, late = make_line("edge", BASE_NS - HOUR), make_line("late", BASE_NS - HOUR - 1)
    answer = target.push(target.stream(make_line("newest"), late, edge))
    assert answer.status_code == 400
    assert "entry too far behind, entry timestamp is: " in answer.text
    assert answer.text.endswith(
        f"total ignored: 1 out of 3 for stream: {target.stream(service_name='unknown_service')[0]}\n"
    )
    assert target.read() == [edge, make_line("newest")]


def test_the_window_is_measured_from_the_newest_entry_ever_taken(target: Target) -> None:
    late = make_line("late", BASE_NS - HOUR - S)
    target.push(target.stream(make_line("newest")))
    assert target.push(target.stream(late)).status_code == 400
    assert target.push(target.stream(late, other="stream")).status_code == 204
    assert target.read() == [late, make_line("newest")]


def test_ten_entries_too_far_behind_are_listed_and_all_are_counted(target: Target) -> None:
    late = [make_line(f"late {n}", BASE_NS - 2 * HOUR + n) for n in range(12)]
    answer = target.push(target.stream(make_line("newest"), *late))
    assert answer.status_code == 400
    assert answer.text.count("entry with timestamp ") == 10
    assert ".000000009 +0000 UTC ignored, reason: 'entry too far behind" in answer.text
    assert "user 'fake', total ignored: 12 out of 13 for stream: {" in answer.text
    assert target.read() == [make_line("newest")]


def test_success_of_a_later_stream_hides_what_was_dropped_from_an_earlier_one(target: Target) -> None:
    guilty = target.stream(make_line("newest"), make_line("late", BASE_NS - 2 * HOUR), place="a")
    innocent = target.stream(make_line("innocent"), place="b")
    assert target.push(innocent, guilty).status_code == 400
    assert target.push(guilty, innocent).status_code == 204
    assert target.read() == [make_line("innocent"), make_line("newest")]


def test_an_error_of_the_window_hides_an_error_of_validation(target: Target) -> None:
    answer = target.push(target.stream(make_line("newest"), make_line("late", BASE_NS - 2 * HOUR), make_line(_LONG)))
    assert answer.status_code == 400
    assert "entry too far behind" in answer.text
    assert "max entry size" not in answer.text
    assert target.read() == [make_line("newest")]


# Rates, the number of streams, tenants.


def test_a_request_over_the_burst_is_429_however_long_one_waits(strict: Target) -> None:
    streams = [strict.stream(*(make_line("x" * 120_000, BASE_NS + n) for n in range(3)), part=str(p)) for p in range(3)]
    answer = strict.push(*streams)
    assert answer.status_code == 429
    assert answer.text == (
        f"ingestion rate limit exceeded for user {strict.tenant} (limit: 1048 bytes/sec) while "
        "attempting to ingest '9' lines totaling '1080000' bytes, reduce log volume or contact your Loki administrator "
        "to see if the limit can be increased\n"
    )
    assert "Retry-After" not in answer.headers
    assert strict.read() == []


def test_a_tenant_over_its_rate_is_429_and_nothing_is_stored(strict: Target) -> None:
    entries = [make_line("x" * 120_000, BASE_NS + n) for n in range(2)]
    assert [strict.push(strict.stream(*entries, part=part)).status_code for part in "abc"] == [204, 204, 204]
    answer = strict.push(strict.stream(*(make_line("y" * 130_000, BASE_NS + n) for n in range(3)), part="a"))
    assert answer.status_code == 429
    assert answer.text.startswith("ingestion rate limit exceeded for user ")
    assert strict.read() == sorted(entries * 3)


def test_a_stream_over_its_rate_is_429_and_what_is_over_is_not_stored(strict: Target) -> None:
    entries = [make_line("x" * 150_000, BASE_NS + n) for n in range(3)]
    answer = strict.push(strict.stream(make_line("beside"), place="a"), strict.stream(*entries, place="b"))
    assert answer.status_code == 429
    assert "Per stream rate limit exceeded (limit: 100KB/sec) while attempting to ingest for stream '{" in answer.text
    assert "totaling 150000B, consider splitting a stream" in answer.text
    assert ", total ignored: 1 out of 3 for stream: {" in answer.text
    assert strict.read() == [make_line("beside"), *entries[:2]]


def test_success_of_a_later_stream_hides_that_an_earlier_one_is_over_its_rate(strict: Target) -> None:
    entries = [make_line("x" * 150_000, BASE_NS + n) for n in range(3)]
    answer = strict.push(strict.stream(*entries, place="a"), strict.stream(make_line("beside"), place="b"))
    assert answer.status_code == 204
    assert strict.read() == [make_line("beside"), *entries[:2]]


def test_a_stream_too_many_is_429_and_those_that_exist_are_written_to(strict: Target) -> None:
    for place in "abc":
        assert strict.push(strict.stream(make_line("first"), place=place)).status_code == 204
    answer = strict.push(strict.stream(make_line("second"), place="a"), strict.stream(make_line("too many"), place="d"))
    assert answer.status_code == 429
    assert answer.text.startswith("maximum active stream limit exceeded when trying to create stream {")
    assert strict.read() == [make_line("first")] * 3 + [make_line("second")]


def test_success_of_a_later_stream_hides_that_an_earlier_one_is_too_many(strict: Target) -> None:
    for place in "abc":
        assert strict.push(strict.stream(make_line("first"), place=place)).status_code == 204
    answer = strict.push(strict.stream(make_line("too many"), place="d"), strict.stream(make_line("second"), place="a"))
    assert answer.status_code == 204
    assert strict.read() == [make_line("first")] * 3 + [make_line("second")]


def test_a_request_without_a_tenant_is_401_where_tenants_are_told_apart(strict: Target) -> None:
    nobody = Target(strict.url)
    answer = nobody.push(nobody.stream(make_line()))
    assert (answer.status_code, answer.text) == (401, "no org id\n")
    with pytest.raises(LokiQueryError, match="check the tenant and the credentials") as caught:
        nobody.read()
    assert caught.value.status == 401


def test_a_tenant_sees_only_its_own_entries(strict: Target) -> None:
    assert strict.push(strict.stream(make_line())).status_code == 204
    other = LokiReader(strict.url, tenant=uuid.uuid4().hex)
    assert list(other.entries(strict.selector, BASE_NS, BASE_NS + S)) == []
    assert strict.read() == [make_line()]
