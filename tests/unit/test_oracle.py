"""The oracle against answers worked out by hand: docs/log-format.md, example by example."""

from collections.abc import Mapping

import msgspec
import pytest

from hostile import EMPTY, HOSTILE, NOW_MS, NOW_NS
from hostile_fields import LEVELS, TEXTS, TIMESTAMPS, UNREADABLE
from messages import StoredMessage
from oracle import DeadLettered, Filtered, Outcome, Shipped, acceptable, expect, level_of, sampled
from shipper.records import Reason
from shipper.settings import Filter, Labels, LabelValues, Limits, Loki, Malformed, Redact, Settings, Timestamp

DEFAULTS = Settings()
ANY_TIME = Settings(loki=Loki(limits=Limits(entry_age_max_s=1e10, entry_ahead_max_s=1e10)))
OFFSET = 7_654_321_987


def record(
    value: bytes | str | None, *, offset: int = OFFSET, headers: Mapping[str, bytes | None] | None = None
) -> StoredMessage:
    body = value.encode() if isinstance(value, str) else value
    pairs = None if headers is None else list(headers.items())
    return StoredMessage(body, ("logs", 3, offset), pairs=pairs, timestamp_ms=NOW_MS)


def become(value: bytes | str | None, settings: Settings = DEFAULTS) -> Outcome:
    return expect(record(value), settings, now_ns=NOW_NS)


def shipped(
    value: bytes | str, settings: Settings = DEFAULTS, headers: Mapping[str, bytes | None] | None = None
) -> Shipped:
    outcome = expect(record(value, headers=headers), settings, now_ns=NOW_NS)
    assert isinstance(outcome, Shipped)
    return outcome


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_value_becomes_what_the_table_says(name: str) -> None:
    value, becomes = HOSTILE[name]
    outcome = become(value)
    if becomes == EMPTY:
        assert outcome == Filtered("empty")
    elif isinstance(becomes, Reason):
        assert isinstance(outcome, Shipped)
        assert outcome.metadata == {"shipper_error": becomes.value}
        assert outcome.labels == {"service": "unknown", "level": "unknown"}
    else:
        assert isinstance(outcome, Shipped)
        assert outcome.line == value
        assert "shipper_error" not in outcome.metadata


@pytest.mark.parametrize("field", TIMESTAMPS)
def test_a_timestamp_is_read_or_left_to_kafka(field: str) -> None:
    expected = TIMESTAMPS[field]
    ns, digits = (NOW_NS, 3) if expected is UNREADABLE else expected
    assert shipped(f'{{"timestamp":{field}}}', ANY_TIME).timestamp_ns == ns + OFFSET % 10 ** (9 - digits)


@pytest.mark.parametrize("field", LEVELS)
def test_a_level_is_folded(field: str) -> None:
    assert shipped(f'{{"level":{field}}}').labels["level"] == LEVELS[field]


@pytest.mark.parametrize("field", TEXTS)
def test_a_value_of_any_type_becomes_text(field: str) -> None:
    any_value = Settings(label_values=LabelValues(demote_matching=""))
    assert shipped(f'{{"service":{field}}}', any_value).labels["service"] == TEXTS[field]


@pytest.mark.parametrize(
    ("value", "is_id"),
    [
        ("auth-service", False),
        ("api-v2", False),
        ("10.0.0.17:8080", False),
        ("eu-west-1", False),
        ("12345", False),
        ("v1.20.300", False),
        ("unknown", False),
        ("order-123456", True),
        ("0e32a00a-2024-498f-a4ed-51ee263ed0f2", True),
        ("deadbeef-cafe-babe-feed-deadbeefcafe", True),
        ("4bf92f3577b34da6a3ce929d0e0e4736", True),
        ("2025-10-09T08:53:20.123456Z", True),
    ],
)
def test_an_id_is_no_label_and_found_in_the_metadata(value: str, *, is_id: bool) -> None:
    outcome = shipped(f'{{"service":"{value}"}}')
    assert outcome.labels["service"] == ("other" if is_id else value)
    assert outcome.metadata == ({"service_demoted": value} if is_id else {})


def test_a_label_with_a_list_has_no_other_value() -> None:
    closed = Settings(
        label_values=LabelValues(allowed={"service": ["auth-service", "job-20251009"], "level": ["info"]})
    )
    assert shipped('{"service":"auth-service","level":"INFO"}', closed).metadata == {}
    assert shipped('{"service":"job-20251009"}', closed).labels == {"service": "job-20251009", "level": "unknown"}
    assert shipped('{"service":"auth","level":"warning"}', closed) == Shipped(
        {"service": "other", "level": "other"},
        NOW_NS + OFFSET % 10**6,
        b'{"service":"auth","level":"warning"}',
        {"service_demoted": "auth", "level_demoted": "warn"},
    )


def test_a_timestamp_in_a_form_that_is_switched_off_is_left_to_kafka() -> None:
    only_epoch = msgspec.structs.replace(ANY_TIME, timestamp=Timestamp(formats=["epoch"]))
    only_text = msgspec.structs.replace(ANY_TIME, timestamp=Timestamp(formats=["rfc3339"]))
    kafka_ns = NOW_NS + OFFSET % 10**6
    assert shipped('{"timestamp":"2020-01-01T00:00:00Z"}', only_epoch).timestamp_ns == kafka_ns
    assert shipped('{"timestamp":1577836800}', only_text).timestamp_ns == kafka_ns
    assert shipped('{"timestamp":"1577836800"}', only_text).timestamp_ns == kafka_ns


def test_the_first_timestamp_that_is_present_counts_even_if_it_is_unreadable() -> None:
    two = msgspec.structs.replace(ANY_TIME, timestamp=Timestamp(field=["time", "at.ms"]))
    assert (
        shipped('{"time":null,"at":{"ms":1577836800000}}', two).timestamp_ns == 1_577_836_800 * 10**9 + OFFSET % 10**6
    )
    assert shipped('{"time":"soon","at":{"ms":1577836800000}}', two).timestamp_ns == NOW_NS + OFFSET % 10**6


def test_a_record_without_any_timestamp_lies_at_the_epoch() -> None:
    bare = StoredMessage(b"{}", ("logs", 0, 41))
    outcome = expect(bare, ANY_TIME, now_ns=NOW_NS)
    assert isinstance(outcome, Shipped)
    assert outcome.timestamp_ns == 41
    assert expect(bare, DEFAULTS, now_ns=NOW_NS) == DeadLettered(Reason.TOO_OLD)


def test_ids_come_from_the_first_field_that_is_present() -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    parent = f"00-{trace}-00f067aa0ba902b7-01"
    assert shipped('{"correlationId":"c","traceId":"t","userId":5}').metadata == {
        "request_id": "c",
        "trace_id": "t",
        "user_id": "5",
    }
    assert shipped('{"requestId":"","correlationId":"c"}').metadata == {"request_id": "c"}
    assert shipped(f'{{"traceparent":"{parent}"}}').metadata == {"request_id": trace}
    assert shipped('{"traceparent":"00-x"}').metadata == {"request_id": "00-x"}


def test_a_request_id_that_the_record_lacks_comes_from_a_header() -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    assert shipped("{}", headers={"REQUESTID": b"h", "userId": b"u"}).metadata == {"request_id": "h"}
    assert shipped("{}", headers={"traceid": b"t", "correlationid": b"c"}).metadata == {"request_id": "c"}
    assert shipped("{}", headers={"requestId": None, "traceId": b"a\xff"}).metadata == {"request_id": "a "}
    assert shipped("{}", headers={"requestId": b"first", "requestid": b"last"}).metadata == {"request_id": "last"}
    assert shipped("{}", headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01".encode()}).metadata == {
        "request_id": trace
    }
    assert shipped('{"requestId":"r"}', headers={"requestId": b"h"}).metadata == {"request_id": "r"}


def test_labels_follow_paths_into_nested_objects() -> None:
    nested = Settings(labels=Labels(fields={"service": ["app.name", "service"]}, static={"env": "test"}))
    assert shipped('{"app":{"name":"a"},"service":"b"}', nested).labels == {"service": "a", "env": "test"}
    assert shipped('{"app":{"name":""},"service":"b"}', nested).labels == {"service": "b", "env": "test"}
    assert shipped('{"app":["name"],"app.name":"x"}', nested).labels == {"service": "unknown", "env": "test"}


def test_a_label_is_cut_on_a_character_boundary() -> None:
    short = Settings(loki=Loki(limits=Limits(label_value_bytes_max=4)))
    assert shipped('{"service":"aäää"}', short).labels["service"] == "aä"
    assert shipped('{"service":"aää"}', short).labels["service"] == "aä"
    assert shipped('{"service":"ääx"}', short).labels["service"] == "ää"


def test_filters_decide_in_order_and_only_on_what_is_there() -> None:
    rules = [
        Filter(name="health", field="path", any_of=["/health", "7"]),
        Filter(name="noise", field="message", matches=r"^ping \d+"),
        Filter(name="chatter", below_level="info"),
    ]
    settings = Settings(filters=rules)
    assert become('{"path":"/health","level":"fatal"}', settings) == Filtered("health")
    assert become('{"path":7}', settings) == Filtered("health")
    assert become('{"message":"ping 12","path":null}', settings) == Filtered("noise")
    assert become('{"level":"VERBOSE"}', settings) == Filtered("chatter")
    assert become('{"level":20}', settings) == Filtered("chatter")
    for kept in ('{"level":"info"}', '{"level":"audit"}', "{}", '{"path":"/health/x"}', "ping 12"):
        assert isinstance(become(kept, settings), Shipped)


def test_sampling_keeps_the_share_and_decides_by_partition_and_offset() -> None:
    kept = sum(sampled(partition, offset, 0.25) for partition in range(4) for offset in range(5_000))
    assert 0.24 < kept / 20_000 < 0.26
    assert all(sampled(1, offset, 1.0) for offset in range(100))
    assert not any(sampled(1, offset, 0.0) for offset in range(100))
    # The first output of the published splitmix64 with seed 0 is 0xE220A8397B1DCDAF, 0.8833 of the range.
    assert sampled(0, 0, 0.8834)
    assert not sampled(0, 0, 0.8833)


def test_a_record_that_a_sample_keeps_meets_the_next_filter() -> None:
    settings = Settings(
        filters=[
            Filter(name="thin", field="a", any_of=["1"], action="sample", share=1.0),
            Filter(name="gone", field="a", matches="1"),
        ]
    )
    assert become('{"a":1}', settings) == Filtered("gone")


def test_redaction_reaches_line_labels_and_metadata_but_neither_filters_nor_times() -> None:
    settings = Settings(
        filters=[Filter(name="secret", field="note", any_of=["hide 1234"])],
        redact=[
            Redact(name="digits", pattern=r"(?P<lead>\d)\d{3}", replacement="${lead}***"),
            Redact(name="mail", pattern=r"\w+@(\w+)", replacement="$$@$1"),
        ],
    )
    assert become('{"note":"hide 1234"}', settings) == Filtered("secret")
    entry = shipped('{"timestamp":"2025-10-09T08:53:19Z","service":"a-1234","userId":"me@home"}', settings)
    assert entry.line == b'{"timestamp":"2***-10-09T08:53:19Z","service":"a-1***","userId":"$@home"}'
    assert entry.labels["service"] == "a-1***"
    assert entry.metadata == {"user_id": "$@home"}
    assert entry.timestamp_ns // 10**9 == NOW_NS // 10**9 - 1
    assert shipped(b"broken \xff 1234", settings).line == "broken \ufffd 1***".encode()


def test_a_value_that_redaction_empties_is_as_one_that_was_empty() -> None:
    settings = Settings(redact=[Redact(name="x", pattern="x+", replacement="")])
    entry = shipped('{"service":"xxx","userId":"x"}', settings)
    assert entry.labels["service"] == "unknown"
    assert entry.metadata == {}


def test_limits_are_looked_at_in_order() -> None:
    limits = Limits(line_bytes_max=90, structured_metadata_bytes_max=20, structured_metadata_count_max=1)
    settings = Settings(loki=Loki(limits=limits))
    assert become('{"userId":"0123456789012","timestamp":1,"x":"' + "y" * 60 + '"}', settings) == DeadLettered(
        Reason.LINE_TOO_LONG
    )
    assert become('{"userId":"01234567890123","timestamp":1}', settings) == DeadLettered(Reason.METADATA_TOO_LARGE)
    assert become('{"userId":"0","requestId":"1","timestamp":1}', settings) == DeadLettered(Reason.METADATA_TOO_LARGE)
    assert become('{"userId":"0123456789012","timestamp":1}', settings) == DeadLettered(Reason.TOO_OLD)
    assert become('{"timestamp":2000000000}', settings) == DeadLettered(Reason.TOO_NEW)
    assert become(b"\xff" * 31, settings) == DeadLettered(Reason.LINE_TOO_LONG)


def test_the_ages_that_are_just_allowed_are_shipped() -> None:
    def becomes(timestamp_ns: int) -> Outcome:
        return become(f'{{"timestamp":{timestamp_ns}}}')

    week_ns, minutes_ns = 604_800 * 10**9, 600 * 10**9
    assert isinstance(becomes(NOW_NS - week_ns), Shipped)
    assert becomes(NOW_NS - week_ns - 1) == DeadLettered(Reason.TOO_OLD)
    assert isinstance(becomes(NOW_NS + minutes_ns), Shipped)
    assert becomes(NOW_NS + minutes_ns + 1) == DeadLettered(Reason.TOO_NEW)


def test_malformed_records_go_to_the_dead_letter_topic_where_the_policy_says_so() -> None:
    settings = Settings(malformed=Malformed(policy="dead_letter"), labels=Labels(static={"env": "test"}))
    assert become("nonsense", settings) == DeadLettered(Reason.NOT_JSON)
    assert become(None, settings) == Filtered("empty")
    assert shipped("{}", settings).labels["env"] == "test"


def test_depth_is_left_open_only_where_it_is_not_promised() -> None:
    def outcomes(levels: int) -> int:
        value = b'{"a":' + b"[" * levels + b"]" * levels + b"}"
        return len(acceptable(record(value), DEFAULTS, now_ns=NOW_NS))

    assert outcomes(254) == 1
    assert outcomes(600) > 1
    assert len(acceptable(record('{"a":"' + "[" * 600 + '"}'), DEFAULTS, now_ns=NOW_NS)) == 1


def test_levels_are_known_in_any_case() -> None:
    assert [level_of(text) for text in ("Warning", "FATAL", "60", "odd")] == ["warn", "fatal", "fatal", "odd"]


@pytest.mark.parametrize("timestamp_ms", [9_223_372_036_000, 9_223_372_036_855, 2**62, 2**63 - 1])
def test_a_kafka_timestamp_that_does_not_fit_lies_at_the_end_of_time(timestamp_ms: int) -> None:
    message = StoredMessage(b"{}", ("logs", 0, 5), timestamp_ms=timestamp_ms)
    outcome = expect(message, ANY_TIME, now_ns=NOW_NS)
    assert isinstance(outcome, Shipped)
    assert outcome.timestamp_ns == 9_223_372_035_999_000_005
    assert expect(message, DEFAULTS, now_ns=NOW_NS) == DeadLettered(Reason.TOO_NEW)
