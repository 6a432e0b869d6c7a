"""The stand-in's own parts: what it stores, what it counts, how it is configured and run."""

from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from shipper.devstack.server import ServerFailedError
from shipper.devstack.standin import LokiStandIn, labels, logql
from shipper.devstack.standin.limits import Limits, duration_ns, duration_text, limit_text, size_bytes, size_text
from shipper.devstack.standin.store import Bucket, Stream

_S = 10**9
_ROWS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([b"x", b"y"]), st.sampled_from(["", "1"])), max_size=12)


@given(st.lists(_ROWS, max_size=4))
def test_a_stream_holds_each_different_entry_once_in_order_of_time(pushes: list[list[tuple[int, bytes, str]]]) -> None:
    stream = Stream({"level": "info"}, Bucket(0, 0))
    seen: dict[tuple[int, bytes, str], None] = {}
    for rows in pushes:
        if rows:
            times, lines, ids = zip(*rows, strict=True)
            stream.add(times, lines, [{"id": one} if one else {} for one in ids])
        seen |= dict.fromkeys(rows)
        expected = sorted(seen, key=lambda row: row[0])
        found = list(stream.entries(0, 100, keep=lambda _: True))
        assert [(at, line.encode(), metadata.get("id", "")) for at, line, metadata in found] == expected
        newest_first = [one.timestamp_ns for one in stream.entries(1, 4, keep=lambda _: True, newest_first=True)]
        assert newest_first == [row[0] for row in reversed(expected) if 1 <= row[0] < 4]
        assert stream.count(1, 4) == len(newest_first)


def test_a_bucket_is_full_at_first_and_refilled_to_its_burst() -> None:
    bucket = Bucket(rate_bytes_per_s=10, burst_bytes=100)
    at = 1_700_000_000 * _S
    assert [bucket.take(size, at) for size in (60, 60, 40, 1)] == [True, False, True, False]
    assert not bucket.take(11, at + _S)
    assert bucket.take(10, at + _S)
    assert not bucket.take(101, at + 1000 * _S)
    assert bucket.take(100, at + 1000 * _S)


def test_a_bucket_without_a_rate_limits_nothing() -> None:
    assert Bucket(0, 0).take(1 << 40, 0)


def test_limits_are_read_in_lokis_notation() -> None:
    limits = Limits.from_loki({"max_line_size": "1MB", "reject_old_samples_max_age": "1w", "ingestion_rate_mb": 0.5})
    assert limits.max_line_size == 1 << 20
    assert limits.reject_old_samples_max_age == 7 * 24 * 3600 * _S
    assert limits.ingestion_rate_mb == 0.5
    assert limits.max_label_value_length == 2048


@pytest.mark.parametrize(
    ("given_limits", "says"),
    [
        ({"max_line_sise": 1}, "knows no limit max_line_sise; it knows creation_grace_period"),
        ({"max_line_size": "big"}, "limit max_line_size: 'big' is no size"),
        ({"max_query_length": "3 fortnights"}, "limit max_query_length: '3 fortnights' is no duration"),
    ],
)
def test_a_limit_that_cannot_be_read_is_named(given_limits: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Limits.from_loki(given_limits)


def test_sizes_and_durations_are_written_as_loki_does() -> None:
    assert [size_text(size_bytes(text)) for text in ("3MB", "1536KB", "1000B", "2048kb")] == [
        "3MB",
        "1536KB",
        "1000B",
        "2MB",
    ]
    assert limit_text(duration_ns("721h")) == "30d1h"
    assert [limit_text(duration_ns(text)) for text in ("14d", "1h30m", "0s")] == ["2w", "1h30m", "0s"]
    assert [duration_text(duration_ns(text)) for text in ("750h", "90s", "59s")] == ["750h0m0s", "1m30s", "59s"]


@given(st.dictionaries(st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]*", fullmatch=True), st.text(min_size=1), min_size=1))
def test_labels_that_are_written_are_read_back(written: dict[str, str]) -> None:
    usable = {name: value for name, value in written.items() if value.isprintable() or value.isascii()}
    text = labels.write(usable.items())
    read = dict(labels.parse(text.encode(errors="surrogatepass")))
    assert {name: read[name] for name in usable} == usable


@pytest.mark.parametrize(
    "query",
    [
        '{a="b"} | json',
        'rate({a="b"}[1h])',
        'sum(sum(count_over_time({a="b"}[1h])))',
        'sum({a="b"})',
        'count_over_time({a="b"})',
        'count_over_time({a="b"}[1ns])',
        '{a="b"} trailing',
        "{a=b}",
        '{a|="b"}',
        "~",
    ],
)
def test_a_query_beyond_the_stand_in_is_refused_and_not_guessed(query: str) -> None:
    with pytest.raises(logql.QueryError, match="parse error"):
        logql.parse(query)


def test_a_sum_may_name_its_labels_before_or_behind() -> None:
    before = logql.parse('sum by (a, b) (count_over_time({a="b"} |= "x" [1h30m]))')
    behind = logql.parse('sum(count_over_time({a="b"} |= "x" [90m])) by (a,b)')
    assert before == behind
    assert isinstance(before, logql.CountQuery)
    assert (before.by, before.range_ns) == (("a", "b"), 5400 * _S)


def test_the_process_says_which_limit_it_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(ServerFailedError, match="knows no limit max_line_sise"):
        LokiStandIn(tmp_path, limits={"max_line_sise": 1}).start()


def test_the_process_serves_until_it_is_stopped(tmp_path: Path) -> None:
    with LokiStandIn(tmp_path) as server:
        answers = [requests.get(f"{server.url}{path}", timeout=5) for path in ("/ready", "/metrics", "/nowhere")]
        assert [answer.status_code for answer in answers] == [200, 200, 404]
        version = requests.get(f"{server.url}/loki/api/v1/status/buildinfo", timeout=5).json()["version"]
        assert "stand-in" in version
        url = server.url
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/ready", timeout=5)
