"""What the log API reads beside pages of lines, on a real Loki: filters, scope, context, traces, counts and names."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from log_api import LogApi, wait_until
from loki_proto import Entry
from loki_target import BASE_NS, HOUR, S, Target, make_line
from shipper.devstack.loki import LokiServer
from shipper.moments import rfc3339

pytestmark = pytest.mark.loki
MS = 10**6
_WINDOW: dict[str, Any] = {"from_": rfc3339(BASE_NS - HOUR // 2), "to": rfc3339(BASE_NS + HOUR)}
_REQUEST = "0e32a00a-2024-498f-a4ed-51ee263ed0f2"


def _record(service: str, level: str, message: str, at_ms: int, **members: Any) -> tuple[str, str, Entry]:  # noqa: ANN401 - JSON
    ids = {name: members.pop(name) for name in ("request_id", "user_id") if name in members}
    line = json.dumps({"level": level, "service": service, "message": message, **members})
    return service, level, make_line(line, BASE_NS + at_ms * MS, **ids)


_LINES = [
    _record("api-gateway", "info", "Request received", 0, request_id=_REQUEST, user_id="usr_1", context="access"),
    _record("auth-service", "debug", "Token checked", 5, request_id=_REQUEST, durationMs=3.5),
    _record("chat-service", "warn", "Slow store", 90, request_id=_REQUEST, durationMs=80, metadata={"room": "r-1"}),
    _record("chat-service", "error", "Room 'r-1' of 17 is gone", 120, request_id=_REQUEST, error={"type": "GoneError"}),
    _record("api-gateway", "error", "Upstream failed\x1b[31m", 130, request_id=_REQUEST, metadata={"upstream": "chat"}),
    _record("chat-service", "error", "Room 'r-2' of 18 is gone", 1_000, durationMs=700),
    _record("chat-service", "info", 'said "hi" to a\\b', 2_000, metadata={"room": "r-2", "n": 7}),
    _record("chat-service", "info", "plain", 3_000),
    _record("user-service", "info", "User changed", 4_000, user_id="usr_2", durationMs=20),
]


@pytest.fixture(scope="module")
def api(server_dir: Any) -> Iterator[LogApi]:  # noqa: ANN401 - pytest's
    """The log API over a Loki of its own: scopes and names are about everything that is there."""
    with LokiServer(server_dir("loki-api")) as loki, LogApi(loki.url) as served:
        target = Target(loki.url)
        for service in {service for service, _, _ in _LINES}:
            for level in {level for one, level, _ in _LINES if one == service}:
                own = [entry for one, its, entry in _LINES if (one, its) == (service, level)]
                env = "staging" if service == "user-service" else "production"
                target.push(target.stream(*own, service=service, level=level, env=env))
        yield served


def _messages(api: LogApi, who: str = "viewer", **parameters: Any) -> list[str]:  # noqa: ANN401 - parameters
    page = api.page("/v1/logs", who=who, direction="forward", **_WINDOW, **parameters)
    return [json.loads(line["line"])["message"] for line in page["lines"]]


@pytest.mark.parametrize(
    ("parameters", "count"),
    [
        ({}, 9),
        ({"service": "chat-service"}, 5),
        ({"service": ["chat-service", "user-service"]}, 6),
        ({"level": "warn"}, 4),
        ({"level": "error", "service": "chat-service"}, 2),
        ({"level": "trace"}, 9),
        ({"text": "is gone"}, 2),
        ({"text": ["is gone", "r-2"]}, 1),
        ({"text": '\\"hi\\"'}, 1),
        ({"regex": "Room .r-[12]. of 1[78]"}, 2),
        ({"request_id": _REQUEST}, 5),
        ({"user_id": "usr_2"}, 1),
        ({"field": "metadata.upstream=chat"}, 1),
        ({"field": "metadata.room=~r-."}, 2),
        ({"field": "durationMs>=80"}, 2),
        ({"field": ["durationMs>1", "durationMs<50"]}, 2),
        ({"field": "metadata.n>-1"}, 1),
        ({"field": "error.type=GoneError"}, 1),
        ({"field": "error.type!=GoneError", "level": "error"}, 2),
        ({"text": "no such text"}, 0),
    ],
)
def test_every_condition_holds_for_the_lines_that_are_given(
    api: LogApi, parameters: dict[str, Any], count: int
) -> None:
    assert len(_messages(api, **parameters)) == count


_HOSTILE = [
    '"} or {service=~".+"',
    '`} | json | {service="api-gateway"}',
    'x" or service=~".+',
    "\\",
    '\\" |= "',
    "chat-service|api-gateway",
    ".*",
    ".+",
    '"|~".*',
    "# comment",
    "/* */",
    "a\nb",
    "%22%7D",
]


@pytest.mark.parametrize("hostile", _HOSTILE)
def test_no_parameter_leads_out_of_what_the_caller_may_see(api: LogApi, hostile: str) -> None:
    for name in ("service", "text", "regex", "request_id", "user_id", "field"):
        for value in (hostile, f"metadata.room={hostile}", f"metadata.room=~{hostile}", f"{hostile}=r-1"):
            answer = api.get("/v1/logs", who="chat", **{**_WINDOW, name: value})
            assert answer.status_code in (200, 400, 404, 422), (name, value, answer.text)
            if answer.status_code == 200:
                assert {line["labels"]["service"] for line in answer.json()["lines"]} <= {"chat-service"}, (name, value)
            else:
                assert "api-gateway" not in answer.text.replace(json.dumps(hostile)[1:-1], "")


def test_a_caller_sees_the_services_and_environments_that_they_are_bound_to(api: LogApi) -> None:
    assert len(_messages(api, who="chat")) == 5
    assert _messages(api, who="staging") == ["User changed"]
    assert _messages(api, who="nothing") == []
    assert api.get("/v1/logs", who="chat", service="user-service", **_WINDOW).status_code == 404
    assert [one["name"] for one in api.page("/v1/services", who="chat", **_WINDOW)["services"]] == ["chat-service"]
    assert api.page("/v1/services", who="nothing", **_WINDOW)["services"] == []
    assert [step["service"] for step in api.page(f"/v1/traces/{_REQUEST}", who="chat", **_WINDOW)["steps"]] == [
        "chat-service",
        "chat-service",
    ]
    assert {one["service"] for one in api.page("/v1/stats", who="chat", **_WINDOW)["counts"]} == {"chat-service"}
    fields = {one["name"] for one in api.page("/v1/fields", who="chat", **_WINDOW)["fields"]}
    assert "metadata.room" in fields
    assert "metadata.upstream" not in fields
    gateway = api.page("/v1/logs", service="api-gateway", limit=1, **_WINDOW)["lines"][0]["id"]
    assert api.get("/v1/logs/context", who="chat", line=gateway).status_code == 404


def test_a_cursor_of_somebody_else_or_of_another_query_is_refused(api: LogApi) -> None:
    cursor = api.page("/v1/logs", limit=1, **_WINDOW)["cursor"]
    assert api.get("/v1/logs", limit=3, cursor=cursor, **_WINDOW).status_code == 200
    others: list[tuple[str, dict[str, Any]]] = [
        ("other", {}),
        ("viewer", {"level": "info"}),
        ("viewer", {"direction": "forward"}),
    ]
    for who, parameters in others:
        answer = api.get("/v1/logs", who=who, cursor=cursor, **parameters, **_WINDOW)
        assert (answer.status_code, answer.json()["parameters"][0]["name"]) == (400, "cursor")
    changed = cursor[:-3] + ("AAA" if cursor[-3:] != "AAA" else "BBB")
    assert api.get("/v1/logs", cursor=changed, **_WINDOW).status_code == 400


def test_a_walk_is_not_disturbed_by_lines_that_arrive_meanwhile(loki: LokiServer) -> None:
    target = Target(loki.url)
    with LogApi(loki.url) as other:
        before = [make_line(f"old {n}", BASE_NS + n // 4) for n in range(12)]
        target.push(target.stream(*before, service=target.test_id))
        page = other.page("/v1/logs", service=target.test_id, limit=5, **_WINDOW)
        found = page["lines"]
        # In nanoseconds that were given already, in the one where the walk stands, and in those to come.
        arrived = [make_line(f"new {n}", BASE_NS + n) for n in range(4)]
        target.push(target.stream(*arrived, service=target.test_id, level="info"))
        while page["cursor"]:
            page = other.page("/v1/logs", service=target.test_id, limit=5, cursor=page["cursor"], **_WINDOW)
            found += page["lines"]
    assert len({line["id"] for line in found}) == len(found)
    assert sorted(line["line"] for line in found if line["line"].startswith("old")) == sorted(
        line for _, line, *_ in before
    )
    assert "new 0" in [line["line"] for line in found]
    assert "new 3" not in [line["line"] for line in found]


def test_the_neighbours_of_a_line_are_given_in_order(api: LogApi) -> None:
    line = api.page("/v1/logs", text="r-2", level="error", **_WINDOW)["lines"][0]
    context = api.page("/v1/logs/context", line=line["id"], before=2, after=1)
    messages = [json.loads(one["line"])["message"] for one in (*context["before"], context["line"], *context["after"])]
    assert messages == ["Slow store", "Room 'r-1' of 17 is gone", "Room 'r-2' of 18 is gone", 'said "hi" to a\\b']
    around = api.page("/v1/logs/context", line=line["id"], before=1, after=0, everywhere=True)
    assert [one["labels"]["service"] for one in around["before"]] == ["api-gateway"]
    assert around["after"] == []
    for wrong in ("nonsense", "1-0000000000000000", "1763974800123000007-9f86d081884c7d65"):
        assert api.get("/v1/logs/context", line=wrong).json()["parameters"][0]["name"] == "line"


def test_a_request_is_told_across_services_with_durations_and_its_first_error(api: LogApi) -> None:
    trace = api.page(f"/v1/traces/{_REQUEST}", **_WINDOW)
    assert [(step["service"], step["offsetMs"]) for step in trace["steps"]] == [
        ("api-gateway", 0),
        ("auth-service", 5),
        ("chat-service", 90),
        ("chat-service", 120),
        ("api-gateway", 130),
    ]
    assert (trace["durationMs"], trace["complete"], trace["firstError"]["error"]) == (130, True, "GoneError")
    assert [(one["name"], one["lines"], one["errors"]) for one in trace["services"]] == [
        ("api-gateway", 2, 1),
        ("auth-service", 1, 0),
        ("chat-service", 2, 1),
    ]
    assert api.get("/v1/traces/no-such-request", **_WINDOW).status_code == 404


def test_a_request_as_text_is_a_line_each_and_cannot_steer_a_terminal(api: LogApi) -> None:
    text = api.get(f"/v1/traces/{_REQUEST}", headers={"Accept": "text/plain"}, **_WINDOW)
    assert text.headers["content-type"].startswith("text/plain")
    assert f"request {_REQUEST}: 5 lines of 3 services in 130.0 ms\n" in text.text
    assert "first error after 120.0 ms, in chat-service: Room 'r-1' of 17 is gone (GoneError)\n" in text.text
    assert "\n> 120.0 ms  error  chat-service  Room" in text.text
    assert "[3.5 ms]" in text.text
    assert "\x1b" not in text.text


def test_lines_are_counted_by_service_level_and_time_and_errors_by_pattern(api: LogApi) -> None:
    stats = api.page("/v1/stats", step="60s", **_WINDOW)
    counts = {(one["service"], one["level"]): one["lines"] for one in stats["counts"]}
    assert stats["lines"] == sum(counts.values()) == sum(one["lines"] for one in stats["buckets"]) == 9
    assert counts["chat-service", "error"] == 2
    assert len({one["to"] for one in stats["buckets"]}) <= 2
    errors = stats["errors"]
    assert (errors["read"], errors["complete"]) == (3, True)
    assert errors["patterns"][0] == {
        "service": "chat-service",
        "pattern": "Room <text> of <n> is gone",
        "lines": 2,
        "example": "Room 'r-2' of 18 is gone",
        "error": "",
    }
    assert api.get("/v1/stats", step="1ms", **_WINDOW).json()["parameters"][0]["name"] == "step"
    assert api.get("/v1/stats", step="1s", **_WINDOW).json()["parameters"][0]["name"] == "step"


def test_names_of_services_and_fields_are_told(api: LogApi) -> None:
    services = {one["name"]: one["levels"] for one in api.page("/v1/services", **_WINDOW)["services"]}
    assert services["chat-service"] == ["info", "warn", "error"]
    assert set(services) == {"api-gateway", "auth-service", "chat-service", "user-service"}
    fields = {one["name"]: one for one in api.page("/v1/fields", **_WINDOW)["fields"]}
    assert fields["metadata.room"]["kind"] == "json"
    assert fields["request_id"]["kind"] == "metadata"
    assert {"durationMs", "message", "error.type"} <= set(fields)


def test_the_audit_is_told_what_was_read(api: LogApi) -> None:
    api.visits.clear()
    api.page("/v1/logs", who="chat", level="error", **_WINDOW)
    wait_until(lambda: api.visits, "the audit was told")  # behind the answer's last byte
    facts = api.visits[-1].facts
    assert (facts["lines"], facts["from"]) == (2, _WINDOW["from_"])
    assert facts["query"] == '{service="chat-service", level=~"error|fatal"}'


def test_the_same_id_names_a_line_however_it_was_found(api: LogApi) -> None:
    ways: list[dict[str, Any]] = [
        {"text": "Slow"},
        {"field": "metadata.room=r-1"},
        {"request_id": _REQUEST, "level": "warn", "limit": 1},
    ]
    lines = [
        api.page("/v1/logs", service="chat-service", direction="forward", **way, **_WINDOW)["lines"] for way in ways
    ]
    assert len({found[0]["id"] for found in lines}) == 1
    assert int(lines[0][0]["id"].split("-")[0]) == BASE_NS + 90 * MS < BASE_NS + S
