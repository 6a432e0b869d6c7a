"""prepare(): what it costs to be deep, and that a mistake of ours costs one record."""

import sys
import time
from collections.abc import Sequence
from itertools import pairwise

import pytest

from messages import StoredMessage
from shipper.errors import ConfigError
from shipper.pipeline import Rules, prepare, prepare_all
from shipper.records import Headers, PushRequest, Reason, RecordBatch
from shipper.settings import Filter, Labels, Loki, Redact, Settings

RULES = Rules.compile(Settings())
PLAIN = b'{"service":"auth-service","level":"info"}'


def batch(values: Sequence[bytes | None]) -> RecordBatch:
    return RecordBatch("logs", [StoredMessage(value, ("logs", 0, offset)) for offset, value in enumerate(values)])


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def test_deep_nesting_in_named_fields_costs_no_more_than_its_length() -> None:
    began_s = time.process_time()
    prepare(batch([PLAIN] * 1_000), RULES, now_ns=0)
    plain_s = time.process_time() - began_s
    deep = b'{"service":%s,"level":%s,"requestId":%s}' % ((nested(900),) * 3)
    began_s = time.process_time()
    result = prepare(batch([PLAIN, deep, PLAIN]), RULES, now_ns=0)
    assert time.process_time() - began_s < 50 * plain_s
    assert len(result.streams) == 3


def test_the_depth_of_the_callers_stack_decides_nothing() -> None:
    """The decoder's own bound on nesting is what is left of Python's stack."""
    record = b'{"service":{"name":"x"},"userId":1234567890123456789012345,"deep":%s}' % nested(960)
    rules = Rules.compile(Settings(labels=Labels(fields={"service": "service.name"})))

    def prepared_at(depth: int) -> bytes:
        return prepared_at(depth - 1) if depth else prepare(batch([record]), rules, now_ns=0).streams.entries

    assert prepared_at(1) == prepared_at(200)
    assert b"1234567890123456789012345" in prepared_at(1)
    assert sys.getrecursionlimit() == 1_000


def test_an_array_where_an_object_is_named_is_an_absent_field_however_deep_its_neighbour() -> None:
    rules = Rules.compile(Settings(structured_metadata={"user_id": "user.id"}))
    deep = b'{"service":"auth-service","user":[1,2],"x":%s}' % nested(1_010)
    assert len(prepare(batch([deep]), rules, now_ns=0).streams) == 1


def test_a_mistake_of_ours_costs_the_record_that_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare_or_fail(batch: RecordBatch, rules: Rules, *, now_ns: int) -> object:
        if b"poison" in batch.values:
            raise ZeroDivisionError("as if by mistake")
        return prepare(batch, rules, now_ns=now_ns)

    monkeypatch.setattr("shipper.pipeline.prepare", prepare_or_fail)
    parts = list(prepare_all(batch([PLAIN, PLAIN, b"poison", PLAIN, PLAIN]), RULES, now_ns=0))
    assert [span.first for part in parts for span in part.batch.spans] == sorted(
        span.first for part in parts for span in part.batch.spans
    )
    assert sum(len(part.streams) for part in parts) == 4
    (rejected,) = [rejected for part in parts for rejected in part.rejected]
    assert rejected.reason is Reason.INTERNAL_ERROR
    assert "as if by mistake" in rejected.detail


@pytest.mark.parametrize("late", [(), ("b",), ("a", "d"), ("b", "c"), ("a", "b", "c", "d")])
def test_a_stream_that_may_be_too_far_behind_is_pushed_by_itself_and_all_others_together(late: Sequence[str]) -> None:
    rules = Rules.compile(Settings(loki=Loki(in_flight_max=1)))
    # The newest entry of a stream lies ten minutes ahead at most, and the window is an hour.
    ages_s = [(service, age_s) for service in "abcd" for age_s in (0, 3_599 - 600)]
    ages_s += [(service, 3_601 - 600) for service in late]
    now_s = 1_800_000_000
    values = [b'{"service":"%s","timestamp":%d}' % (service.encode(), now_s - age_s) for service, age_s in ages_s]
    result = prepare(batch(values), rules, now_ns=now_s * 10**9)
    pushed_together = [
        {chr(result.streams.labels[at][-3]) for at in streams_of(request)} for request in result.requests
    ]
    assert sum(len(request) for request in result.requests) == len(values)
    assert sorted(one for streams in pushed_together for one in streams) == list("abcd")
    assert all(streams == {one} for streams in pushed_together for one in streams if one in late)


def streams_of(request: PushRequest) -> list[int]:
    bounds = request.streams.bounds.tolist()
    return [
        stream
        for stream, (first, last) in enumerate(pairwise(bounds))
        if max(first, request.first) < min(last, request.last)
    ]


def test_headers_are_asked_for_once_even_if_the_client_breaks_on_them() -> None:
    class Broken(StoredMessage):
        asked = 0

        def headers(self) -> Headers | None:
            Broken.asked += 1
            raise SystemError("a name that is no UTF-8")

    records = RecordBatch("logs", [Broken(PLAIN)])
    assert records.headers(0) == records.headers(0) == ()
    assert Broken.asked == 1


@pytest.mark.parametrize(
    "settings",
    [
        Settings(filters=[Filter(name="f", field="message", matches="(unclosed")]),
        Settings(redact=[Redact(name="r", pattern="(unclosed")]),
    ],
)
def test_a_pattern_that_is_none_is_named_with_its_cause_in_one_line(settings: Settings) -> None:
    with pytest.raises(ConfigError) as refused:
        Rules.compile(settings)
    assert str(refused.value).endswith("is no regular expression: unclosed group")
    assert "\n" not in str(refused.value)


def test_a_span_tells_when_its_first_and_its_last_record_were_written() -> None:
    places = [("logs", 1, 7), ("logs", 0, 3), ("logs", 1, 8), ("logs", 1, 9)]
    messages = [StoredMessage(b"x", place, timestamp_ms=1_000 + row) for row, place in enumerate(places)]
    spans = RecordBatch("logs", messages).spans
    assert [(span.first, span.first_timestamp_ms, span.last_timestamp_ms) for span in spans] == [
        (3, 1_001, 1_001),
        (7, 1_000, 1_003),
    ]
