"""Levels set through the log API, kept in a real Kafka: who may, what wins, what the libraries are told, and when."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from kept_api import KeptApi, kept_settings, make_tokens, until
from shipper.api.principal import Role
from shipper.devstack.kafka import KafkaServer

pytestmark = pytest.mark.kafka

_PEOPLE: dict[str, dict[str, Any]] = {
    "operator": {"role": Role.OPERATOR},
    "viewer": {"role": Role.VIEWER},
    "library": {"role": Role.SERVICE, "services": ["chat-service"]},
    "chat-operator": {"role": Role.OPERATOR, "services": ["chat-service"]},
    "staging": {"role": Role.OPERATOR, "environments": ["staging"]},
    "tenant": {"role": Role.OPERATOR, "tenant": "another"},
    "expired": {"role": Role.ADMIN, "valid_ms": -1},
}


@pytest.fixture(scope="module")
def apis(kafka: KafkaServer) -> Iterator[tuple[KeptApi, KeptApi]]:
    """Two instances of the same installation."""
    settings = kept_settings(kafka.bootstrap)
    who = make_tokens(settings, _PEOPLE)
    with KeptApi(settings, who) as one, KeptApi(settings, who) as other:
        yield one, other


@pytest.fixture
def api(apis: tuple[KeptApi, KeptApi]) -> Iterator[KeptApi]:
    yield apis[0]
    apis[0].ask("operator", "DELETE", "/v1/levels/chat-service")


def put(api: KeptApi, body: dict[str, Any], path: str = "", *, who: str = "operator", **headers: str) -> httpx.Response:
    asked = {"for": "15m", "why": "messages are lost", **body}
    return api.ask(who, "PUT", f"/v1/levels/chat-service{path}", json=asked, headers=headers)


def poll(api: KeptApi, etag: str = "", **parameters: str) -> httpx.Response:
    """Ask as a library does."""
    headers = {"if-none-match": etag} if etag else {}
    return api.ask("library", "GET", "/v1/levels/chat-service", headers=headers, params=parameters)


def test_what_is_set_is_told_to_the_library_in_the_form_that_it_reads_and_once(api: KeptApi) -> None:
    assert poll(api).status_code == 404
    assert put(api, {"levels": {"*": "debug", "app.db": "trace"}}).status_code == 200
    told = poll(api)
    assert told.json()["levels"] == {"*": "debug", "app.db": "trace"}
    assert told.json()["expiresAt"].endswith("Z")
    assert [(one["by"], one["why"]) for one in told.json()["set"]] == [("operator", "messages are lost")] * 2
    again = poll(api, told.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")


def test_all_instances_agree_and_know_it_after_a_restart(apis: tuple[KeptApi, KeptApi], api: KeptApi) -> None:
    put(api, {"level": "debug"}, "/app.db")
    etag = poll(api).headers["etag"]
    until(lambda: poll(apis[1]).status_code == 200)
    assert poll(apis[1]).headers["etag"] == etag
    with KeptApi(api.settings, api.who) as started_anew:
        assert poll(started_anew).headers["etag"] == etag
    apis[1].ask("operator", "DELETE", "/v1/levels/chat-service/app.db")
    until(lambda: poll(api).status_code == 404)


def test_a_level_is_over_by_itself_and_what_lasts_longer_stays(api: KeptApi) -> None:
    put(api, {"level": "debug"}, "/app.db")
    first = put(api, {"level": "trace", "for": "8s"}, "/*")  # writing it takes a busy machine seconds
    assert first.json()["levels"] == {"*": "trace", "app.db": "debug"}
    assert first.json()["expiresAt"] == next(it["expiresAt"] for it in first.json()["set"] if it["logger"] == "*")
    changed = poll(api, first.headers["etag"], wait="30")
    assert changed.json()["levels"] == {"app.db": "debug"}
    assert changed.headers["etag"] != first.headers["etag"]


def test_who_waits_is_told_of_a_change_at_once_and_else_that_there_is_none(apis: tuple[KeptApi, KeptApi]) -> None:
    one, other = apis
    put(one, {"levels": {"*": "debug"}})
    etag = poll(one).headers["etag"]
    until(lambda: poll(other, etag).status_code == 304)
    unchanged = one.ask(
        "library", "GET", "/v1/levels/chat-service", headers={"if-none-match": etag, "prefer": "wait=1"}
    )
    assert (unchanged.status_code, unchanged.headers["preference-applied"]) == (304, "wait=1")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(poll, other, etag, wait="30")
        put(one, {"levels": {"*": "trace"}})
        assert waiting.result().json()["levels"] == {"*": "trace"}
    one.ask("operator", "DELETE", "/v1/levels/chat-service")


def test_the_level_of_a_logger_is_its_own_or_that_of_the_nearest_above(api: KeptApi) -> None:
    put(api, {"levels": {"*": "warn", "app": "info", "app.db": "trace"}})
    found = {
        logger: api.ask("viewer", "GET", f"/v1/levels/chat-service/{logger}").json()
        for logger in ("app.db.pool", "app.db", "app.dbx", "other", "*")
    }
    assert {logger: (it["level"], it["decidedBy"]["logger"]) for logger, it in found.items()} == {
        "app.db.pool": ("trace", "app.db"),
        "app.db": ("trace", "app.db"),
        "app.dbx": ("info", "app"),
        "other": ("warn", "*"),
        "*": ("warn", "*"),
    }
    assert api.ask("viewer", "GET", "/v1/levels/unset/app").json()["level"] is None
    listed = api.ask("viewer", "GET", "/v1/levels").json()["services"]
    assert [it["service"] for it in listed] == ["chat-service"]


def test_of_two_that_saw_the_same_one_wins_and_the_other_is_told(apis: tuple[KeptApi, KeptApi], api: KeptApi) -> None:
    etag = put(api, {"levels": {"*": "debug"}}).headers["etag"]
    until(lambda: poll(apis[1]).headers.get("etag") == etag)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(put, it, {"levels": {"*": "trace"}}, **{"if-match": etag}) for it in apis]
    assert sorted(one.result().status_code for one in both) == [200, 412]
    assert put(api, {"levels": {"*": "info"}}, **{"if-match": etag}).status_code == 412
    assert api.ask("operator", "DELETE", "/v1/levels/unset", headers={"if-match": "*"}).status_code == 412


def test_levels_of_two_loggers_that_are_set_at_the_same_time_are_both_there(
    apis: tuple[KeptApi, KeptApi], api: KeptApi
) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: put(apis[n % 2], {"level": "debug"}, f"/app.{n}"), range(4)))
    assert [it.status_code for it in answers] == [200] * 4
    until(lambda: list(poll(api).json()["levels"]) == [f"app.{n}" for n in range(4)])


@pytest.mark.parametrize(
    ("who", "method", "service", "status"),
    [
        ("", "GET", "chat-service", 401),
        ("expired", "GET", "chat-service", 401),
        ("library", "GET", "auth-service", 403),
        ("library", "PUT", "chat-service", 403),
        ("viewer", "PUT", "chat-service", 403),
        ("viewer", "DELETE", "chat-service", 403),
        ("chat-operator", "PUT", "auth-service", 403),
        ("staging", "PUT", "chat-service", 403),
        ("tenant", "DELETE", "chat-service", 403),
        ("chat-operator", "PUT", "chat-service", 200),
    ],
)
def test_levels_are_changed_by_those_who_may_and_read_by_those_whose_they_are(
    api: KeptApi, who: str, method: str, service: str, status: int
) -> None:
    body = {"levels": {"*": "debug"}, "for": "15m", "why": "to see"} if method == "PUT" else None
    assert api.ask(who, method, f"/v1/levels/{service}", json=body).status_code == status


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"levels": {}}, "levels"),
        ({"levels": {"*": "loud"}}, "levels"),
        ({"levels": {"a b": "info"}}, "levels"),
        ({"levels": {"*": "info"}, "why": ""}, "why"),
        ({"levels": {"*": "info"}, "for": "soon"}, "for"),
        ({"levels": {"*": "info"}, "for": "31d"}, "for"),
        ({"levels": {"*": "info"}, "for": None}, "for"),
        ({"levels": {"*": "info"}, "for": None, "expiresAt": "2001-01-01T00:00:00Z"}, "expiresAt"),
        ({"levels": {"*": "info"}, "unknown": 1}, "unknown"),
        ({"levels": {f"l{n}": "info" for n in range(51)}}, "levels"),
    ],
)
def test_bad_levels_are_refused_with_what_is_wrong_with_them(api: KeptApi, body: dict[str, Any], named: str) -> None:
    answer = put(api, body)
    assert answer.status_code == 422, answer.text
    assert named in answer.json()["detail"], answer.text
