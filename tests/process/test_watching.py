"""What shipper says of itself between a real Kafka and a real Loki: canaries, and data that will be lost."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import requests

from shipper.devstack.kafka import KafkaServer, TopicFactory
from shipper.devstack.loki import LokiServer
from shipping import Shipping, Written, write

PARTITIONS = 3
HOUR_S = 3_600

pytestmark = pytest.mark.slow


def is_fresh(status: dict[str, Any]) -> bool:
    """Whether every partition's canary was seen, the newest of them moments ago."""
    canary = status["canary"]
    return bool(canary and canary["seen"] >= 2 * PARTITIONS and canary["freshness_s"] < 5 and not canary["last_error"])


def in_danger(status: dict[str, Any]) -> list[float]:
    found = [partition["time_to_data_loss_s"] for partition in status["partitions"]]
    return [in_s for in_s in found if in_s is not None]


def test_a_canary_and_the_time_to_data_loss_tell_of_a_loki_that_hangs_and_of_its_recovery(
    kafka: KafkaServer, loki: LokiServer, topic: TopicFactory, tmp_path: Path
) -> None:
    shipping = Shipping(
        tmp_path,
        bootstrap=kafka.bootstrap,
        loki_url=loki.url,
        topic=topic(PARTITIONS, {"retention.ms": str(HOUR_S * 1_000)}),
        dead_letters=topic(1),
        sections="[canary]\nevery_s = 1",
    )
    shipping.config.write_text(shipping.config.read_text().replace("[loki]", "[loki]\ntimeout_s = 2"))
    with shipping.run() as running:
        running.wait_for(is_fresh)
        os.kill(loki.pid, signal.SIGSTOP)
        try:
            line = b'{"service":"a","level":"info","message":"%d"}'
            write(kafka.bootstrap, shipping.topic, (Written(line % number) for number in range(3_000)))
            stale = running.wait_for(lambda status: status["canary"]["freshness_s"] > 5 and in_danger(status))
            # By Kafka's retention: Loki takes entries of a week.
            assert all(HOUR_S / 2 < in_s <= HOUR_S for in_s in in_danger(stale))
            running.wait_for(lambda status: "cannot be read back" in (status["canary"]["last_error"] or ""))
        finally:
            os.kill(loki.pid, signal.SIGCONT)
        running.wait_for(is_fresh)
        running.wait_for(lambda status: not in_danger(status))
        metrics = requests.get(f"{running.url}/metrics", timeout=10).text
        assert "\nshipper_canary_freshness_seconds " in metrics
        assert "\nshipper_canary_latency_seconds " in metrics
        assert [worker["restarts"] for worker in running.status()["workers"]] == [0, 0]
        running.process.send_signal(signal.SIGTERM)
        assert running.exit_code() == 0
    assert shipping.judge()["shipped"] > 3_000, "canaries are records like all others"
    assert {entry.labels["service"] for entry in shipping.stored()} == {"a", "shipper-canary"}
