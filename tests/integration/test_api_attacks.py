"""The log API attacked: tenants smuggled in, Loki's other paths, bodies that never end, secrets in errors."""

import logging
import re
import socket
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpx
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from certificates import Authority
from hearing_loki import Heard, HearingLoki
from log_api import LogApi
from shipper.api.principal import Principal, Role

_PEOPLE = {
    "bound": Principal(
        "bound", Role.OPERATOR, frozenset({"chat-service"}), frozenset({"production"}), tenant="mine", token="bound"
    ),
}
_BOUND = 'service="chat-service", env="production"'
_LINE = f"{time.time_ns()}-{'0' * 16}"
_NEEDED: dict[str, dict[str, str]] = {
    "/v1/logs/context": {"line": _LINE},
    "/v1/logql": {"query": '{service="chat-service"}'},
}
"""What a call is nothing without, by path."""
_KEPT = ("/v1/levels", "/v1/queries", "/v1/dead-letters", "/v1/shippers")  # they do not ask Loki
_OF_A_REQUEST = '| request_id="" or trace_id=""'  # our own, without its strings
_PATHS = {"query_range", "query", "values", "labels", "series", "detected_fields", "patterns", "format_query"}
_HOSTILE = st.one_of(
    st.sampled_from(
        [
            '"} or {service="auth-service"} |= "',
            "`} | json",
            'x"} # ',
            "\\",
            '\\"',
            "}",
            "..%2f..%2fflush",
            "../../flush",
            "1h&query={}",
            "a=b` or `",
            'a="b"} |= "',
            "\r\nX-Scope-OrgID: other",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)


@pytest.fixture(scope="module")
def hearing() -> Iterator[HearingLoki]:
    with HearingLoki() as started:
        yield started


@pytest.fixture(scope="module")
def api(hearing: HearingLoki) -> Iterator[LogApi]:
    with LogApi(
        hearing.url, _PEOPLE, body_timeout_s=0.5, body_bytes_max=2_048, requests_per_minute=1_000_000
    ) as served:
        yield served


def without_strings(query: str) -> str:
    """Return what of a query is not in quotes; what is in them cannot do anything."""
    kept, rest = [], query
    while rest:
        if rest[0] == '"':
            end = 1
            while rest[end] != '"':
                end += 2 if rest[end] == "\\" else 1
            kept.append('""')
            rest = rest[end + 1 :]
        elif rest[0] == "`":
            kept.append('""')
            rest = rest[rest.index("`", 1) + 1 :]
        else:
            kept.append(rest[0])
            rest = rest[1:]
    return "".join(kept)


class Place(NamedTuple):
    """Where a call takes something from its caller: `where` is path, query, header, body; empty: nowhere."""

    method: str
    path: str
    where: str
    name: str


def places(document: dict[str, Any]) -> list[Place]:
    """Return every place of every call that asks Loki, and each call as it is when nothing is wrong with it."""
    found = []
    for path, calls in document["paths"].items():
        if not path.startswith("/v1/") or path.startswith(_KEPT):
            continue
        for method, call in calls.items():
            found.append(Place(method, path, "", ""))
            found += [Place(method, path, it["in"], it["name"]) for it in call.get("parameters", [])]
            if "requestBody" in call:
                schema = call["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
                members = document["components"]["schemas"][schema]["properties"]
                found += [Place(method, path, "body", name) for name in members]
    return found


def attack(api: LogApi, place: Place, value: str) -> int:
    """Send a value in one place of a call that is right otherwise."""
    given = _NEEDED.get(place.path, {})
    path = place.path.replace("{request_id}", quote(value, safe="") or "x" if place.where == "path" else "req-1")
    headers = {"Authorization": "Bearer bound"}
    if place.where == "header":
        headers[place.name] = quote(value, safe=" \"'`{}=|,;")
    else:
        given = {**given, **({place.name: value} if place.where in ("query", "body") else {})}
    asked: dict[str, Any] = {"json": given} if place.method == "post" else {"params": given}
    with api.client.stream(place.method.upper(), path, headers=headers, **asked) as answer:
        if not answer.headers["content-type"].startswith("text/event-stream"):
            answer.read()
        elif answer.status_code == 200:  # it has no end
            next(answer.iter_raw())
        return answer.status_code


def check_heard(heard: Heard, *, in_logql: bool) -> None:
    assert heard.path.startswith("/loki/api/v1/")
    assert heard.path.rpartition("/")[2] in _PATHS, heard
    assert heard.header("x-scope-orgid") == ["mine"]
    query = heard.parameters.get("query") or heard.parameters.get("match[]", "")
    if heard.path.endswith("format_query"):
        return
    outside = without_strings(query)
    assert query.count(_BOUND) >= outside.count("{"), query
    if not in_logql:  # where a caller may ask for more than one thing, or for none
        assert outside.count("{") == 1, query
        assert " or " not in outside.replace(_OF_A_REQUEST, ""), query


def test_whatever_a_parameter_holds_loki_is_asked_for_what_the_caller_may_see_and_nothing_else(
    api: LogApi, hearing: HearingLoki
) -> None:
    found = places(api.page("/openapi.json", who="bound"))
    assert {"from", "limit", "cursor", "direction", "step", "line", "after", "Last-Event-ID", "request_id"} <= {
        re.sub("(?i)last-event-id", "Last-Event-ID", it.name) for it in found
    }
    heard_by_path = Counter[str]()

    @settings(max_examples=2, phases=[Phase.generate], database=None, deadline=None)
    @given(values=st.lists(_HOSTILE, min_size=len(found), max_size=len(found)))
    def each(values: list[str]) -> None:
        for place, value in zip(found, values, strict=True):
            hearing.heard.clear()
            assert attack(api, place, value) < 500, (place, value)
            for heard in list(hearing.heard):
                check_heard(heard, in_logql=place.path == "/v1/logql")
            heard_by_path[place.path] += len(hearing.heard)

    each()
    asking = {it.path for it in found}
    assert asking >= {"/v1/logs", "/v1/traces/{request_id}", "/v1/stats", "/v1/export", "/v1/logql", "/v1/tail"}
    assert {path for path in asking if not heard_by_path[path]} == set()


@pytest.mark.parametrize("name", ["X-Scope-OrgID", "x-scope-orgid", "X_Scope_OrgID", "Cookie", "X-Forwarded-For"])
def test_no_header_of_the_callers_goes_to_loki(api: LogApi, hearing: HearingLoki, name: str) -> None:
    hearing.heard.clear()
    api.get("/v1/logs", who="bound", headers={name: "smuggled"})
    api.client.get("/v1/logs?X-Scope-OrgID=smuggled", headers={"Authorization": "Bearer bound"})
    assert hearing.heard
    for heard in hearing.heard:
        assert heard.header("x-scope-orgid") == ["mine"]
        assert not heard.header("authorization")
        assert "smuggled" not in str(heard)


@pytest.mark.parametrize(
    "target",
    [
        "/config",
        "/flush",
        "/ingester/shutdown",
        "/log_level",
        "/loki/api/v1/delete",
        "/loki/api/v1/push",
        "/loki/api/v1/query_range?query=%7B%7D",
        "/v1/../flush",
        "/v1/logs/../../flush",
        "/v1/%2e%2e/flush",
        "/v1/traces/..%2f..%2f..%2fflush",
        "/v1/traces/%2e%2e",
        "/healthz/../v1/logs",
        "/healthz%2f..%2fv1%2flogs",
        "//v1/logs",
        "http://evil.example/flush",
    ],
)
def test_no_path_leads_to_lokis_other_calls(api: LogApi, hearing: HearingLoki, target: str) -> None:
    hearing.heard.clear()
    for authorization in ("", "Authorization: Bearer bound\r\n"):
        for method in ("GET", "POST", "DELETE"):
            status = raw(api, f"{method} {target} HTTP/1.1\r\nHost: x\r\n{authorization}Content-Length: 0\r\n\r\n")
            assert 400 <= status < 500 or target.startswith("/v1/traces/"), (method, target, status)
            assert status == 401 or authorization
    assert {it.path.rpartition("/")[2] for it in hearing.heard} <= _PATHS


def raw(api: LogApi, request: str, more: bytes = b"") -> int:
    """Send bytes as they are; return the status of the answer."""
    at = urlsplit(api.url)
    with socket.create_connection((at.hostname, at.port), timeout=60) as connection:
        connection.sendall(request.encode("latin-1"))
        if more:
            connection.sendall(more)
        answer = b""
        while b"\r\n" not in answer:
            received = connection.recv(4_096)
            assert received, f"no answer to {request!r}"
            answer += received
    return int(answer.split()[1])


_PUT = "PUT /v1/levels/chat-service HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
_WHO = "Authorization: Bearer bound\r\n"


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        (f"{_WHO}Content-Length: 1000000000\r\n", b"", 413),
        (f"{_WHO}Content-Length: 100\r\n", b'{"levels":', 408),
        (f"{_WHO}Content-Length: -1\r\n", b"", 400),
        (f"{_WHO}Content-Length: 5\r\nContent-Length: 6\r\n", b"", 400),
        (f"{_WHO}Transfer-Encoding: chunked\r\n", b"1000\r\n" + b"x" * 4_096 + b"\r\n", 413),
        (f"{_WHO}Transfer-Encoding: chunked\r\n", b"4\r\nabcd\r\n", 408),
        (f"{_WHO}Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n", 400),
        (f"{_WHO}X-Scope-OrgID: a\r\n\tb\r\nContent-Length: 2\r\n", b"{}", 422),
        ("Content-Length: 1000000000\r\n", b"", 401),
    ],
)
def test_a_body_is_small_and_in_time_or_it_is_refused(api: LogApi, headers: str, body: bytes, status: int) -> None:
    assert raw(api, f"{_PUT}{headers}\r\n", body) == status
    assert api.client.get("/healthz").status_code == 200


def test_what_loki_says_of_its_own_secrets_is_not_told_to_callers(api: LogApi, hearing: HearingLoki) -> None:
    for status in (401, 403, 500, 503, 302):
        hearing.refusal = (status, "password=geheim at /etc/loki/secret")
        answer = api.get("/v1/logs", who="bound")
        assert answer.status_code in {502, 503}
        assert "geheim" not in answer.text
        assert "/etc" not in answer.text
    hearing.refusal = None


def test_an_error_that_nobody_foresaw_tells_callers_a_number_and_no_more(
    api: LogApi, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("geheim")

    monkeypatch.setattr("shipper.api.routes.levels.of_installation", fail)
    with caplog.at_level(logging.CRITICAL):
        answer = api.get("/v1/levels", who="bound")
    assert (answer.status_code, "geheim" in answer.text) == (500, False)
    assert answer.json()["incident"] in capsys.readouterr().err


def test_it_speaks_tls_with_the_files_that_it_is_given(hearing: HearingLoki, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    cert, key = authority.certificate("localhost")
    with LogApi(hearing.url, _PEOPLE, tls_cert_file=cert, tls_key_file=key) as api:
        url = f"https://localhost:{urlsplit(api.url).port}/healthz"
        assert httpx.get(url, verify=ssl.create_default_context(cafile=authority.ca_file)).status_code == 200
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"{api.url}/healthz")
