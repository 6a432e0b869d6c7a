"""The log API attacked: tenants smuggled in, Loki's other paths, bodies that never end, secrets in errors."""

import logging
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import Authority
from hearing_loki import HearingLoki
from log_api import LogApi
from shipper.api.principal import Principal, Role

_PEOPLE = {
    "bound": Principal(
        "bound", Role.OPERATOR, frozenset({"chat-service"}), frozenset({"production"}), tenant="mine", token="bound"
    ),
}
_BOUND = 'service="chat-service", env="production"'
_READING = ("/v1/logs", "/v1/stats", "/v1/services", "/v1/fields", "/v1/traces/{}", "/v1/export", "/v1/logs/context")
_PARAMETERS = (
    "service",
    "level",
    "text",
    "regex",
    "request_id",
    "user_id",
    "field",
    "from",
    "to",
    "cursor",
    "by",
    "id",
)
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
    with LogApi(hearing.url, _PEOPLE, body_timeout_s=0.5, body_bytes_max=2_048) as served:
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


@settings(max_examples=60)
@given(path=st.sampled_from(_READING), name=st.sampled_from(_PARAMETERS), value=_HOSTILE)
def test_whatever_a_parameter_holds_loki_is_asked_for_what_the_caller_may_see_and_nothing_else(
    api: LogApi, hearing: HearingLoki, path: str, name: str, value: str
) -> None:
    hearing.heard.clear()
    part = quote(value, safe="") or "x"
    answer = api.client.get(path.format(part), params={name: value}, headers={"Authorization": "Bearer bound"})
    assert answer.status_code < 500, answer.text
    for heard in hearing.heard:
        assert heard.path.startswith("/loki/api/v1/")
        assert heard.path.rpartition("/")[2] in _PATHS, heard
        assert heard.header("x-scope-orgid") == ["mine"]
        query = heard.parameters.get("query", "")
        if heard.path.endswith("format_query"):
            continue
        assert query.count(_BOUND) >= without_strings(query).count("{") > 0, query
        assert " or " not in without_strings(query), query


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
