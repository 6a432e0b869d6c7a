"""What is in a topic, and waiting until something holds."""

import json
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, TopicPartition

WAIT_S = 60.0


def read(bootstrap: str, topic: str) -> list[dict[str, Any]]:
    """The records of the topic's only partition, in order."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test", "enable.auto.commit": False})
    try:
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)
        consumer.assign([TopicPartition(topic, 0, 0)])
        records: list[dict[str, Any]] = []
        until_s = time.monotonic() + WAIT_S
        while len(records) < end and time.monotonic() < until_s:
            for message in consumer.consume(10_000, timeout=1):
                assert message.error() is None, message.error()
                assert message.key() == b"chat-service"
                records.append(json.loads(message.value() or b""))
        return records
    finally:
        consumer.close()


def numbers(records: list[dict[str, Any]]) -> list[int]:
    """The field `n` of each record."""
    return [record["metadata"]["n"] for record in records]


def wait_for(condition: Callable[[], bool], what: str, within_s: float = WAIT_S) -> None:
    """Wait until a condition holds."""
    until_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until_s, f"not within {within_s} s: {what}"
        time.sleep(0.02)
