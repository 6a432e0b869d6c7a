"""The rules and the configuration, judged by the programs that will read them."""

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
