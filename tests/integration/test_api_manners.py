"""How the log API answers: problem details for every error, ETags, gzip, and nothing without a token."""

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from log_api import LogApi
from loki_target import BASE_NS, HOUR, Target, make_line
from shipper.devstack.loki import LokiServer
from shipper.devstack.server import HOST, free_port
from shipper.moments import rfc3339

pytestmark = pytest.mark.loki
_WINDOW: dict[str, Any] = {"from_": rfc3339(BASE_NS - HOUR), "to": rfc3339(BASE_NS + HOUR)}


@pytest.fixture(scope="module")
def api(loki: LokiServer) -> Iterator[LogApi]:
    with LogApi(loki.url) as served:
        yield served


@pytest.fixture(scope="module")
def service(loki: LokiServer) -> str:
    """A service with twenty lines."""
    target = Target(loki.url)
    target.push(target.stream(*(make_line(f"line {n}", BASE_NS + n) for n in range(20)), service=target.test_id))
    return target.test_id


@pytest.mark.parametrize(
    ("path", "parameters", "status", "named"),
    [
        ("/v1/logs", {"limit": -1}, 422, "limit"),
        ("/v1/logs", {"limit": 0}, 422, "limit"),
        ("/v1/logs", {"limit": 10**9}, 422, "limit"),
        ("/v1/logs", {"limit": "many"}, 422, "limit"),
        ("/v1/logs", {"from_": "1h", "to": "2h"}, 422, "from"),
        ("/v1/logs", {"from_": "yesterday"}, 422, "from"),
        ("/v1/logs", {"to": "2026-13-01T00:00:00Z"}, 422, "to"),
        ("/v1/logs", {"from_": "0001-01-01T00:00:00Z"}, 422, "from"),
        ("/v1/logs", {"from_": "400d"}, 422, "from"),
        ("/v1/logs", {"level": "loud"}, 422, "level"),
        ("/v1/logs", {"levle": "info"}, 422, "levle"),
        ("/v1/logs", {"direction": "sideways"}, 422, "direction"),
        ("/v1/logs", {"cursor": "nonsense"}, 400, "cursor"),
        ("/v1/logs", {"cursor": "A" * 66}, 400, "cursor"),
        ("/v1/logs", {"service": "no-such-service"}, 404, "service"),
        ("/v1/logs", {"text": "x" * 20_000}, 422, "text"),
        ("/v1/logs", {"text": "\0"}, 422, "text"),
        ("/v1/logs", {"regex": "("}, 422, "regex"),
        ("/v1/logs", {"field": "no operator"}, 422, "field"),
        ("/v1/logs", {"field": "a..b=c"}, 422, "field"),
        ("/v1/logs", {"field": "durationMs>fast"}, 422, "field"),
        ("/v1/logs", {"field": "a=~("}, 422, "field"),
        ("/v1/logs", {"timeout": "soon"}, 422, "timeout"),
    ],
)
def test_bad_input_is_a_problem_that_names_the_parameter(
    api: LogApi, path: str, parameters: dict[str, Any], status: int, named: str
) -> None:
    answer = api.get(path, **parameters)
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert problem["status"] == status
    assert problem["instance"] == path
    assert any(one["name"].split(".")[0] == named for one in problem["parameters"]), problem
    assert named in problem["detail"]


def test_what_is_not_there_and_what_is_not_allowed_are_problems_too(api: LogApi) -> None:
    for answer in (api.get("/v1/nothing"), api.client.post("/v1/logs", headers={"Authorization": "Bearer viewer"})):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
    assert answer.status_code == 405


@pytest.mark.parametrize("path", ["/v1/logs", "/readyz", "/metrics", "/docs", "/openapi.json"])
def test_nothing_but_healthz_is_answered_without_a_token(api: LogApi, path: str) -> None:
    assert api.client.get(path).status_code == 401
    assert api.client.get("/healthz").status_code == 200


def test_what_the_configuration_makes_public_is_answered_without_a_token(loki: LokiServer) -> None:
    with LogApi(loki.url, public=["/readyz", "/docs"]) as api:
        answers = [api.client.get(path).status_code for path in ("/readyz", "/docs", "/openapi.json", "/metrics")]
    assert answers == [200, 200, 200, 401]


def test_what_the_caller_has_already_is_not_sent_again(api: LogApi, service: str) -> None:
    answer = api.get("/v1/logs", service=service, **_WINDOW)
    again = api.get("/v1/logs", service=service, headers={"If-None-Match": answer.headers["etag"]}, **_WINDOW)
    other = api.get("/v1/logs", service=service, limit=2, headers={"If-None-Match": answer.headers["etag"]}, **_WINDOW)
    assert (again.status_code, again.content, other.status_code) == (304, b"", 200)


def test_answers_are_compressed_for_those_who_can_read_it(api: LogApi, service: str) -> None:
    answers = [
        api.get("/v1/logs", service=service, headers={"Accept-Encoding": kind}, **_WINDOW)
        for kind in ("gzip", "identity")
    ]
    assert [answer.headers.get("content-encoding") for answer in answers] == ["gzip", None]
    assert answers[0].json()["lines"] == answers[1].json()["lines"]


def test_no_other_site_may_read_answers(api: LogApi) -> None:
    answer = api.get("/v1/logs", headers={"Origin": "https://elsewhere.example"})
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_a_loki_that_is_away_is_503_with_the_time_to_wait() -> None:
    with LogApi(f"http://{HOST}:{free_port()}") as api:
        for path in ("/v1/logs", "/readyz"):
            answer = api.get(path)
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:shipper:problem:loki-away"), path
            assert int(answer.headers["retry-after"]) > 0


def test_a_caller_who_allows_less_time_is_told_that_it_is_over(api: LogApi) -> None:
    answer = api.get("/v1/logs", timeout="0ms")
    assert (answer.status_code, answer.json()["type"]) == (504, "urn:shipper:problem:loki-slow")


def test_a_question_to_loki_is_given_up_with_the_caller_who_hung_up() -> None:
    with (
        socket.create_server((HOST, 0)) as loki,
        LogApi(f"http://{HOST}:{loki.getsockname()[1]}", timeout_s=3_600) as api,
    ):
        caller = httpx.Client(base_url=api.url, timeout=httpx.Timeout(60, read=0.5))
        with caller, pytest.raises(httpx.ReadTimeout):
            caller.get("/v1/logs", headers={"Authorization": "Bearer viewer"})
        loki.settimeout(60)
        asked, _ = loki.accept()
        with asked:
            asked.settimeout(60)
            assert b"query_range" in asked.recv(1 << 16)
            assert asked.recv(1) == b""


def test_the_page_of_the_documentation_loads_nothing_and_names_every_call(api: LogApi) -> None:
    page, document = api.get("/docs"), api.get("/openapi.json").json()
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not [word for word in ("<script", "<link", "<img", "src=", "@import", "url(") if word in page.text]
    assert all(path in page.text for path in document["paths"])
    assert "/v1/logs" in document["paths"]


def test_metrics_count_calls_by_route_and_lines(api: LogApi, service: str) -> None:
    api.page("/v1/logs", service=service, **_WINDOW)
    metrics = api.get("/metrics").text
    assert 'log_api_calls_total{route="/v1/logs",status="200"}' in metrics
    assert 'log_api_lines_total{route="/v1/logs"}' in metrics
