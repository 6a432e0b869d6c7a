"""Reading from a Loki that refuses, stumbles or is something else: what the contract tests cannot provoke."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from requests.adapters import BaseAdapter

from shipper.loki.query import LokiQueryError, LokiReader

_URL = "http://loki.test:3100"
_Answer = tuple[int, str]
_TOO_LONG = (400, "the query time range exceeds the limit (query length: 750h0m0s, limit: 30d1h)")


class _Scripted(BaseAdapter):
    """Answers requests by a function of their path and parameters, and remembers them."""

    def __init__(self, answer: Callable[[str, Mapping[str, str]], _Answer]) -> None:
        super().__init__()
        self._answer = answer
        self.asked: list[dict[str, str]] = []
        self.headers: list[Mapping[str, str]] = []

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]  # noqa: ANN401 - requests' own options, which do not matter here
        parts = urlsplit(str(request.url))
        parameters = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.asked.append(parameters)
        self.headers.append(request.headers)
        response = requests.Response()
        response.status_code, text = self._answer(parts.path, parameters)
        response._content = text.encode()
        response.encoding = "utf-8"
        return response

    def close(self) -> None:
        pass


def _reader(
    answer: Callable[[str, Mapping[str, str]], _Answer] | Sequence[_Answer], tenant: str = ""
) -> tuple[LokiReader, _Scripted]:
    """A reader that gives up soon and never sleeps, and what it was asked; answers come by a function, or in turn."""
    if isinstance(answer, Sequence):
        script = iter(answer)
        adapter = _Scripted(lambda *_: next(script))
    else:
        adapter = _Scripted(answer)
    session = requests.Session()
    session.mount("http://", adapter)
    return LokiReader(_URL, session=session, tenant=tenant, retry_deadline_s=0.2, sleep=lambda _: None), adapter


def _streams(*values: tuple[int, str]) -> _Answer:
    result = [{"stream": {"a": "b"}, "values": [[str(at_ns), line, {}] for at_ns, line in values]}]
    return 200, json.dumps({"status": "success", "data": {"resultType": "streams", "result": result}})


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_loki_that_stumbles_is_asked_again(status: int) -> None:
    reader, adapter = _reader([(status, "not now"), (status, "not now"), _streams((5, "x"))])
    assert [entry.line for entry in reader.entries("{}", 0, 10)] == ["x"]
    assert len(adapter.asked) == 3


def test_a_loki_that_keeps_stumbling_is_given_up_with_its_last_answer() -> None:
    reader, adapter = _reader(lambda *_: (503, "empty ring\n"))
    with pytest.raises(LokiQueryError) as caught:
        list(reader.entries("{}", 0, 10))
    assert len(adapter.asked) > 1
    assert str(caught.value) == f"Loki at {_URL}/loki/api/v1/query_range answered 503: empty ring"
    assert (caught.value.status, caught.value.text) == (503, "empty ring\n")


def test_a_refusal_is_not_asked_again() -> None:
    reader, adapter = _reader(lambda *_: (400, "parse error"))
    with pytest.raises(LokiQueryError, match="answered 400: parse error"):
        list(reader.entries("{}", 0, 10))
    assert len(adapter.asked) == 1


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            (401, "no org id\n"),
            r"refused access \(401: no org id\); check the tenant and the credentials",
        ),
        ((403, "<html>\nno"), r"refused access \(403: <html> no\)"),
        ((404, "404 page not found"), r"answered 404, and not as Loki does .*check \[loki\] url"),
        ((405, "<html>proxy</html>"), r"answered 405, and not as Loki does \(<html>proxy</html>\)"),
        ((200, "<html>login</html>"), r"answered 200, and not as Loki does \(<html>login</html>\)"),
        ((200, '{"data": {"result": 5}}'), r"answered 200, and not as Loki does"),
        ((200, ""), r"answered 200, and not as Loki does"),
    ],
)
def test_something_else_than_loki_is_said_in_one_sentence(answer: _Answer, says: str) -> None:
    reader, _ = _reader([answer])
    with pytest.raises(LokiQueryError, match=says) as caught:
        list(reader.entries("{}", 0, 10))
    assert "\n" not in str(caught.value)


def test_a_loki_that_is_not_there_is_said_in_one_sentence() -> None:
    reader = LokiReader("http://127.0.0.1:1", retry_deadline_s=0.2, sleep=lambda _: None)
    assert not reader.ready()
    with pytest.raises(LokiQueryError, match=r"^Loki at http://127.0.0.1:1/loki/api/v1/query_range gave no answer"):
        list(reader.entries("{}", 0, 10))


def test_a_loki_that_is_starting_is_not_ready() -> None:
    reader, adapter = _reader([(503, "Ingester not ready"), (200, "ready")])
    assert [reader.ready(), reader.ready()] == [False, True]
    assert len(adapter.asked) == 2


def test_a_range_is_halved_until_loki_takes_it_and_nothing_is_asked_twice() -> None:
    def answer(_: str, asked: Mapping[str, str]) -> _Answer:
        start_ns, end_ns = int(asked["start"]), int(asked["end"])
        return _TOO_LONG if end_ns - start_ns > 300 else _streams((start_ns, "x"))

    reader, adapter = _reader(answer)
    assert [entry.timestamp_ns for entry in reader.entries("{}", 0, 1000)] == [0, 250, 500, 750]
    assert len(adapter.asked) == 2 + 4


def test_a_loki_that_finds_everything_too_long_is_an_error_and_no_endless_loop() -> None:
    reader, _ = _reader(lambda *_: _TOO_LONG)
    with pytest.raises(LokiQueryError, match="the query time range exceeds the limit"):
        list(reader.entries("{}", 0, 1000))


def test_pages_overlap_by_the_last_nanosecond_and_no_entry_comes_twice() -> None:
    stored = [(n // 3 * 10, f"line {n}") for n in range(20)]

    def answer(_: str, asked: Mapping[str, str]) -> _Answer:
        inside = [one for one in stored if int(asked["start"]) <= one[0] < int(asked["end"])]
        return _streams(*inside[: int(asked["limit"])])

    reader, _ = _reader(answer)
    for page in (4, 5, 6, 7, 19, 20, 21):
        assert [entry.line for entry in reader.entries("{}", 0, 1000, page=page)] == [line for _, line in stored], page


def test_a_page_that_cannot_be_continued_is_refused() -> None:
    reader, _ = _reader([])
    with pytest.raises(ValueError, match="a page of 1 entries cannot be continued"):
        list(reader.entries("{}", 0, 1, page=1))


def test_an_empty_or_reversed_range_asks_nothing() -> None:
    reader, adapter = _reader([])
    assert list(reader.entries("{}", 10, 10)) == list(reader.entries("{}", 10, 5)) == []
    assert reader.counts_by((), "{}", 10, 5) == {}
    assert adapter.asked == []


def test_the_tenant_is_named_and_metadata_is_asked_for_apart() -> None:
    reader, adapter = _reader([_streams()], tenant="team-a")
    list(reader.entries("{}", 0, 10))
    assert adapter.headers[0]["X-Scope-OrgID"] == "team-a"
    assert adapter.headers[0]["X-Loki-Response-Encoding-Flags"] == "categorize-labels"


def test_counts_add_the_part_below_a_millisecond_entry_by_entry() -> None:
    def answer(path: str, asked: Mapping[str, str]) -> _Answer:
        if path.endswith("query_range"):
            return _streams(*((at_ns, "x") for at_ns in range(int(asked["start"]), int(asked["end"]))))
        assert asked["query"] == "sum by (a) (count_over_time({} [2ms]))"
        vector = [{"metric": {"a": "b"}, "value": [1.5, "7"]}, {"metric": {}, "value": [1.5, "1e3"]}]
        return 200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": vector}})

    reader, adapter = _reader(answer)
    assert reader.counts_by(("a",), "{}", 100, 100 + 2_000_003) == {("b",): 10, ("",): 1000}
    assert adapter.asked[-1]["time"] == str(100 + 2_000_002)


# Pages that do not fit into a message between the parts of Loki.

_TOO_LARGE = (500, "rpc error: code = ResourceExhausted desc = trying to send message larger than max (5 vs. 4)")


@pytest.mark.parametrize("no_answer", [_TOO_LARGE, None], ids=["refused", "never answered"])
@pytest.mark.parametrize("fitting", [2, 3, 40, 1_000])
def test_a_page_that_loki_cannot_send_is_read_in_smaller_ones(no_answer: _Answer | None, fitting: int) -> None:
    stored = [(n, f"line {n}") for n in range(150)]

    def answer(_: str, asked: Mapping[str, str]) -> _Answer:
        inside = [one for one in stored if int(asked["start"]) <= one[0] < int(asked["end"])][: int(asked["limit"])]
        if len(inside) > fitting:
            if no_answer is None:
                raise requests.ReadTimeout
            return no_answer
        return _streams(*inside)

    reader, adapter = _reader(answer)
    assert [entry.line for entry in reader.entries("{}", 0, 1000)] == [line for _, line in stored]
    # Each failure costs a time-out, so few are made: first the way down, then a try to grow after each that fitted.
    assert len(adapter.asked) <= 5 + 2 * 150


def test_pages_are_sized_by_the_bytes_of_the_answers() -> None:
    stored = [(n, "x" * (40 if n < 3_000 else 20_000)) for n in range(3_200)]
    sizes: list[int] = []

    def answer(_: str, asked: Mapping[str, str]) -> _Answer:
        inside = [one for one in stored if int(asked["start"]) <= one[0] < int(asked["end"])][: int(asked["limit"])]
        status, text = _streams(*inside)
        sizes.append(len(text))
        return (status, text) if len(text) < 4_000_000 else _TOO_LARGE

    reader, _ = _reader(answer)
    assert len(list(reader.entries("{}", 0, 10_000, page=1_000))) == len(stored)
    assert sum(size >= 4_000_000 for size in sizes) <= 3


def test_a_loki_that_never_answers_is_given_up_at_the_smallest_page() -> None:
    def answer(*_: object) -> _Answer:
        raise requests.ReadTimeout("timed out")

    reader, adapter = _reader(answer)
    with pytest.raises(LokiQueryError, match="gave no answer that can be used"):
        list(reader.entries("{}", 0, 1000))
    limits = [asked["limit"] for asked in adapter.asked]
    assert list(dict.fromkeys(limits)) == ["5000", "625", "78", "9", "2"]
    assert limits.count("2") > 1, "the smallest one is asked for again: Loki may only be slow"


def test_one_entry_that_loki_cannot_send_is_an_error_with_the_way_out() -> None:
    reader, _ = _reader(lambda *_: _TOO_LARGE)
    with pytest.raises(LokiQueryError, match=r"larger than max .*; raise server.grpc_server_max_send_msg_size"):
        list(reader.entries("{}", 0, 1000))
