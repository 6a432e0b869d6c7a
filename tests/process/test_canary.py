"""The canary alone: what keeps it from being written or seen is said, and nothing waits for it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shipper.devstack.broker import EmbeddedBroker
from shipper.devstack.kafka import make_topic
from shipper.devstack.server import free_port
from shipper.devstack.standin import LokiStandIn
from shipper.process.backoff import Backoff
from shipper.process.canary import Canary, CanaryReport
from shipper.process.canary_process import CanaryProcess
from shipper.settings import Canary as Every
from shipper.settings import Filter, Kafka, Loki, Settings

WAIT_S = 30.0
NS = 10**9


@pytest.fixture(scope="module")
def stand_in(server_dir: Callable[[str], Path]) -> Iterator[LokiStandIn]:
    with LokiStandIn(server_dir("canary-loki")) as server:
        yield server


def settings(broker: EmbeddedBroker, loki_url: str, *filters: Filter, topic: str = "") -> Settings:
    topic = topic or make_topic(broker.bootstrap, 2)
    return Settings(
        kafka=Kafka(bootstrap_servers=[broker.bootstrap], topics=[topic]),
        loki=Loki(url=loki_url, timeout_s=5.0),
        filters=list(filters),
        canary=Every(every_s=0.1),
    )


def turn_until(bird: CanaryProcess, reached: Callable[[CanaryReport], object]) -> CanaryReport:
    deadline = time.monotonic() + WAIT_S
    while True:
        bird.turn(time.time())
        bird.wait(0.05)
        report = bird.report()
        if report and reached(report):
            return report
        assert time.monotonic() < deadline, report


def test_a_canary_that_a_rule_leaves_out_is_said_and_not_waited_for(
    embedded_broker: EmbeddedBroker, stand_in: LokiStandIn, capfd: pytest.CaptureFixture[str]
) -> None:
    rule = Filter(name="own affairs", field="service", any_of=["shipper-canary"])
    bird = CanaryProcess(settings(embedded_broker, stand_in.url, rule))
    report = turn_until(bird, lambda report: report.written >= 12 and report.error)
    bird._sightings._every_s = float("inf")  # no new ones
    turn_until(bird, lambda _: bird._sightings.oldest_out_s is None)
    assert "left out by the configuration's own rules: own affairs" in report.error
    assert (report.seen, report.latency_s) == (0, None)
    assert capfd.readouterr().err.count("own affairs") == 1, "once, not for each"


def test_a_canary_that_nobody_ships_is_not_seen_and_freshness_stands_still(
    embedded_broker: EmbeddedBroker, stand_in: LokiStandIn
) -> None:
    bird = CanaryProcess(settings(embedded_broker, stand_in.url))
    first = turn_until(bird, lambda report: report.written >= 2)
    later = turn_until(bird, lambda report: report.written >= 6)
    assert (later.seen, later.error) == (0, "")
    assert later.seen_ms == first.seen_ms
    assert later.freshness_s(later.seen_ms + 5_000) == 5.0


def test_loki_away_is_said(embedded_broker: EmbeddedBroker) -> None:
    bird = CanaryProcess(settings(embedded_broker, f"http://127.0.0.1:{free_port()}"))
    report = turn_until(bird, lambda report: report.error)
    assert "the canary cannot be read back: Loki at" in report.error


def test_a_canary_that_dies_is_started_again_later(
    embedded_broker: EmbeddedBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    canary = Canary("process.fake_workers:dying_canary", lambda: Backoff(first_s=0.01, max_s=0.01))
    canary.adopt(settings(embedded_broker, "http://127.0.0.1:1"), time.monotonic_ns())
    deadline = time.monotonic() + WAIT_S
    said = ""
    while said.count("the canary ended with exit code 7") < 2:
        canary.turn(time.monotonic_ns())
        said += capfd.readouterr().err
        assert time.monotonic() < deadline, said
        time.sleep(0.01)
    assert canary.report == CanaryReport("logs", 1, 5, None, 1, 0, ""), (
        "what the last one said stays until the next says more"
    )
    canary.cancel()
    canary.turn(time.monotonic_ns() + 60 * NS)
    assert canary.sentinels == []
