"""What the log API keeps and does for operators, on a real Kafka: tokens, saved queries, dead letters, the audit."""

import json
import re
import time
from collections.abc import Iterator
from io import StringIO
from typing import Any

import httpx
import pytest
from rich.console import Console

import servicelog
from dead_letters import bury, commit
from kept_api import WAIT_S, KeptApi, kept_settings, make_tokens, until
from messages import StoredMessage
from shipper.api.principal import Role
from shipper.cli import tokens
from shipper.devstack.kafka import KafkaServer, make_topic
from shipper.errors import ShipperError
from shipper.settings import Settings
from shipping import read_topic

pytestmark = pytest.mark.kafka

_PEOPLE: dict[str, dict[str, Any]] = {
    "mara": {},
    "joe": {},
    "other-tenant": {"tenant": "another"},
    "other-tenant-operator": {"role": Role.OPERATOR, "tenant": "another"},
    "admin": {"role": Role.ADMIN},
    "operator": {"role": Role.OPERATOR},
    "chat-operator": {"role": Role.OPERATOR, "services": ["chat-service"]},
    "staging": {"role": Role.OPERATOR, "environments": ["staging"]},
    "library": {"role": Role.SERVICE},
}
_QUERY = {"parameters": {"service": "auth-service", "text": "{user}", "from": "1h"}, "places": {"user": "nobody"}}


@pytest.fixture(scope="module")
def settings(kafka: KafkaServer) -> Settings:
    return kept_settings(kafka.bootstrap, topic=make_topic(kafka.bootstrap), dead_letters=make_topic(kafka.bootstrap))


@pytest.fixture(scope="module")
def api(settings: Settings) -> Iterator[KeptApi]:
    with KeptApi(settings, make_tokens(settings, _PEOPLE), is_audited=True) as started:
        yield started


def command(settings: Settings, what: str, *arguments: Any) -> str:  # noqa: ANN401 - of each command
    output = StringIO()
    console = Console(file=output, highlight=False)
    match what:
        case "create":
            name, role, services, expires = arguments
            wanted = tokens.Wanted(name, Role[role.upper()], services, None, "", expires)
            tokens.create(settings, wanted, as_json=True, console=console)
        case "list":
            tokens.list_tokens(settings, as_json=arguments == ("json",), console=console)
        case "revoke":
            tokens.revoke(settings, arguments[0], console=console)
    return output.getvalue()


def test_a_token_is_good_at_once_bound_as_it_was_made_and_refused_once_it_is_revoked(
    api: KeptApi, settings: Settings
) -> None:
    made = json.loads(command(settings, "create", "on-call", "operator", ["chat-service"], "7d"))
    bearer = {"authorization": f"Bearer {made['token']}"}

    def levels(service: str) -> httpx.Response:
        return api.ask("", "GET", f"/v1/levels/{service}", headers=bearer)

    until(lambda: levels("chat-service").status_code == 404)
    assert levels("auth-service").status_code == 403
    secret = made["token"].split("_", 2)[2]
    assert secret not in command(settings, "list") + command(settings, "list", "json"), "it is shown once"
    records = read_topic(settings.kafka.bootstrap_servers[0], settings.api.topics.tokens)
    assert not [record for record in records if secret.encode() in (record.value() or b"")], "only a digest is kept"
    assert made["prefix"] in command(settings, "revoke", made["prefix"])
    until(lambda: levels("chat-service").status_code == 401)
    assert made["prefix"] not in command(settings, "list")
    with pytest.raises(ShipperError, match="no token"):
        command(settings, "revoke", made["prefix"])


def test_a_token_that_is_nearly_right_is_refused(api: KeptApi) -> None:
    good = api.who["admin"]
    for wrong in (
        good[:-1],
        good + "A",
        good[:-2] + ("BA" if good[-2:] != "BA" else "AB"),
        good.replace("shp_", "SHP_"),
    ):
        assert api.ask("", "GET", "/v1/levels", headers={"authorization": wrong}).status_code == 401, wrong
    assert api.ask("admin", "GET", "/v1/levels").status_code == 200


def test_a_saved_query_is_its_owners_and_others_see_it_when_it_is_shared(api: KeptApi) -> None:
    saved = api.ask("mara", "PUT", "/v1/queries/logins", json=_QUERY)
    assert (saved.status_code, saved.json()["owner"], saved.json()["asksFor"]) == (200, "mara", ["user"])
    seen = {who: api.ask(who, "GET", "/v1/queries/logins").status_code for who in ("mara", "joe", "admin", "library")}
    assert seen == {"mara": 200, "joe": 404, "admin": 200, "library": 403}
    assert api.ask("joe", "PUT", "/v1/queries/logins", json=_QUERY).status_code == 409
    api.ask("mara", "PUT", "/v1/queries/logins", json={**_QUERY, "shared": True})
    assert [it["name"] for it in api.ask("joe", "GET", "/v1/queries").json()["queries"]] == ["logins"]
    assert api.ask("other-tenant", "GET", "/v1/queries").json()["queries"] == []
    assert api.ask("joe", "DELETE", "/v1/queries/logins").status_code == 403
    etag = saved.headers["etag"]
    assert api.ask("mara", "DELETE", "/v1/queries/logins", headers={"if-match": etag}).status_code == 412
    assert api.ask("admin", "DELETE", "/v1/queries/logins").status_code == 204
    assert api.ask("mara", "GET", "/v1/queries/logins").status_code == 404


def test_a_saved_query_leads_to_its_call_and_what_is_filled_in_is_a_value_and_nothing_else(api: KeptApi) -> None:
    api.ask("mara", "PUT", "/v1/queries/filled", json=_QUERY)

    def leads_to(**given: str) -> list[tuple[str, str]]:
        answer = api.ask("mara", "GET", "/v1/queries/filled/run", params=given)
        assert answer.status_code == 307
        url = httpx.URL(answer.headers["location"])
        assert (url.host, url.path) == ("", "/v1/logs")
        return url.params.multi_items()

    fixed = [("service", "auth-service"), ("from", "1h")]
    for value in ("usr_1", "a&service=chat-service", "{user}", "%0d%0aSet-Cookie: a=b", "\r\nX: y", 'x" or `', "ünï"):
        found = leads_to(user=value)
        assert sorted(found) == sorted([*fixed, ("text", value)])
    assert ("text", "nobody") in leads_to()
    for wrong in ({"service": "chat-service"}, {"other": "1"}):
        answer = api.ask("mara", "GET", "/v1/queries/filled/run", params=wrong)
        assert (answer.status_code, answer.json()["parameters"][0]["name"]) == (422, next(iter(wrong)))


def test_a_saved_query_is_small_and_so_is_what_it_leads_to(api: KeptApi) -> None:
    def save(parameters: dict[str, Any]) -> int:
        return api.ask("mara", "PUT", "/v1/queries/large", json={"parameters": parameters}).status_code

    def run(value: str) -> int:
        return api.ask("mara", "GET", "/v1/queries/large/run", params={"a": value}).status_code

    assert save({"text": ["{a}"] * 51}) == 422
    assert save({"text": ["{a}" * 300] * 50}) == 200
    assert [run(value) for value in ("x", "xx", "ü", "x" * 1_001)] == [307, 422, 422, 422]


def test_dead_letters_are_listed_shown_and_put_back_once(api: KeptApi, settings: Settings) -> None:
    topic = settings.kafka.topics[0]
    record = StoredMessage(b'{"service":"chat-service"}', (topic, 0, 7), b"key", None, time.time_ns() // 1_000_000)
    bury(settings, [record])
    commit(settings, {0: 8})  # so shipper is past it
    listed = api.ask("operator", "GET", "/v1/dead-letters", params={"reason": "line_too_long"}).json()
    assert (listed["total"], [it["offset"] for it in listed["letters"]]) == (1, [7])
    shown = api.ask("operator", "GET", f"/v1/dead-letters/{topic}/0/7").json()["letters"][0]
    assert (shown["value"], shown["key"], shown["state"]) == ('{"service":"chat-service"}', "key", "waiting")
    errand = {"places": [f"{topic}/0/7"]}
    assert api.ask("operator", "POST", "/v1/dead-letters/redrive", json=errand).json()["put_back"] == 0, "a dry run"
    bootstrap = settings.kafka.bootstrap_servers[0]
    for put_back in (1, 0):
        done = api.ask("operator", "POST", "/v1/dead-letters/redrive", json={**errand, "dryRun": False}).json()
        assert done["put_back"] == put_back, str(done)
    assert [it.value() for it in read_topic(bootstrap, topic) if it.key() == b"key"] == [record.value()]
    assert api.ask("operator", "GET", "/v1/dead-letters").json()["total"] == 0


@pytest.mark.parametrize("who", ["mara", "chat-operator", "staging", "other-tenant", "library", ""])
def test_dead_letters_are_for_operators_who_may_see_all(api: KeptApi, who: str) -> None:
    for method, path in (("GET", ""), ("GET", "/logs/0/0"), ("POST", "/redrive")):
        body = {"places": ["logs/0/0"]} if method == "POST" else None
        assert api.ask(who, method, f"/v1/dead-letters{path}", json=body).status_code == (403 if who else 401)


@pytest.mark.parametrize("who", ["chat-operator", "staging", "other-tenant-operator"])
def test_the_hosts_that_ship_are_for_operators_who_may_see_all(api: KeptApi, who: str) -> None:
    assert api.ask(who, "GET", "/v1/shippers").status_code == 403
    assert api.ask("operator", "GET", "/v1/shippers").status_code == 200


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json", "/docs", "/readyz", "/v1/logs"])
def test_a_librarys_token_is_good_for_levels_and_nothing_else(api: KeptApi, path: str) -> None:
    assert api.ask("library", "GET", path).status_code == 403
    assert api.ask("library", "GET", "/v1/levels").status_code == 200


@pytest.mark.parametrize("path", ["", "/chat-service", "/chat-service/app"])
def test_levels_are_told_to_nobody_of_another_tenant_or_environment(api: KeptApi, path: str) -> None:
    for who in ("other-tenant", "staging"):
        assert api.ask(who, "GET", f"/v1/levels{path}").status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "given"),
    [
        ("GET", "?limit=-1", None),
        ("GET", "?limit=100000", None),
        ("GET", "?reason=no_such", None),
        ("GET", "?from=soon", None),
        ("GET", "?unknown=1", None),
        ("GET", "/logs/x/1", None),
        ("GET", "/logs/0/99999999999999999999", None),
        ("POST", "/redrive", {"places": ["nonsense"]}),
        ("POST", "/redrive", {"places": ["logs/0/9"], "unknown": 1}),
        ("POST", "/redrive", {"places": ["no/such/letter"]}),
        ("POST", "/redrive", []),
    ],
)
def test_bad_questions_about_dead_letters_are_the_callers(
    api: KeptApi,
    method: str,
    path: str,
    given: Any,  # noqa: ANN401 - any JSON
) -> None:
    answer = api.ask("operator", method, f"/v1/dead-letters{path}", json=given)
    assert answer.status_code in {404, 422}, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_every_access_is_in_the_log_topic_with_who_what_and_from_where_and_no_secret(
    api: KeptApi, settings: Settings
) -> None:
    token = api.who["mara"]
    path = f"/v1/levels/{token.removeprefix('Bearer ')}"  # somebody pastes his token into the wrong place
    for who, name in ((token, "known"), (token + "x", "wrong"), ("Bearer eyJhbGciOiJub25lIn0.e30.", "unsigned")):
        api.ask(
            "", "GET", path, headers={"authorization": who, "x-request-id": f"audit-{name}", "cookie": "session=geheim"}
        )
    servicelog.close(WAIT_S)
    servicelog.configure(service="tests", logging=False)
    found = {}
    for message in read_topic(settings.kafka.bootstrap_servers[0], settings.kafka.topics[0]):
        record = json.loads(message.value() or b"{}")
        if record.get("requestId", "").startswith("audit-"):
            found[record["requestId"]] = record
            assert record["service"] == "log-api"
            assert "geheim" not in (message.value() or b"").decode()
            assert token.split("_", 2)[2][:20] not in (message.value() or b"").decode()
    seen = {name: (it.get("userId"), it["outcome"], it["status"]) for name, it in found.items()}
    assert seen == {
        "audit-known": ("mara", "failure", 404),
        "audit-wrong": (None, "denied", 401),
        "audit-unsigned": (None, "denied", 401),
    }
    known = found["audit-known"]
    assert (known["event"], known["method"], known["context"]) == ("access", "GET", "Audit")
    assert known["metadata"]["client"] == "127.0.0.1"
    assert re.fullmatch("[0-9a-f]{10}", known["metadata"]["prefix"])
