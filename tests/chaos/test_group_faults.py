"""The group: a static member that bounces within its session moves no partition, and nothing is lost."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from chaos.cluster import change, committed, flows, reasons
from chaos.load import Load, ends
from chaos.stage import PARTITIONS, make_shipping
from shipper.devstack.kafka import KafkaServer
from shipper.devstack.loki import LokiServer
from shipping import Running, Shipping

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.loki]

ALL = set(range(PARTITIONS))


def in_a_group(shipping: Shipping, session_timeout_ms: int) -> Shipping:
    client = f'{{ "session.timeout.ms" = {session_timeout_ms}, "heartbeat.interval.ms" = 300 }}'
    change(shipping, "[kafka]", f'[kafka]\nassignment = "group"\nclient = {client}')
    return shipping


def second(shipping: Shipping) -> Running:
    return shipping.run("--set", "kafka.node_index=1")


def partitions(running: Running) -> set[int]:
    return {partition["partition"] for partition in running.status()["partitions"]}


def share(first: Running, other: Running) -> None:
    """Wait until the group has come to rest: each host reads half of the partitions."""

    def is_shared() -> bool:
        mine, yours = partitions(first), partitions(other)
        return mine | yours == ALL and len(mine) == len(yours) == PARTITIONS // 2

    first.until(lambda: is_shared() or None)
    flows(first, 100)
    flows(other, 100)


def all_healthy(*hosts: Running) -> None:
    """Wait until everything that is written is committed, and no host has anything left to do or to complain of."""
    shipping = hosts[0].shipping

    def is_healthy() -> bool:
        looks = [host.status() for host in hosts]
        return (
            all(status["state"] == "running" and not status["totals"]["in_flight"] for status in looks)
            and all(partition["lag_records"] == 0 for status in looks for partition in status["partitions"])
            and {partition["partition"] for status in looks for partition in status["partitions"]} == ALL
            and not any(map(reasons, hosts))
            and committed(shipping) == ends(shipping)
        )

    hosts[0].until(lambda: is_healthy() or None)


def test_a_worker_that_bounces_within_the_session_moves_no_partition(
    kafka: KafkaServer, loki: LokiServer, tmp_path: Path
) -> None:
    shipping = in_a_group(make_shipping(kafka, loki.url, tmp_path), session_timeout_ms=45_000)
    with shipping.run() as first, second(shipping) as other:
        with Load(kafka.bootstrap, shipping.topic, rate=1_000):
            share(first, other)
            mine, yours = partitions(first), placed(other)
            os.kill(other.workers()[0], signal.SIGKILL)

            def is_back(status: dict[str, Any]) -> bool:
                assert partitions(first) == mine
                return bool(status["workers"][0]["restarts"] == 1 and status["state"] == "running")

            other.wait_for(is_back)
            other.until(lambda: placed(other) == yours or None)
            flows(other, 200)
            assert partitions(first) == mine
        all_healthy(first, other)
        shipping.judge()


def placed(running: Running) -> dict[int, int]:
    return {partition["partition"]: partition["worker"] for partition in running.status()["partitions"]}
