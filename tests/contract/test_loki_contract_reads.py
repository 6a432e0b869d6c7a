"""Reading back from Loki: asked of the stand-in and of the real one."""

import pytest
import requests

from loki_target import BASE_NS, HOUR, S, Target, make_line
from shipper.loki.query import LokiQueryError

# Reading.


@pytest.mark.parametrize("page", [6, 7, 10, 99, 5000])
def test_every_entry_is_read_once_whatever_the_page(target: Target, page: int) -> None:
    # Nanoseconds with one entry, with some, and with more than a page, spread over three streams.
    ties = [1, 3, 1, 15, 2, 1, 9, 12, 5]
    pushed = [make_line(f"{n} {place}", BASE_NS + n * 10) for n, size in enumerate(ties) for place in range(size)]
    target.push(*(target.stream(*pushed[part::3], part=str(part)) for part in range(3)))
    found = target.entries(page=page)
    assert sorted((one.timestamp_ns, one.line) for one in found) == sorted((one[0], one[1]) for one in pushed)
    assert [one.timestamp_ns for one in found] == sorted(one.timestamp_ns for one in found)


def test_a_tie_is_read_by_streams_that_are_told_apart_by_a_label_alone(target: Target) -> None:
    entries = [make_line(f"line {n}") for n in range(4)]
    target.push(target.stream(*entries), target.stream(*entries, more="1"), target.stream(*entries, more='a\\"}'))
    assert len(target.entries(page=5)) == 12
    assert len(target.entries(f'{{test_id="{target.test_id}", more!="}}"}} |= "line" != "line 3"', page=4)) == 9


def test_a_tie_that_no_page_holds_is_an_error_and_not_a_loss(target: Target) -> None:
    target.push(target.stream(*(make_line(f"line {n}") for n in range(10))))
    assert len(target.entries(page=11)) == 10
    with pytest.raises(LokiQueryError, match="has 10 entries or more at the nanosecond"):
        target.entries(page=10)


def test_a_range_holds_its_start_and_not_its_end(target: Target) -> None:
    target.push(target.stream(*(make_line(str(n), BASE_NS + n) for n in range(4))))
    read = target.reader.entries(target.selector, BASE_NS + 1, BASE_NS + 3)
    assert [one.line for one in read] == ["1", "2"]
    assert list(target.reader.entries(target.selector, BASE_NS + 1, BASE_NS + 1)) == []


def test_a_range_longer_than_loki_allows_is_read_in_parts(target: Target) -> None:
    target.push(target.stream(make_line()))
    read = target.reader.entries(target.selector, BASE_NS - 800 * HOUR, BASE_NS + HOUR)
    assert [one.line for one in read] == ["a line"]


def test_a_page_larger_than_loki_allows_is_an_error(target: Target) -> None:
    with pytest.raises(LokiQueryError, match=r"max entries limit per query exceeded.*\(5001 > 5000\)"):
        target.entries(page=5001)


def test_lines_are_filtered_by_text_and_by_pattern(target: Target) -> None:
    target.push(target.stream(*(make_line(f"line {n}", BASE_NS + n) for n in range(12))))
    filters = {'|= "line 1"': "1 10 11", '!= "1"': "0 2 3 4 5 6 7 8 9", '|~ "[34]$"': "3 4", "!~ `[0-8]$` |= `9`": "9"}
    for text, expected in filters.items():
        lines = [one.line for one in target.entries(f"{target.selector} {text}")]
        assert lines == [f"line {n}" for n in expected.split()], text


@pytest.mark.parametrize(
    ("matcher", "places"),
    [
        ('place="a"', "a"),
        ('place!="a"', ["", "ab", "b"]),
        ('place=~"a|b"', "ab"),
        ('place!~"a.*"', ["", "b"]),
        ('place=""', [""]),
    ],
)
def test_a_label_is_matched_whole_and_a_missing_one_as_empty(target: Target, matcher: str, places: list[str]) -> None:
    target.push(
        *(target.stream(make_line(place), **({"place": place} if place else {})) for place in ("a", "ab", "b", ""))
    )
    found = target.entries(f'{{test_id="{target.test_id}", {matcher}}}')
    assert sorted(one.line for one in found) == list(places)


def test_counts_are_exact_to_the_nanosecond(target: Target) -> None:
    base_ns = BASE_NS + 123_456_789
    offsets = [0, 1, 2, 999_999, 1_000_000, 1_000_001, 5 * S, 60 * S]
    target.push(target.stream(*(make_line(str(n), base_ns + n) for n in offsets)))
    for start in (-S, 0, 1, 2, 999_999, 1_000_000):
        for length in (1, 2, 999_999, 1_000_000, 1_000_001, 5 * S, 5 * S + 1, HOUR + 1, 2 * HOUR):
            expected = sum(start <= offset < start + length for offset in offsets)
            counted = target.reader.count(target.selector, base_ns + start, base_ns + start + length)
            assert counted == expected, (start, length)


def test_counts_are_by_labels_and_by_metadata(target: Target) -> None:
    for level, size in (("info", 5), ("warn", 3)):
        entries = [make_line(f"line {n}", BASE_NS + n * S, id=str(n % 2)) for n in range(size)]
        target.push(target.stream(*entries, level=level, service="chat"))
    target.push(target.stream(make_line()))
    window = (BASE_NS, BASE_NS + HOUR)
    by_labels = target.reader.counts_by(("service", "level"), target.selector, *window)
    assert by_labels == {("chat", "info"): 5, ("chat", "warn"): 3, ("", ""): 1}
    assert target.reader.counts_by(("id",), target.selector, *window) == {("0",): 5, ("1",): 3, ("",): 1}
    assert target.reader.counts_by(("level",), f'{target.selector} |= "line 4"', *window) == {("info",): 1}
    assert target.reader.counts_by(("level",), target.selector, BASE_NS - S, BASE_NS) == {}


def test_labels_are_listed(target: Target) -> None:
    target.push(target.stream(make_line(), only_here="1"))
    assert {"only_here", "service_name", "test_id"} <= set(target.reader.labels(BASE_NS - S, BASE_NS + S))


def test_loki_is_ready(target: Target) -> None:
    assert target.reader.ready()


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("{}", "queries require at least one regexp or equality matcher"),
        ('{a=~".*"}', "queries require at least one regexp or equality matcher"),
        ('{a!="b"}', "queries require at least one regexp or equality matcher"),
        ('{a="b"', "syntax error: unexpected \\$end"),
        ('{a=~"("}', "error parsing regexp: missing "),
    ],
)
def test_a_query_that_cannot_be_read_is_400(target: Target, query: str, text: str) -> None:
    with pytest.raises(LokiQueryError, match=text) as caught:
        target.entries(query)
    assert caught.value.status == 400


def test_an_instant_query_is_for_metrics_only(target: Target) -> None:
    answer = requests.get(f"{target.url}/loki/api/v1/query", {"query": target.selector}, timeout=30)
    assert answer.status_code == 400
    assert answer.text.startswith("log queries are not supported as an instant query type")


def test_without_the_flag_metadata_is_merged_into_the_labels(target: Target) -> None:
    target.push(target.stream(make_line("x", id="1"), make_line("y", id="2"), level="info"))
    parameters = {"query": target.selector, "start": str(BASE_NS), "end": str(BASE_NS + S)}
    answer = requests.get(f"{target.url}/loki/api/v1/query_range", parameters, timeout=30)
    result = sorted(answer.json()["data"]["result"], key=lambda stream: str(stream["values"]))
    labels = {"test_id": target.test_id, "service_name": "unknown_service", "level": "info", "detected_level": "info"}
    assert result == [
        {"stream": {**labels, "id": "1"}, "values": [[str(BASE_NS), "x"]]},
        {"stream": {**labels, "id": "2"}, "values": [[str(BASE_NS), "y"]]},
    ]
