"""Loki takes a part, or less than it is sent: what it takes is shipped, and what it does not take holds up no more."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from fault.pushes import Storing, serving
from fault.server import Answer
from shipper.devstack.kafka import KafkaServer, TopicFactory
from shipping import Shipping

POISONED, OTHERS = 0, (1, 2, 3)
RECORDS = 18_000
"""To a partition: together far more than a worker may hold."""

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def lines(partition: int, first: int, number: int) -> list[str]:
    """Records of the same few streams, whichever their partition."""
    at = time.time_ns() // 1_000_000
    return [
        f'{{"timestamp":{at},"service":"s{one % 5}","level":"info","message":"{"x" * 200} {partition} {one}"}}'
        for one in range(first, first + number)
    ]


def write(shipping: Shipping, partition: int, values: Sequence[str]) -> None:
    producer = Producer({"bootstrap.servers": shipping.bootstrap, "linger.ms": 5, "compression.type": "lz4"})
    for value in values:
        producer.produce(shipping.topic, value, partition=partition)
        producer.poll(0)
    assert producer.flush(60) == 0


def test_a_partition_whose_entries_are_not_taken_does_not_hold_up_the_others(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path
) -> None:
    def caught_up(status: dict[str, Any]) -> bool:
        return all(it["lag_records"] == 0 for it in status["partitions"] if it["partition"] in OTHERS)

    with serving(loki := Storing()) as server:
        shipping = Shipping(
            tmp_path, bootstrap=kafka.bootstrap, loki_url=server.url, topic=topic(4), dead_letters=topic(1)
        )
        text = shipping.config.read_text().replace("count = 2", "count = 1\nmemory_bytes_max = 33554432")
        shipping.config.write_text(text.replace("[loki]", "[loki]\nretry_wait_min_s = 0.01"))
        written = {partition: lines(partition, 0, RECORDS) for partition in range(4)}
        loki.poisonous = set(written[POISONED])
        for partition, values in written.items():
            write(shipping, partition, values)
        with shipping.run() as running:
            running.wait_for(lambda status: len(status["partitions"]) == 4 and caught_up(status))
            for partition in OTHERS:
                more = lines(partition, RECORDS, 500)
                written[partition] += more
                write(shipping, partition, more)
            running.wait_for(lambda _: len(loki.stored) == len(OTHERS) * (RECORDS + 500))
            status = running.wait_for(lambda status: caught_up(status) and status["partitions"][POISONED]["paused"])
            (worker,), (poisoned, *_) = status["workers"], status["partitions"]
            assert (worker["state"], worker["restarts"]) == ("running", 0)
            assert (poisoned["partition"], poisoned["committed"]) == (POISONED, 0)
            assert poisoned["lag_records"] == RECORDS

            loki.poisonous = set()
            running.wait_for(lambda status: all(it["lag_records"] == 0 for it in status["partitions"]))
        assert set(loki.stored) == {line for values in written.values() for line in values}


def test_the_push_limit_falls_while_loki_is_busy_and_rises_again(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path
) -> None:
    with serving(lambda _: Answer(429, "Ingestion rate limit exceeded")) as server:
        shipping = Shipping(
            tmp_path, bootstrap=kafka.bootstrap, loki_url=server.url, topic=topic(4), dead_letters=topic(1)
        )
        write(shipping, 0, lines(0, 0, 2_000))
        with shipping.run() as running:
            assert running.wait_for(lambda status: status["loki"]["state"] == "retrying")["loki"]["push_limit"] <= 8
            running.wait_for(lambda status: status["loki"]["push_limit"] == 2)
            server.script = loki = Storing()
            written = 2_000
            # It grows by one in a second that saw pushes.
            while running.status()["loki"]["push_limit"] < 5:
                write(shipping, 0, lines(0, written, 10))
                written += 10
                time.sleep(0.1)
            running.wait_for(lambda _: len(loki.stored) == written)
