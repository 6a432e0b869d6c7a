"""Every panel's query on real servers: traffic whose numbers are known, and records that are not as they should be."""

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests

from examples.chat import AUTH, CHAT, GATEWAY, NOTIFICATION, SERVICES, USER, traffic
from grafana.dashboards.explorer import SAVED
from grafana.dashboards.names import CANARY
from looked_at import LATE, LOUD, NO_DURATION, NO_NUMBERS, NO_STATUS, STEP_S, STRANGE, Driven, driving, read
from panels import GRAFANA, Asked, Series, Window, boards, chosen_at_first, filled_in, find, panels, queries
from shipper.devstack.grafana import GrafanaServer, running_elsewhere
from shipper.devstack.kafka import KafkaServer

pytestmark = [pytest.mark.slow, pytest.mark.loki, pytest.mark.prometheus]


@pytest.fixture(scope="module")
def driven(kafka: KafkaServer, server_dir: Callable[[str], Path]) -> Iterator[Driven]:
    with driving(kafka, server_dir) as driven:
        yield driven


@pytest.mark.parametrize("uid", boards())
def test_every_query_of_every_panel_answers_in_the_panels_form_and_is_not_empty(driven: Driven, uid: str) -> None:
    empty = []
    for asked in queries(uid):
        series = driven.servers.ask(asked, driven.window)
        # A quantile of nothing is no number: a gap in a curve.
        if not any(it.lines or not all(math.isnan(number) for _, number in it.values) for it in series):
            empty.append(str(asked))
        _fits(asked, series)
    assert not empty


def _fits(asked: Asked, series: Sequence[Series]) -> None:
    """The labels that the legend or the table's headings name are there, and a number is one series."""
    if asked.kind == "stat":
        assert len(series) <= 1, f"{asked}: {series}"
    named = {part.partition("}}")[0] for part in asked.legend.split("{{")[1:]}
    if asked.kind == "table":
        panel = next(it for it in panels(boards()[asked.board]) if it["title"] == asked.panel)
        headings = panel["transformations"][1]["options"]["renameByName"]
        named = {name for name in headings if not name.startswith("Value")}
    # A label that is empty is not there: requests without a route, failures without a reason.
    assert not series or asked.kind == "logs" or named <= {name for one in series for name in one.labels}, asked
    for one in series:
        assert asked.kind != "table" or set(one.labels) <= named, asked
        assert asked.kind == "timeseries" or not any(math.isnan(number) for _, number in one.values), asked


def test_the_overview_counts_requests_failures_and_errors_as_they_were(driven: Driven) -> None:
    report = driven.report
    requests_ = driven.table("overview", "Services", "C")
    assert requests_[GATEWAY] == len(report.requests)
    for service in (AUTH, USER, CHAT):
        assert requests_[service] == len(driven.own(service, context="access"))
    failed = sum(sent.status >= 500 for sent in report.requests)
    assert failed > 0
    assert driven.table("overview", "Services", "D")[GATEWAY] == pytest.approx(failed / len(report.requests))
    assert driven.table("overview", "Services", "A").items() >= Counter(it["service"] for it in driven.records).items()
    errors = Counter(it["service"] for it in driven.records if it["level"] in {"error", "fatal"})
    assert driven.table("overview", "Services", "B").items() >= {it: errors[it] for it in SERVICES}.items()
    assert driven.number("overview", "Error lines", service=list(SERVICES)) == errors.total()
    assert driven.number("overview", "Services that log", service=list(SERVICES)) == len(SERVICES)
    levels = Counter(it["level"] for it in driven.records)
    told = driven.ask("overview", "Lines by level", service=list(SERVICES))
    assert {it.labels["level"]: round(sum(n for _, n in it.values) * STEP_S) for it in told} == levels


def test_curves_add_up_to_what_happened(driven: Driven) -> None:
    report = driven.report
    assert driven.summed("overview", "Requests by service")[GATEWAY] == len(report.requests)
    classes = Counter(f"{sent.status // 100}xx" for sent in report.requests)
    assert driven.summed("service-api-gateway", "Answers") == classes
    logins = {outcome: report.count(AUTH, "login", outcome) for outcome in ("success", "failure")}
    assert driven.summed("service-auth-service", "Logins by outcome") == logins


def test_shares_and_times_over_time_are_those_of_each_service(driven: Driven) -> None:
    failed, p95, health = (
        driven.over_all("overview", panel) for panel in ("Failed requests by service", "p95 by service", "Health")
    )
    for service in (GATEWAY, AUTH, USER, CHAT):
        accesses = driven.own(service, context="access")
        assert failed[service] == pytest.approx(sum(it["status"] >= 500 for it in accesses) / len(accesses))
        assert p95[service] == pytest.approx(_quantile(0.95, sorted(it["durationMs"] for it in accesses)))
    for service in SERVICES:
        own = driven.own(service)
        assert health[service] == pytest.approx(sum(it["level"] in {"error", "fatal"} for it in own) / len(own))
    assert failed[GATEWAY] > 0


def test_routes_are_counted_as_they_were_asked(driven: Driven) -> None:
    asked: Counter[tuple[str, str | None]] = Counter()
    failed: Counter[tuple[str, str | None]] = Counter()
    for (method, route, status), number in driven.report.answered().items():
        asked[method, route] += number
        failed[method, route] += number * (status >= 500)
    routed = {key: number for key, number in asked.items() if key[1]}
    counted = driven.table("service-api-gateway", "Routes")
    assert counted == routed | {"GET": asked["GET", None]}, "a request that fits no route has none"
    shares = driven.table("service-api-gateway", "Routes", "B")
    assert {key: shares[key] for key in routed} == pytest.approx({key: failed[key] / asked[key] for key in routed})


@pytest.mark.parametrize("service", [GATEWAY, AUTH, USER, CHAT])
def test_latencies_are_those_that_were_measured(driven: Driven, service: str) -> None:
    accesses = driven.own(service, context="access")
    durations = sorted(it["durationMs"] for it in accesses)
    assert driven.number(f"service-{service}", "p95") == pytest.approx(_quantile(0.95, durations))
    by_route = driven.table(f"service-{service}", "Routes", "C")
    for (method, route), p95 in ((key, it) for key, it in by_route.items() if isinstance(key, tuple)):
        own = sorted(it["durationMs"] for it in accesses if (it["method"], it.get("route")) == (method, route))
        assert p95 == pytest.approx(_quantile(0.95, own))
        if service == GATEWAY:  # a client waits for longer than the gateway takes
            assert p95 <= _quantile(0.95, driven.report.latencies_ms(method, route)) + 1


def _quantile(share: float, ordered: Sequence[float]) -> float:
    """As Loki takes it: between the two nearest."""
    at = share * (len(ordered) - 1)
    below, above = math.floor(at), math.ceil(at)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)


def test_the_gateways_calls_are_counted_by_upstream_and_reason(driven: Driven) -> None:
    calls = driven.table("service-api-gateway", "Upstreams")
    assert sum(calls.values()) == driven.report.count(GATEWAY, "upstream_call")
    failed, p95 = (driven.table("service-api-gateway", "Upstreams", ref) for ref in "BC")
    for upstream, route in calls:
        own = [
            it
            for it in driven.own(GATEWAY, event="upstream_call")
            if (it["metadata"]["upstream"], it["metadata"]["upstreamRoute"]) == (upstream, route)
        ]
        assert failed[upstream, route] == pytest.approx(sum(it["outcome"] == "failure" for it in own) / len(own))
        assert p95[upstream, route] == pytest.approx(_quantile(0.95, sorted(it["durationMs"] for it in own)))
    reasons: Counter[str] = Counter()
    for (reason, _), number in driven.table("service-api-gateway", "Why calls failed").items():
        reasons[reason] += int(number)
    wanted = {it: driven.report.count(GATEWAY, "upstream_call", "failure", it) for it in ("timeout", "status")}
    assert reasons == wanted
    again = [it for it in driven.own(GATEWAY, event="upstream_call") if it["metadata"]["attempt"] > 1]
    assert sum(driven.summed("service-api-gateway", "Calls tried again").values()) == len(again)


def test_logins_lockouts_and_tokens_are_counted_as_they_were(driven: Driven) -> None:
    uid, report = "service-auth-service", driven.report
    refused = report.count(AUTH, "login", "failure")
    assert driven.number(uid, "Logins") == report.count(AUTH, "login")
    assert driven.number(uid, "Refused logins") == pytest.approx(refused / report.count(AUTH, "login"))
    assert driven.number(uid, "Lockouts") == report.count(AUTH, "lockout") > 0
    reasons = ("bad_password", "unknown_user", "locked")
    wanted = {it: report.count(AUTH, "login", "failure", it) for it in reasons}
    assert driven.summed(uid, "Why logins were refused") == wanted
    sources = driven.table(uid, "Refused logins by source")
    assert sum(sources.values()) == refused
    assert report.locked_from <= set(sources)
    tokens = {it: report.count(AUTH, "token_check", "failure", it) for it in ("expired", "invalid", "missing")}
    assert driven.summed(uid, "Refused tokens") == tokens


def test_accounts_are_counted_as_they_were(driven: Driven) -> None:
    uid, report = "service-user-service", driven.report
    assert driven.number(uid, "Users registered") == report.count(USER, "user_registered", "success")
    assert driven.number(uid, "Registrations refused") == report.count(USER, "user_registered", "failure") > 0
    assert driven.number(uid, "Accounts changed") == report.count(USER, "user_changed") > 0
    assert sum(driven.table(uid, "What is changed").values()) == report.count(USER, "user_changed")


def test_messages_and_their_delivery_are_counted_as_they_were(driven: Driven) -> None:
    uid, report = "service-chat-service", driven.report
    stored = driven.own(CHAT, event="message_stored")
    assert driven.number(uid, "Messages") == report.count(CHAT, "message_stored") == len(stored)
    assert driven.number(uid, "Recipients per message") == traffic.MEMBERS - 1
    assert driven.summed(uid, "Messages stored") == {(): len(stored)}
    assert driven.number(uid, "Not published") == report.count(CHAT, "message_published", "failure") == 0
    rooms = Counter(it["conversationId"] for it in stored)
    assert driven.table(uid, "Busiest conversations") == rooms
    uid = "service-notification-service"
    told = {it: report.count(NOTIFICATION, "notification", it) for it in ("success", "retry", "failure")}
    assert driven.number(uid, "Delivered") == told["success"]
    assert driven.number(uid, "Given up") == pytest.approx(told["failure"] / (told["success"] + told["failure"]))
    assert driven.number(uid, "Tried again") == pytest.approx(told["retry"] / sum(told.values()))
    took = sorted(it["metadata"]["deliveryMs"] for it in driven.own(NOTIFICATION, outcome="success"))
    assert driven.number(uid, "Delivered within (p95)") == pytest.approx(_quantile(0.95, took))
    answers: Counter[str] = Counter()
    for (_, outcome, _, _), number in driven.table(uid, "What providers answer").items():
        answers[outcome] += int(number)
    assert answers == told


def test_a_request_is_found_whole_from_the_beginning_of_its_id(driven: Driven) -> None:
    request = driven.report.followed
    own = [it for it in driven.records if it.get("requestId") == request]
    for typed in (request, request[:24]):
        assert driven.number("explorer", "Services", request_id=typed) == len(SERVICES)
        assert driven.number("explorer", "Lines", request_id=typed) == len(own)
    lines = [line for it in driven.ask("explorer", "Newest lines", request_id=request) for line in it.lines]
    assert sorted(lines) == sorted(f"{it['service']}: {it['message']}" for it in own)
    details = {name for it in driven.ask("explorer", "Newest lines", request_id=request) for name in it.labels}
    assert {"request_id", "status", "durationMs", "metadata_upstream", "metadata_messageId"} <= details
    assert not driven.ask("explorer", "Newest lines", request_id="nobody's")


def test_the_explorer_finds_by_user_level_and_any_text(driven: Driven) -> None:
    user = next(it["userId"] for it in driven.own(CHAT, event="message_stored"))
    of_user = [it for it in driven.records if it.get("userId") == user]
    assert driven.number("explorer", "Lines", user_id=user) == len(of_user)
    warned = [it for it in driven.records if it["service"] in {AUTH, CHAT} and it["level"] == "warn"]
    assert driven.number("explorer", "Lines", service=[AUTH, CHAT], level=["warn"]) == len(warned)
    stacks = [it for it in driven.records if "error" in it]
    assert driven.number("explorer", "Lines", text='"stack":', service=list(SERVICES)) == len(stacks) > 0
    for name, chosen in SAVED:
        found = driven.ask("explorer", "Lines", "A", **chosen)
        assert found, f"the saved query {name} finds nothing"


def test_the_noise_bill_adds_up_to_the_bytes_that_were_written(driven: Driven) -> None:
    written: Counter[tuple[str, str]] = Counter()
    for value in driven.values:
        record = read(value)
        if record and record.get("service") in SERVICES:
            written[record["level"], record["service"]] += len(value)
    billed = driven.table("noise", "By service and level")
    assert {key: billed[key] for key in written} == written
    total = driven.number("noise", "Bytes", service=list(SERVICES))
    assert total == written.total()
    debug = sum(number for (level, _), number in written.items() if level in {"debug", "trace"})
    assert driven.number("noise", "Debug and trace", service=list(SERVICES)) == pytest.approx(debug / total)
    a_month = total / driven.window.range_s * 86_400 * 30 / 10**9
    assert driven.number("noise", "Cost a month", service=list(SERVICES), price="0.5") == pytest.approx(a_month / 2)
    parts = driven.ask("noise", "By part of the service", service=list(SERVICES))
    assert sum(it.values[0][1] for it in parts) == total
    patterns = {it.labels["message"]: it.values[0][1] for it in driven.ask("noise", "By pattern of the message")}
    stored = sum(len(value) for value in driven.values if b'"event":"message_stored"' in value)
    assert patterns["Message stored"] == stored


def test_the_shippers_numbers_are_those_of_its_status(driven: Driven) -> None:
    uid, status = "shipper", driven.status
    assert driven.number(uid, "Shippers") == 1
    assert driven.number(uid, "Lost") == 0
    assert driven.number(uid, "Loki") == driven.number(uid, "Kafka") == 0, "ok"
    assert driven.number(uid, "Time to data loss") == -1, "none in sight"
    assert 0 <= driven.number(uid, "Freshness") < 60
    letters = driven.ask(uid, "Dead letters by reason")
    assert {it.labels["reason"] for it in letters if it.values[0][1] > 0} == {"too_new"}
    assert {it.labels["reason"] for it in driven.ask(uid, "Malformed by reason") if it.values[0][1] > 0} == {"not_json"}
    partitions = {(it["topic"], str(it["partition"])) for it in status["partitions"]}
    assert {(it.labels["topic"], it.labels["partition"]) for it in driven.ask(uid, "Partitions")} == partitions
    assert {it.labels["worker"] for it in driven.ask(uid, "Workers")} == {str(it["index"]) for it in status["workers"]}


def test_lokis_metrics_are_those_that_it_has(driven: Driven) -> None:
    """Where a panel says 0 of what is not there, a name that is misspelt would be 0 for ever."""
    told = requests.get(f"{driven.servers.loki_url}/metrics", timeout=10).text
    there = {re.split(r"[{ ]", line)[0] for line in told.splitlines()}
    asked = {name for it in queries("loki") for name in re.findall(r"\bloki_\w+(?=[{*])", it.expr)}
    # There from the first line on that is refused.
    assert asked - there <= {"loki_discarded_samples_total"}
    assert "loki_panic_total" in asked


def test_people_can_choose_what_there_is(driven: Driven) -> None:
    for uid, board in boards().items():
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                values = driven.servers.values_of(variable, driven.window)
                assert values, f"{uid}: {variable['name']} has no values"
                if variable["name"] == "service":
                    assert set(SERVICES) <= values
                    assert (CANARY in values) == (uid != "overview")
                if variable["name"] == "level":
                    assert {"debug", "info", "warn", "error"} <= values


def test_a_shipper_or_a_loki_that_is_not_reached_is_said(driven: Driven) -> None:
    assert driven.number("shipper", "Shippers", shipper=["nobody"]) == 0
    assert driven.number("loki", "Processes", instance=["nobody"]) == 0
    for uid, variable in (("shipper", "shipper"), ("loki", "instance")):
        for asked in queries(uid):
            said = driven.servers.ask(asked, driven.window, **{variable: ["nobody"]})
            assert not said or asked.panel in {"Shippers", "Processes"}, f"{asked} says {said} of nobody"


# --- bad input: panels say less, and never something false


def test_a_service_without_durations_or_status_has_no_number_there_and_not_a_false_one(driven: Driven) -> None:
    requests_ = driven.table("overview", "Services", "C")
    assert requests_.items() >= STRANGE.items()
    failed, p95 = (driven.table("overview", "Services", ref) for ref in "DE")
    assert failed[NO_DURATION] == 0
    assert p95[NO_STATUS] == 8
    assert not {NO_DURATION, NO_NUMBERS} & p95.keys()
    assert not {NO_STATUS, NO_NUMBERS} & failed.keys(), "without a status nobody knows how many failed"


def test_strange_levels_are_told_by_their_names_and_are_no_errors(driven: Driven) -> None:
    told = driven.ask("overview", "Lines by level", service=[LOUD])
    assert {it.labels["level"] for it in told} == {"loud", "audit", "warn", "unknown"}
    assert driven.number("overview", "Error lines", service=[LOUD]) == 0


def test_what_has_no_service_or_is_no_json_is_nobodys_and_can_be_read(driven: Driven) -> None:
    assert driven.number("overview", "Failed requests", service=["unknown"]) == 1
    lines = [line for it in driven.ask("explorer", "Newest lines", service=["unknown"]) for line in it.lines]
    assert '"access" and no JSON' in lines
    assert len(lines) == 4


def test_the_shippers_own_lines_are_no_service(driven: Driven) -> None:
    assert CANARY in driven.ask("noise", "By service, over time", service=[CANARY])[0].labels["service"]
    assert CANARY not in driven.table("overview", "Services")
    assert driven.number("overview", "Services that log") == len(SERVICES) + len(STRANGE) + len({LOUD})


def test_a_clock_that_is_wrong_by_a_day_changes_no_number_of_now(driven: Driven) -> None:
    assert LATE not in driven.table("overview", "Services")
    assert not driven.ask("overview", "Newest errors", service=[LATE])
    yesterday = Window(driven.window.start_s - 86_400, driven.window.end_s - 86_400, STEP_S)
    asked = find("overview", "Services")
    [late] = driven.servers.ask(asked, yesterday)
    assert (late.labels["service"], late.values[0][1]) == (LATE, 5)


def test_where_nothing_was_written_there_is_no_number_and_not_a_zero(driven: Driven) -> None:
    for asked in queries("overview"):
        if asked.language == "loki":
            assert not driven.servers.ask(asked, driven.window, service=["nobody"]), asked


# --- a real Grafana, where there is one


class Grafana:
    """A Grafana that was started here, with our Loki and Prometheus behind it, or one that runs elsewhere."""

    def __init__(self, url: str, login: tuple[str, str], server: GrafanaServer | None) -> None:
        self.url, self.server = url, server
        self._session = requests.Session()
        self._session.auth = login

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        answer = self._session.get(f"{self.url}{path}", timeout=60)
        assert answer.ok, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def ask(self, asked: Asked, window: Window) -> list[Any]:
        """Ask what a panel asks when its dashboard is opened; returns the frames of the answer."""
        query = {
            "refId": asked.ref,
            "datasource": {"type": asked.language, "uid": asked.language},
            "expr": filled_in(asked, chosen_at_first(asked.board)),
            "intervalMs": window.step_s * 1_000,
            "maxDataPoints": window.range_s // window.step_s,
            "queryType": "instant" if asked.instant else "range",
            "instant": asked.instant,
            "range": not asked.instant,
        }
        body = {"queries": [query], "from": str(window.start_s * 1_000), "to": str(window.end_s * 1_000)}
        answer = self._session.post(f"{self.url}/api/ds/query", json=body, timeout=60)
        assert answer.ok, f"{asked}: {answer.status_code} {answer.text}"
        result = answer.json()["results"][asked.ref]
        assert "error" not in result, f"{asked}: {result}"
        frames: list[Any] = result["frames"]
        return frames


@pytest.fixture(scope="module")
def grafana(driven: Driven, server_dir: Callable[[str], Path]) -> Iterator[Grafana]:
    if url := running_elsewhere():
        login = os.environ.get("GRAFANA_USER", "admin"), os.environ.get("GRAFANA_PASSWORD", "admin")
        yield Grafana(url, login, None)
        return
    servers = driven.servers
    with GrafanaServer(
        server_dir("grafana"), dashboards=GRAFANA, loki_url=servers.loki_url, prometheus_url=servers.prometheus_url
    ) as server:
        yield Grafana(server.url, server.login, server)


@pytest.mark.grafana
def test_grafana_takes_what_is_provisioned_without_an_error(grafana: Grafana) -> None:
    assert {it["uid"] for it in grafana.get("/api/search?type=dash-db&tag=logs")} >= set(boards())
    for uid in boards():
        found = grafana.get(f"/api/dashboards/uid/{uid}")
        assert found["meta"]["provisioned"]
        assert len(found["dashboard"]["panels"]) == len(boards()[uid]["panels"])
    for kind in ("loki", "prometheus"):
        source = grafana.get(f"/api/datasources/uid/{kind}")
        assert (source["type"], source["readOnly"]) == (kind, True)
    if grafana.server:
        said = grafana.server.log.read_text().splitlines()
        assert not [line for line in said if "provisioning" in line and "level=error" in line]


@pytest.mark.grafana
@pytest.mark.parametrize("uid", boards())
def test_grafana_answers_every_panel(driven: Driven, grafana: Grafana, uid: str) -> None:
    for asked in queries(uid):
        frames = grafana.ask(asked, driven.window)
        # A Grafana that runs elsewhere has another Loki behind it, with nobody knows what.
        assert frames or not grafana.server, f"{asked} is empty"
