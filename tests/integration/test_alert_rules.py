"""The rules and the configuration, judged by the programs that will read them."""

import json
from pathlib import Path

import pytest

from alerting import (
    ALERTMANAGER_CONFIG,
    METRIC_RULE_TESTS,
    METRIC_RULES,
    ROOT,
    amtool,
    promtool,
)

pytestmark = [pytest.mark.alertmanager, pytest.mark.prometheus]


def test_prometheus_reads_the_rules_and_its_configuration() -> None:
    promtool("check", "rules", *map(str, METRIC_RULES))
    promtool("check", "config", str(ROOT / "prometheus" / "prometheus.yml"))


def test_every_alert_on_metrics_fires_when_it_should_and_resolves() -> None:
    promtool("test", "rules", *map(str, METRIC_RULE_TESTS))


def test_alertmanager_reads_its_configuration_and_templates() -> None:
    amtool("check-config", str(ALERTMANAGER_CONFIG))


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("alertname=Watchdog severity=none team=platform", "dead-mans-switch"),
        ("alertname=WatchdogLogs severity=none team=platform", "dead-mans-switch"),
        ("alertname=HighErrorRate severity=critical team=services service=chat-service", "on-call"),
        ("alertname=LokiDown severity=critical team=platform", "on-call"),
        ("alertname=FailedLogins severity=critical team=security", "security"),
        ("alertname=LatencyDegraded severity=warning team=services", "team"),
        ("alertname=ShipperLagging severity=warning team=platform topic=logs", "team"),
        ("alertname=Unheard", "team"),
    ],
)
def test_an_alert_goes_to_those_who_can_act(labels: str, receiver: str) -> None:
    told = amtool("config", "routes", "test", f"--config.file={ALERTMANAGER_CONFIG}", *labels.split())
    assert told.split() == [receiver]


@pytest.mark.parametrize(
    ("firing", "resolved", "subject"),
    [
        (1, 0, "CRITICAL: 20 failed logins from 203.0.113.0 in five minutes"),
        (3, 0, "CRITICAL: 20 failed logins from 203.0.113.0 in five minutes (and 2 more)"),
        (1, 1, "CRITICAL: 20 failed logins from 203.0.113.0 in five minutes"),
        (0, 2, "RESOLVED: 20 failed logins from 203.0.113.0 in five minutes"),
    ],
)
def test_the_subject_says_what_it_is_and_how_many(firing: int, resolved: int, subject: str, tmp_path: Path) -> None:
    data = tmp_path / "data.json"
    states = ["firing"] * firing + ["resolved"] * resolved
    alerts = [
        {
            "status": state,
            "labels": {"alertname": "FailedLogins", "severity": "critical"},
            "annotations": {"summary": f"20 failed logins from 203.0.113.{number} in five minutes"},
        }
        for number, state in enumerate(states)
    ]
    status = "firing" if firing else "resolved"
    data.write_text(json.dumps({"status": status, "alerts": alerts, "commonLabels": {"severity": "critical"}}))
    told = amtool(
        *("template", "render", "--template.type=text", f"--template.data={data}"),
        f"--template.glob={ALERTMANAGER_CONFIG.parent / 'templates' / '*.tmpl'}",
        '--template.text={{ template "shipper.subject" . }}',
    )
    assert told.strip() == subject
