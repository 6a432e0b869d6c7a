"""Tails and exports of the log API, and LogQL for operators, on a real Loki."""

import csv
import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import httpx
import polars as pl
import pytest

from log_api import LogApi, wait_until
from loki_target import BASE_NS, HOUR, S, Target, make_line
from shipper.devstack.loki import LokiServer
from shipper.devstack.server import HOST, free_port
from shipper.moments import rfc3339

pytestmark = pytest.mark.loki
# A line is never too late here, however slow the machine is.
_QUICK: dict[str, Any] = {
    "tail_poll_s": 0.1,
    "tail_heartbeat_s": 0.2,
    "tail_lines_max": 20,
    "tail_lateness_s": 7_200.0,
}
_WINDOW: dict[str, Any] = {"from_": rfc3339(BASE_NS - HOUR // 2), "to": rfc3339(BASE_NS + HOUR)}


@pytest.fixture(scope="module")
def api(loki: LokiServer) -> Iterator[LogApi]:
    with LogApi(loki.url, page_entries=60, lines_max=40, streams_max=3, **_QUICK) as served:
        yield served


@pytest.fixture
def target(loki: LokiServer) -> Target:
    return Target(loki.url)


def _push(target: Target, *texts: str, at_ns: int = BASE_NS, step_ns: int = 1_000) -> None:
    lines = [make_line(text, at_ns + n * step_ns, request_id=f"r{n}") for n, text in enumerate(texts)]
    target.push(target.stream(*lines, service=target.test_id, level="info"))


class Tail:
    """A tail that is read in a thread, as events: name → documents."""

    def __init__(self, api: LogApi, *, headers: dict[str, str] | None = None, **parameters: Any) -> None:  # noqa: ANN401 - parameters
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.ids: list[str] = []
        self.comments = 0
        self._client = httpx.Client(base_url=api.url, timeout=60)
        given = {name.rstrip("_"): value for name, value in parameters.items()}
        request = self._client.build_request(
            "GET", "/v1/tail", params=given, headers={"Authorization": "Bearer viewer", **(headers or {})}
        )
        self.response = self._client.send(request, stream=True)
        self._thread = threading.Thread(target=self._read, daemon=True)
        if self.response.status_code == 200:
            self._thread.start()

    def _read(self) -> None:
        name = ""
        try:
            for line in self.response.iter_lines():
                if line.startswith(":"):
                    self.comments += 1
                elif line.startswith("id: "):
                    self.ids.append(line.removeprefix("id: "))
                elif line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    self.events.append((name, json.loads(line.removeprefix("data: "))))
        except httpx.HTTPError:
            return

    def lines(self) -> list[str]:
        return [document["line"] for name, document in self.events if name == "line"]

    def close(self) -> None:
        self.response.close()
        self._client.close()


@contextmanager
def _tail(api: LogApi, **options: Any) -> Iterator[Tail]:  # noqa: ANN401 - those of Tail
    tail = Tail(api, **options)
    try:
        yield tail
    finally:
        tail.close()


def _has(tail: Tail, lines: int) -> bool:
    return len(tail.lines()) >= lines


def _reads(answer: HTTPResponse, text: str) -> bool:
    return text.encode() in answer.readline()


def _metric(api: LogApi, name: str) -> float:
    return float(next(line.split()[1] for line in api.get("/metrics").text.splitlines() if line.startswith(f"{name} ")))


def test_a_tail_gives_each_new_line_once_though_it_looks_back(api: LogApi, target: Target) -> None:
    with _tail(api, service=target.test_id, from_=rfc3339(BASE_NS)) as tail:
        for n in range(3):
            _push(target, "the same line", at_ns=BASE_NS + HOUR - n * S)  # each older than the one before
            wait_until(partial(_has, tail, n + 1), f"line {n} is there")
        _push(target, "newer", at_ns=BASE_NS + HOUR + S)
        wait_until(partial(_has, tail, 4), "the newest line is there")
        assert tail.lines() == ["the same line"] * 3 + ["newer"]


def test_a_tail_that_goes_on_gives_what_came_late_meanwhile(api: LogApi, target: Target) -> None:
    with _tail(api, service=target.test_id, from_=rfc3339(BASE_NS)) as tail:
        for n in range(2):
            _push(target, f"line {n}", at_ns=BASE_NS + HOUR - n * S)  # the older one last
            wait_until(partial(_has, tail, n + 1), f"line {n} is there")
        assert tail.ids == [tail.events[0][1]["id"]] * 2, "an event's id never goes back"
        last = tail.ids[-1]
    _push(target, "late", at_ns=BASE_NS + HOUR - 2 * S)
    _push(target, "newer", at_ns=BASE_NS + HOUR + S)
    with _tail(api, service=target.test_id, headers={"Last-Event-ID": last}) as tail:
        wait_until(partial(_has, tail, 3), "the lines behind the last one")
        assert tail.lines() == ["late", "line 1", "newer"]


def test_a_tail_says_that_it_is_alive_when_nothing_happens(loki: LokiServer, target: Target) -> None:
    with LogApi(loki.url, tail_heartbeat_s=0.1) as api, _tail(api, service=target.test_id) as tail:
        wait_until(lambda: tail.comments >= 3, "heartbeats")
        assert tail.events == []


def test_a_reader_who_is_slow_is_told_exactly_what_they_missed(api: LogApi, target: Target) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    reader = HTTPConnection(host, int(port), timeout=60)
    reader.sock = socket.socket()
    reader.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    reader.sock.connect((host, int(port)))
    with closing(reader):
        reader.request(
            "GET",
            f"/v1/tail?service={target.test_id}&from={rfc3339(BASE_NS)}",
            headers={"Authorization": "Bearer viewer"},
        )
        answer = reader.getresponse()
        missed_before, sent = _metric(api, "log_api_tail_missed_lines_total"), 3
        # What was there before a reader came waits for them; so first they have to be there.
        for n in range(2):
            _push(target, f"quick {n}", at_ns=BASE_NS + HOUR - S + n)
            wait_until(partial(_reads, answer, f"quick {n}"), f"line {n} is there")
        for part in range(12):  # more than the buffers of two sockets hold, and than the tail holds
            texts = [f"{part} {n} " + "x" * 20_000 for n in range(40)]
            _push(target, *texts, at_ns=BASE_NS + HOUR + part * S)
            sent += len(texts)
        _push(target, "the end", at_ns=BASE_NS + HOUR + 20 * S)
        found: list[dict[str, Any]] = []
        while not found or found[-1].get("line") != "the end":
            if (text := answer.readline()).startswith(b"data: "):
                found.append(json.loads(text[6:]))
    lines = [one["id"] for one in found if "id" in one]
    missed = sum(one["lines"] for one in found if "lines" in one)
    assert missed > 0
    assert (2 + len(lines) + missed, len(set(lines))) == (sent, len(lines))
    assert _metric(api, "log_api_tail_missed_lines_total") - missed_before == missed


def test_a_tail_tells_of_a_loki_that_is_away_and_goes_on() -> None:
    with LogApi(f"http://{HOST}:{free_port()}", **_QUICK) as api, _tail(api, service="any") as tail:
        wait_until(lambda: tail.events, "the problem is told")
        assert [name for name, _ in tail.events] == ["problem"]
        assert tail.events[0][1]["type"] == "urn:shipper:problem:loki-away"


def test_no_more_streams_than_allowed_and_a_place_is_free_when_its_reader_has_gone(api: LogApi, target: Target) -> None:
    wait_until(lambda: _metric(api, "log_api_streams") == 0, "the tails of other tests have ended")
    tails = [Tail(api, service=target.test_id) for _ in range(3)]
    try:
        refused = api.get("/v1/export", service=target.test_id)
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:shipper:problem:busy")
    finally:
        for tail in tails:
            tail.close()
    wait_until(lambda: _metric(api, "log_api_streams") == 0, "the places are free")


def _exported(answer: httpx.Response, form: str) -> list[tuple[str, str]]:
    assert answer.status_code == 200, answer.text
    match form:
        case "ndjson":
            rows: list[Any] = [json.loads(line) for line in answer.text.splitlines()]
        case "csv":
            rows = list(csv.DictReader(io.StringIO(answer.text)))
        case _:
            rows = pl.read_parquet(io.BytesIO(answer.content)).to_dicts()
    return [(row["id"], row["line"]) for row in rows]


@pytest.mark.parametrize("form", ["ndjson", "csv", "parquet"])
def test_an_export_holds_every_line_once_and_can_be_gone_on_with(api: LogApi, target: Target, form: str) -> None:
    texts = [f'line {n} "quoted", ä\n' for n in range(170)]
    _push(target, *texts[:120])
    _push(target, *texts[120:], at_ns=BASE_NS + S, step_ns=0)  # fifty in one nanosecond
    asked = {"service": target.test_id, "format": form, **_WINDOW}
    whole = _exported(api.get("/v1/export", **asked), form)
    assert sorted(line for _, line in whole) == sorted(texts)
    first = _exported(api.get("/v1/export", limit=137, **asked), form)
    rest = _exported(api.get("/v1/export", after=first[-1][0], **asked), form)
    assert first + rest == whole


def test_an_export_in_parquet_has_types_and_in_gzip_is_the_same(api: LogApi, target: Target) -> None:
    _push(target, "a", "b", at_ns=BASE_NS + 7)
    answer = api.get("/v1/export", service=target.test_id, format="parquet", **_WINDOW)
    table = pl.read_parquet(io.BytesIO(answer.content))
    assert table.schema["timestamp"] == pl.Datetime("ns", "UTC")
    assert table["timestamp"].to_physical().to_list() == [BASE_NS + 7, BASE_NS + 1_007]
    assert table["request_id"].to_list() == ["r0", "r1"]
    plain, packed = (
        api.get("/v1/export", service=target.test_id, headers={"Accept-Encoding": kind}, **_WINDOW)
        for kind in ("identity", "gzip")
    )
    assert (packed.headers["content-encoding"], packed.content) == ("gzip", plain.content)


def test_an_export_that_breaks_never_looks_whole(loki: LokiServer, target: Target) -> None:
    _push(target, *(f"line {n}" for n in range(100)))
    with LogApi(loki.url, page_entries=20, lines_max=10) as api:
        reader = api._app.state.service.client

        def broken(*_: Any, **__: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
            raise httpx.InvalidURL("as Loki might refuse something in the middle")

        asked = {"service": target.test_id, "format": "ndjson", "from": _WINDOW["from_"], "to": _WINDOW["to"]}
        headers = {"Authorization": "Bearer viewer", "Accept-Encoding": "identity"}
        with api.client.stream("GET", "/v1/export", params=asked, headers=headers) as answer:
            assert answer.status_code == 200
            reader.stream = broken
            with pytest.raises(httpx.RemoteProtocolError):
                answer.read()


def test_answers_are_bounded_in_bytes_and_walks_are_whole_all_the_same(
    api: LogApi, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"line {n} " + "x" * 1_000 for n in range(20)]
    _push(target, *texts)
    monkeypatch.setattr("shipper.loki.async_reader.BODY_BYTES_MAX", 15_000)
    monkeypatch.setattr("shipper.api.routes.logs._PAGE_BYTES_MAX", 5_000)
    asked = {"service": target.test_id, **_WINDOW}
    page = api.page("/v1/logs", **asked)
    found = page["lines"]
    assert len(found) == 4
    while page["cursor"]:
        page = api.page("/v1/logs", cursor=page["cursor"], **asked)
        found += page["lines"]
    assert [one["line"] for one in found] == texts[::-1]
    assert [line for _, line in _exported(api.get("/v1/export", format="ndjson", **asked), "ndjson")] == texts
    refused = _logql(api, "operator", f'{{service="{target.test_id}"}}')
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:shipper:problem:too-large")


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"after": "nonsense"}, "after"),
        ({"after": "1763974800123000007-9f86d081884c7d65"}, "after"),
        ({"format": "xlsx"}, "format"),
        ({"limit": 0}, "limit"),
        ({"service": "no-such-service"}, "service"),
    ],
)
def test_what_is_wrong_with_an_export_is_said_before_it_begins(
    api: LogApi, parameters: dict[str, Any], named: str
) -> None:
    answer = api.get("/v1/export", **_WINDOW, **parameters)
    assert 400 <= answer.status_code < 500
    assert answer.json()["parameters"][0]["name"] == named


def _logql(api: LogApi, who: str, query: str, **more: Any) -> httpx.Response:  # noqa: ANN401 - JSON
    asked = {"query": query, "from": _WINDOW["from_"], "to": _WINDOW["to"], **more}
    return api.client.post("/v1/logql", json=asked, headers={"Authorization": f"Bearer {who}"})


def test_operators_may_ask_in_logql_and_viewers_may_not(api: LogApi, target: Target) -> None:
    _push(target, *(f"line {n}" for n in range(6)))
    query = f'{{service="{target.test_id}"}}'
    assert _logql(api, "viewer", query).status_code == 403
    found = _logql(api, "operator", query, limit=4).json()
    assert (found["type"], sum(len(stream["values"]) for stream in found["result"])) == ("streams", 4)
    counted = _logql(api, "operator", f"sum(count_over_time({query}[2h]))", step=7_200).json()
    assert (counted["type"], {float(value) for _, value in counted["result"][0]["values"]}) == ("matrix", {6.0})
    for wrong in ("{", "{}", query + " | json |", "x" * 20_000):
        answer = _logql(api, "operator", wrong)
        assert 400 <= answer.status_code < 500
        assert answer.json()["parameters"][0]["name"].endswith("query")
    assert _logql(api, "operator", "x" * 2_000_000).status_code == 413


@pytest.mark.parametrize(
    "query",
    [
        '{service=~".+"}',
        '{service=~".+"} or {service=~".+"}',
        "{}",
        '{ service=~".+" }',
        '{\n\tservice!="chat-service"}',
        '{service=~`.+`} |= "}{" | line_format "{{.service}}"',
        'sum by (service) (count_over_time({service=~".+"}[2h]))',
        'count_over_time({service="chat-service"}[2h]) or count_over_time({service=~".+"}[2h])',
        '{service=~".+"} # {',
        '/* " */ {service=~".+"} /* " */',
        '// "\n{service=~".+"} // "',
        """'"' {service=~".+"} '"'""",
        '{service=~".+"} |= "a\\',
        '\ufeff{service=~".+"}',
    ],
)
def test_no_query_in_logql_leads_out_of_what_the_operator_may_see(api: LogApi, target: Target, query: str) -> None:
    _push(target, "somebody else's line")
    everything = _logql(api, "operator", f'{{service="{target.test_id}"}}').text
    assert "somebody else" in everything, "there is something to find"
    answer = _logql(api, "chat-operator", query)
    assert answer.status_code in (200, 400, 422), answer.text
    assert target.test_id not in answer.text
    assert "somebody else" not in answer.text


def test_the_status_of_all_hosts_is_one_view(loki: LokiServer) -> None:
    with LogApi(loki.url, shippers=[f"http://{HOST}:{free_port()}", loki.url]) as api:
        assert api.get("/v1/shippers").status_code == 403
        found = api.page("/v1/shippers", who="operator")
    assert [one["state"] for one in found["shippers"]] == ["unreachable", "unreachable"]
    assert "ConnectError" in found["shippers"][0]["problem"]
    assert found["state"] == "unreachable"
