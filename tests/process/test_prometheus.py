"""A real Prometheus reads a real shipper: the numbers are the status's, and counters never go down."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from shipper.devstack.generate import generate
from shipper.devstack.kafka import KafkaServer, TopicFactory
from shipper.devstack.loki import LokiServer
from shipper.devstack.prometheus import PrometheusServer
from shipping import Shipping, Written, write

RECORDS = 60_000
PARTITIONS = 2

pytestmark = pytest.mark.slow


def records() -> Iterator[Written]:
    now_ms = time.time_ns() // 1_000_000
    for chunk in generate(RECORDS, seed=5, first_ms=now_ms - 60_000, last_ms=now_ms, malformed=0.01, poisonous=3):
        yield from map(Written, chunk.values)


def ask(prometheus: PrometheusServer, query: str) -> dict[str, float]:
    """Ask for an instant vector: the value of the label `by`, or "", → number."""
    answer = requests.get(f"{prometheus.url}/api/v1/query", params={"query": query}, timeout=10).json()
    assert answer["status"] == "success", answer
    return {next(iter(found["metric"].values()), ""): float(found["value"][1]) for found in answer["data"]["result"]}


def test_prometheus_sees_what_the_status_says_also_over_a_restart(
    kafka: KafkaServer,
    loki: LokiServer,
    topic: TopicFactory,
    prometheus: Callable[..., PrometheusServer],
    tmp_path: Path,
) -> None:
    shipping = Shipping(
        tmp_path,
        bootstrap=kafka.bootstrap,
        loki_url=loki.url,
        topic=topic(PARTITIONS),
        dead_letters=topic(1, {"max.message.bytes": "2097152"}),
    )
    with shipping.run() as running:
        server = prometheus(scrape=[running.url.removeprefix("http://")])
        write(shipping.bootstrap, shipping.topic, records())
        running.wait_for(lambda status: status["totals"]["delivered"] > RECORDS // 4)
        os.kill(running.workers()[0], signal.SIGKILL)
        # The ends count too: a lag may be 0 while what was written last has not been seen yet.
        status = running.wait_for(
            lambda status: (
                status["state"] == "running"
                and sum(worker["restarts"] for worker in status["workers"]) == 1
                and sum(partition["high_watermark"] or 0 for partition in status["partitions"]) == RECORDS
                and sum(partition["lag_records"] or 0 for partition in status["partitions"]) == 0
            )
        )
        settled = {
            "sum(shipper_records_delivered_total)": status["totals"]["delivered"],
            "sum(shipper_records_dead_lettered_total)": status["totals"]["dead_lettered"],
            "sum(shipper_partition_lag_records)": 0,
            "sum(shipper_worker_restarts_total)": 1,
        }
        running.until(lambda: all(ask(server, query) == {"": value} for query, value in settled.items()) or None)

        names = requests.get(f"{server.url}/api/v1/label/__name__/values", timeout=10).json()["data"]
        counters = [name for name in names if name.startswith("shipper_") and name.endswith("_total")]
        assert len(counters) > 10
        went_down = [name for name in counters if ask(server, f"sum(resets({name}[5m]))") != {"": 0}]
        assert not went_down
