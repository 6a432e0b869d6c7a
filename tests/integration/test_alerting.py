"""Alerts on their whole way: a record in Kafka, Loki's ruler, Alertmanager, and a message to people; then resolved."""

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from alerting import LOG_ALERTS, LOG_RULES, METRIC_ALERTS, METRIC_RULES, quick_alertmanager, quick_rules
from deployed import ROOT, DeployedLoki
from examples.chat import USER
from examples.chat.stack import Service
from message_sinks import PASSWORD, HttpSink, MailSink, until
from shipper.devstack.alertmanager import AlertmanagerServer
from shipper.devstack.kafka import KafkaServer, TopicFactory
from shipper.devstack.prometheus import PrometheusServer
from shipper.devstack.server import free_port
from shipping import Shipping

pytestmark = [pytest.mark.alertmanager, pytest.mark.loki, pytest.mark.prometheus]


@pytest.fixture
def mail() -> Iterator[MailSink]:
    with MailSink() as sink:
        yield sink


@pytest.fixture
def http() -> Iterator[HttpSink]:
    with HttpSink() as sink:
        yield sink


@pytest.fixture
def alertmanager(server_dir: Callable[[str], Path], mail: MailSink, http: HttpSink) -> Iterator[AlertmanagerServer]:
    folder = server_dir("alertmanager")
    config = quick_alertmanager(folder / "secrets", mail_port=mail.port, http_url=http.url, password=PASSWORD)
    with AlertmanagerServer(folder, config) as server:
        yield server


@pytest.fixture
def ruling_loki(server_dir: Callable[[str], Path], alertmanager: AlertmanagerServer) -> Iterator[DeployedLoki]:
    folder = server_dir("loki")
    quick_rules(LOG_RULES, folder / "rules" / "fake")
    ruler = {
        "alertmanager_url": alertmanager.url,
        "evaluation_interval": "1s",
        "poll_interval": "1s",
        "resend_delay": "5s",
    }
    with DeployedLoki(folder, ROOT / "loki" / "development.yaml", {"ruler": ruler}) as server:
        yield server


def test_errors_of_a_service_become_a_mail_and_a_message_in_slack_and_then_the_news_that_it_is_over(
    kafka: KafkaServer,
    topic: TopicFactory,
    tmp_path: Path,
    server_dir: Callable[[str], Path],
    ruling_loki: DeployedLoki,
    mail: MailSink,
    http: HttpSink,
) -> None:
    shipping = Shipping(
        tmp_path, bootstrap=kafka.bootstrap, loki_url=ruling_loki.url, topic=topic(2), dead_letters=topic(1)
    )
    env = {
        "CHAT_FAULTS": "1",
        "PYTHONPATH": str(ROOT),
        "SERVICELOG_KAFKA": kafka.bootstrap,
        "SERVICELOG_TOPIC": shipping.topic,
    }
    service = Service(server_dir("service"), USER, free_port(), env)
    over = threading.Event()
    times = {}

    def fail() -> None:
        """Ask what it answers with 503, and what it answers as it should (there is no such user), in turn."""
        while not over.is_set():
            for faults in ({"X-Fault": "user:unavailable"}, {}):
                requests.get(f"{service.url}/v1/users/usr_0", headers=faults, timeout=10)
            over.wait(0.1)

    def mails(beginning: str) -> list[str]:
        return [it["Subject"] for it in mail.mails if str(it["Subject"]).startswith(beginning)]

    def slack(status: str) -> list[dict[str, str]]:
        posted = [attachment for body in http.of("/slack") for attachment in body["attachments"]]
        return [it for it in posted if it["title"].startswith(status) and "requests" in it["title"]]

    def told() -> object:
        return mail.mails, http.posted, ruling_loki.log_tail()

    with service, shipping.run() as running:
        running.wait_for(lambda status: status["state"] == "running")
        writer = threading.Thread(target=fail)
        begun = time.monotonic()
        writer.start()
        try:
            until(lambda: mails("CRITICAL: user-service fails"), told)
            times["mail"] = time.monotonic() - begun
            until(lambda: slack("CRITICAL"), told)
            times["slack"] = time.monotonic() - begun
        finally:
            over.set()
            writer.join()
        ended = time.monotonic()
        until(lambda: mails("RESOLVED: user-service fails"), told)
        times["mail, resolved"] = time.monotonic() - ended
        until(lambda: slack("RESOLVED"), told)
        times["slack, resolved"] = time.monotonic() - ended
    # docs/alerts.md has them: pytest --log-cli-level=INFO
    logging.getLogger(__name__).info("seconds after the first error, and after the last one: %s", times)

    message = slack("CRITICAL")[0]
    assert re.fullmatch(r"CRITICAL: user-service fails \d\d(\.\d+)?% of its requests", message["title"])
    assert message["title_link"].endswith("/d/service-user-service?from=now-1h&to=now")
    assert "*First:* Open the dashboard" in message["text"]
    assert "/runbooks/high-error-rate.md|Runbook>" in message["text"]
    assert (message["color"], slack("RESOLVED")[0]["color"]) == ("danger", "good")
    letter = next(it for it in mail.mails if str(it["Subject"]).startswith("CRITICAL: user-service"))
    for kind in ("plain", "html"):
        body = letter.get_body((kind,))
        assert body is not None
        assert "First:" in body.get_content()
        assert "/d/explorer?var-service=user-service&" in body.get_content().replace("&amp;", "&")
    assert [it["event_action"] for it in http.of("/pagerduty")][:1] == ["trigger"]
    assert {it["status"] for it in http.of("/webhook")} == {"firing", "resolved"}
    until(lambda: [it for it in http.of("/dead-mans-switch") if "WatchdogLogs" in json.dumps(it)], told)


def test_prometheus_knows_every_metric_that_alerts_ask_for_and_the_dead_mans_switch_hears_of_it(
    server_dir: Callable[[str], Path],
    alertmanager: AlertmanagerServer,
    ruling_loki: DeployedLoki,
    http: HttpSink,
    mail: MailSink,
) -> None:
    # One entry that Loki refuses: some counters are there only when they have counted.
    old = {"streams": [{"stream": {"service": "x"}, "values": [[str(time.time_ns() - 30 * 86_400 * 10**9), "old"]]}]}
    assert (
        requests.post(f"{ruling_loki.url}/loki/api/v1/push", json=old, timeout=10).status_code
        == requests.codes.bad_request
    )
    places = {"loki": ruling_loki.url, "alertmanager": alertmanager.url}
    addresses = {job: url.removeprefix("http://") for job, url in places.items()}
    folder = server_dir("prometheus")
    rules = quick_rules(METRIC_RULES, folder / "rules")
    with PrometheusServer(
        folder, scrape=[], others=addresses, rule_files=rules, alertmanager=addresses["alertmanager"]
    ) as prometheus:
        of_others = r"\b(?:loki|alertmanager|prometheus)_\w+"
        asked = {name for alert in METRIC_ALERTS for name in re.findall(of_others, alert.expr)}
        assert asked
        exposed = set()
        for url in (*places.values(), prometheus.url):
            exposed |= set(re.findall(r"^# TYPE (\w+)", requests.get(f"{url}/metrics", timeout=10).text, re.MULTILINE))
        assert asked <= exposed
        until(
            lambda: [it for it in http.of("/dead-mans-switch") if '"Watchdog"' in json.dumps(it)], prometheus.log_tail
        )

        # Loki's rules were all taken.
        groups = requests.get(f"{ruling_loki.url}/prometheus/api/v1/rules", timeout=10).json()["data"]["groups"]
        taken = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
        assert taken.keys() == {alert.name for alert in LOG_ALERTS}
        assert "err" not in taken.values()

        # And when Loki is gone, Prometheus says so.
        ruling_loki.kill()
        until(lambda: [it for it in mail.mails if it["Subject"] == "CRITICAL: No Loki answers"], prometheus.log_tail)


def test_what_follows_from_another_alert_is_silenced_and_data_loss_is_not(alertmanager: AlertmanagerServer) -> None:
    def fire(*named: tuple[str, dict[str, str]]) -> None:
        alerts = [{"labels": {"alertname": name, **labels}} for name, labels in named]
        requests.post(f"{alertmanager.url}/api/v2/alerts", json=alerts, timeout=10).raise_for_status()

    def active() -> set[str]:
        found = requests.get(f"{alertmanager.url}/api/v2/alerts", timeout=10).json()
        assert len(found) == 7
        return {it["labels"]["alertname"] for it in found if it["status"]["state"] == "active"}

    loss = {"severity": "warning", "topic": "logs", "partition": "3"}
    fire(
        ("LokiDown", {"severity": "critical"}),
        ("ShipperLagging", {"severity": "warning", "topic": "logs"}),
        ("ShipperNotFresh", {"severity": "critical"}),
        ("SilentService", {"severity": "critical", "service": "chat-service"}),
        ("ShipperTimeToDataLoss", loss),
        ("HighErrorRate", {"severity": "critical", "service": "chat-service"}),
        ("ErrorsLogged", {"severity": "warning", "service": "user-service"}),
    )
    lasting = {"LokiDown", "ShipperTimeToDataLoss", "HighErrorRate", "ErrorsLogged"}
    until(lambda: active() == lasting, active)
