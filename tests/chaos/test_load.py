"""The fault table, row "load": twenty times more than Loki takes, and nearly all of it in one partition.

That a slow partition does not hold up the others of its worker is tests/process/test_windows.py.

Seen red on purpose, both in the burst: a bound on what is held that is never reached; a loop that waits for Loki for
eight seconds while it is full, which Kafka throws out of the group.
"""

import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from chaos.load import Load, healthy
from shipper.devstack.generate import generate
from shipper.devstack.kafka import KafkaServer, TopicFactory
from shipper.devstack.loki import LokiServer
from shipping import WAIT_S, Shipping, Written, write

pytestmark = [pytest.mark.slow, pytest.mark.loki]

PARTITIONS = 4
RATE = 500
BURST = 30_000
"""Records of some 350 bytes: a Loki of 1 MB/s has twenty times less than what comes in these seconds."""

MEMORY_BYTES_MAX = 4 * 1024 * 1024
RSS_BYTES_MAX = 300_000_000
SMALL_REQUESTS = ("loki.request_bytes_max=1000000", "loki.limits.line_bytes_max=65536")
"""More than Loki's burst would never be taken."""


@pytest.fixture(scope="module")
def slow_loki(server_dir: Callable[[str], Path]) -> Iterator[LokiServer]:
    """A Loki that takes 1 MB/s, and answers 429 to what is more."""
    limits = {"ingestion_rate_mb": 1, "ingestion_burst_size_mb": 4}
    with LokiServer(server_dir("slow-loki"), limits=limits) as server:
        yield server


@pytest.fixture
def shipping(kafka: KafkaServer, slow_loki: LokiServer, topic: TopicFactory, tmp_path: Path) -> Shipping:
    return Shipping(
        tmp_path,
        bootstrap=kafka.bootstrap,
        loki_url=slow_loki.url,
        topic=topic(PARTITIONS),
        dead_letters=topic(1, {"max.message.bytes": "2097152"}),
        sections="""
            [kafka.client]
            "session.timeout.ms" = 6000
            "max.poll.interval.ms" = 6000
        """,
    )


class Group:
    """The consumer group as Kafka sees it: its state, its members, and what each is assigned."""

    def __init__(self, shipping: Shipping) -> None:
        self._admin = AdminClient({"bootstrap.servers": shipping.bootstrap, "log_level": 0})
        self._name = shipping.label

    def look(self) -> tuple[str, dict[str, int]]:
        group = self._admin.describe_consumer_groups([self._name])[self._name].result(WAIT_S)
        members = {member.member_id: len(member.assignment.topic_partitions) for member in group.members}
        return group.state.name, members

    def is_settled(self) -> bool:
        state, members = self.look()
        return state == "STABLE" and sorted(members.values()) == [2, 2]


def burst(records: int) -> list[bytes]:
    now_ms = time.time_ns() // 1_000_000
    chunks = generate(records, seed=9, first_ms=now_ms - 1_000, last_ms=now_ms, malformed=0.01)
    return [value for chunk in chunks for value in chunk.values]


def test_a_burst_of_twenty_times_what_loki_takes_is_caught_up_within_the_bound_and_without_a_rebalance(
    shipping: Shipping,
) -> None:
    memory = (f"workers.memory_bytes_max={MEMORY_BYTES_MAX}", "kafka.batch_records_max=1000")
    settings = ("kafka.assignment=group", *memory, *SMALL_REQUESTS)
    with shipping.run(*chain.from_iterable(("--set", setting) for setting in settings)) as running:
        # Asked before Kafka has a group at all, the client waits for a coordinator until it gives up.
        running.wait_for(lambda status: len(status["partitions"]) == PARTITIONS)
        group = Group(shipping)
        running.until(lambda: group.is_settled() or None)
        with Load(shipping.bootstrap, shipping.topic, rate=RATE) as load:
            running.wait_for(lambda status: status["totals"]["delivered"] > RATE)
            settled = group.look()
            groups: list[tuple[str, dict[str, int]]] = []
            held: list[float] = []
            rss: list[int] = []
            lags: list[int] = []
            write(shipping.bootstrap, shipping.topic, map(Written, burst(BURST)))

            def has_caught_up(status: dict[str, Any]) -> bool:
                groups.append(group.look())
                held.extend(running.metric("shipper_in_flight_bytes"))
                rss.extend(worker["rss_bytes"] for worker in status["workers"])
                lags.append(sum(partition["lag_records"] or 0 for partition in status["partitions"]))
                return max(lags) > BURST // 2 and lags[-1] < 2 * RATE

            running.wait_for(has_caught_up)
            load.stop()
        status = healthy(running)
        limited = sum(running.metric("shipper_pushes_total", outcome="rate_limited"))

    assert limited > 5, "it must have been too much for Loki for this to show anything"
    assert max(held) < 1.5 * MEMORY_BYTES_MAX
    assert max(rss) < RSS_BYTES_MAX
    assert [one for one in groups if one != settled] == []
    assert sum(worker["restarts"] for worker in status["workers"]) == 0
    shipping.judge()


def test_one_partition_with_nine_records_of_ten_does_not_hold_up_the_others(shipping: Shipping) -> None:
    producer = Producer({"bootstrap.servers": shipping.bootstrap, "linger.ms": 5})
    for row, value in enumerate(burst(BURST)):
        producer.produce(shipping.topic, value, partition=0 if row % 10 else 1 + row // 10 % (PARTITIONS - 1))
        producer.poll(0)
    assert producer.flush(60) == 0

    def are_cold_ones_done(status: dict[str, Any]) -> bool:
        lags = {partition["partition"]: partition["lag_records"] for partition in status["partitions"]}
        return len(lags) == PARTITIONS and not any(lags[cold] for cold in range(1, PARTITIONS))

    with shipping.run(*chain.from_iterable(("--set", setting) for setting in SMALL_REQUESTS)) as running:
        running.wait_for(lambda status: status["totals"]["delivered"])
        status = running.wait_for(are_cold_ones_done)
        healthy(running)
    (hot,) = [partition for partition in status["partitions"] if partition["partition"] == 0]
    assert hot["lag_records"] > BURST // 10
    assert shipping.judge()["shipped"] == BURST
