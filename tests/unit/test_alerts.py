"""The alerts as they are written: complete, with a way to act, about what really exists."""

import json
import re

import pytest

from alerting import ALERTMANAGER_CONFIG, LOG_ALERTS, METRIC_ALERTS, METRIC_RULE_TESTS, ROOT, RUNBOOKS, Alert, load
from shipper.process.metrics import METRICS

ALERTS = LOG_ALERTS + METRIC_ALERTS
DASHBOARDS = {
    board["uid"]: {variable["name"] for variable in board["templating"]["list"]}
    for board in (json.loads(file.read_text()) for file in (ROOT / "grafana" / "json").glob("*.json"))
}
"""The variables of each dashboard, by its uid."""


def _named(alert: Alert) -> str:
    return f"{alert.name}-{alert.labels['severity']}"


@pytest.mark.parametrize("alert", ALERTS, ids=_named)
def test_every_alert_says_how_bad_it_is_what_it_is_what_to_do_first_and_where_to_look(alert: Alert) -> None:
    assert alert.labels["severity"] in {"critical", "warning", "none"}
    assert alert.labels["team"] in {"platform", "services", "security"}
    assert {"summary", "description", "first", "dashboard", "runbook"} <= alert.annotations.keys()
    assert len(alert.annotations["summary"]) < 160, "a phone shows so much of a subject"


@pytest.mark.parametrize("alert", ALERTS, ids=_named)
def test_the_runbook_of_every_alert_is_there_and_names_it(alert: Alert) -> None:
    page = (RUNBOOKS / f"{alert.annotations['runbook']}.md").read_text()
    assert f"`{alert.name}`" in page.splitlines()[0] + page.split("\n\n")[1]
    assert f"({alert.annotations['runbook']}.md)" in (RUNBOOKS / "README.md").read_text()


def test_every_runbook_belongs_to_an_alert() -> None:
    pages = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}
    assert pages == {alert.annotations["runbook"] for alert in ALERTS}


@pytest.mark.parametrize("alert", ALERTS, ids=_named)
def test_links_lead_to_dashboards_that_exist_and_set_variables_that_they_have(alert: Alert) -> None:
    for link in (alert.annotations["dashboard"], alert.annotations.get("logs", "/d/explorer")):
        # What a template puts in: the service's own dashboard where it has one, the overview where not.
        plain = re.sub(r"\{\{ if match .*? \}\}(.*?)\{\{ else \}\}.*?\{\{ end \}\}", r"\1", link)
        plain = plain.replace("service-{{ $labels.service }}", "service-chat-service")
        found = re.fullmatch(r"/d/([\w-]+)(?:\?(.*))?", plain)
        assert found, link
        assert set(re.findall(r"var-(\w+)=", found[2] or "")) <= DASHBOARDS[found[1]]
        # A text that stands alone is found in others' values, too: 203.0.113.1 in 203.0.113.10.
        text = re.search(r"var-text=([^&]*)", plain)
        assert not text or re.fullmatch(r"\w+|%22\w+%22%3A.+", text[1]), link


def test_every_service_that_a_link_names_has_a_dashboard() -> None:
    [pattern] = {
        name
        for alert in LOG_ALERTS
        for name in re.findall(r'if match "(.*?)" \$labels.service', alert.annotations["dashboard"])
    }
    own = {uid.removeprefix("service-") for uid in DASHBOARDS if uid.startswith("service-")}
    assert own
    assert all(re.search(pattern, service) for service in own)
    assert not re.search(pattern, "search-service")


def test_alerts_ask_for_metrics_that_shipper_has() -> None:
    known = {metric.name for metric in METRICS}
    asked = {name for alert in METRIC_ALERTS for name in re.findall(r"\bshipper_\w+", alert.expr)}
    assert asked
    assert asked <= known


def test_every_alert_on_metrics_is_tested_when_it_fires_and_when_it_does_not() -> None:
    fires: set[tuple[str, str]] = set()
    silent: set[str] = {"Watchdog"}  # it has to fire always
    for case in (
        case for file in METRIC_RULE_TESTS for test in load(file)["tests"] for case in test["promql_expr_test"]
    ):
        for sample in case["exp_samples"]:
            name, severity = (
                re.findall(rf'\b{label}="(\w+)"', sample["labels"])[0] for label in ("alertname", "severity")
            )
            if 'alertstate="firing"' in sample["labels"]:
                fires.add((name, severity))
        if not case["exp_samples"]:
            pattern = re.findall(r'alertname=~?"([^"]+)"', case["expr"])[0]
            silent |= {alert.name for alert in METRIC_ALERTS if re.fullmatch(pattern, alert.name)}
    assert fires == {(alert.name, alert.labels["severity"]) for alert in METRIC_ALERTS}
    assert silent == {alert.name for alert in METRIC_ALERTS}


def test_what_is_silenced_as_a_consequence_exists_and_data_loss_is_never_silenced() -> None:
    names = {alert.name for alert in ALERTS}
    for rule in load(ALERTMANAGER_CONFIG)["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            label, value = re.fullmatch(r'(\w+) =~? "(.*)"', matcher).groups()  # type: ignore[union-attr] # fails if none
            if label == "alertname":
                assert set(value.split("|")) <= names
                if matcher in rule["target_matchers"]:
                    assert not {"ShipperTimeToDataLoss", "ShipperRecordsLost", "Watchdog"} & set(value.split("|"))


def test_no_secret_is_in_the_configuration() -> None:
    assert not re.search(r"(password|token|routing_key|api_url|\burl): ", ALERTMANAGER_CONFIG.read_text())
