"""The group: hosts that join and leave, bounce, sleep and wake, with pushes in flight.

Broken on purpose, and seen red: a partition that is revoked is committed up to what was taken.
"""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from chaos.cluster import change, committed, flows, reasons
from chaos.load import Load, ends
from chaos.proxy import REFUSE, TcpProxy
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
    """Wait until the group has come to rest: each of the four workers reads one of the four partitions."""

    def is_shared() -> bool:
        mine, yours = placed(first), placed(other)
        return mine.keys() | yours.keys() == ALL and sorted(mine.values()) == sorted(yours.values()) == [0, 1]

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


def test_a_host_joins_and_leaves_with_pushes_in_flight_and_a_zombie_wakes_up_too_late(
    own_kafka: KafkaServer, loki: LokiServer, tmp_path: Path
) -> None:
    with TcpProxy(loki.url.removeprefix("http://")) as proxy:
        shipping = in_a_group(make_shipping(own_kafka, proxy.url, tmp_path), session_timeout_ms=6_000)
        with shipping.run() as first:
            with Load(own_kafka.bootstrap, shipping.topic, rate=1_000):
                flows(first)
                with second(shipping) as other:
                    join_with_pushes_in_flight(first, proxy)
                    share(first, other)
                    sleep_and_wake(other, first)
                    share(first, other)
                    other.process.send_signal(signal.SIGTERM)
                    assert other.exit_code() == 0
                first.until(lambda: partitions(first) == ALL or None)
                flows(first)
            all_healthy(first)
            shipping.judge()


def join_with_pushes_in_flight(first: Running, proxy: TcpProxy) -> None:
    """Let partitions move while Loki takes nothing; then kill who gave them up: what it had taken only Kafka has."""
    with proxy.during(REFUSE):
        first.wait_for(lambda status: status["totals"]["in_flight"] > 500)
        first.until(lambda: len(partitions(first)) < PARTITIONS or None)
        for pid in first.workers():
            os.kill(pid, signal.SIGKILL)
        first.wait_for(lambda status: all(worker["restarts"] for worker in status["workers"]))


def sleep_and_wake(sleeper: Running, awake: Running) -> None:
    """Stop a host until its partitions are the other's, then wake it: nothing that it commits may count."""
    workers = sleeper.workers()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    awake.until(lambda: partitions(awake) == ALL or None)
    flows(awake, 1_000)
    before = committed(awake.shipping)
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    flows(awake, 500)
    after = committed(awake.shipping)
    assert all(after[number] >= offset for number, offset in before.items())


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
