"""Dead letters that a test writes itself, and `shipper dlq` in this process."""

import json
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from rich.console import Console

from messages import StoredMessage
from shipper.cli import dlq, redrive
from shipper.kafka.dlq import dead_letter_headers
from shipper.records import Reason, Rejected
from shipper.settings import DeadLetter, Kafka, Settings

WAIT_S = 60.0


def settings_for(bootstrap: str, topic: str, letters: str) -> Settings:
    kafka = Kafka(bootstrap_servers=[bootstrap], topics=[topic], group_id=f"group-{topic}")
    return Settings(kafka=kafka, dead_letter=DeadLetter(topic=letters))


def bury(
    settings: Settings, records: Iterable[StoredMessage], reason: Reason = Reason.LINE_TOO_LONG, partition: int = -1
) -> None:
    """Write a letter for each record, as a worker does; returns when all are confirmed."""
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers[0], "message.max.bytes": 10_000_000})
    for record in records:
        rejected = Rejected(0, reason, f"why {reason.value}")
        headers = [*(record.headers() or ()), *dead_letter_headers(record, rejected)]
        producer.produce(
            settings.dead_letter.topic, record.value(), record.key(), headers=[*headers], partition=partition
        )
        producer.poll(0)
    assert producer.flush(WAIT_S) == 0


def commit(settings: Settings, positions: dict[int, int]) -> None:
    """Commit for the group of the settings, as a shipper does that has come so far."""
    server, topic = settings.kafka.bootstrap_servers[0], settings.kafka.topics[0]
    consumer = Consumer({"bootstrap.servers": server, "group.id": settings.kafka.group_id})
    offsets = [TopicPartition(topic, partition, offset) for partition, offset in positions.items()]
    consumer.commit(offsets=offsets, asynchronous=False)
    consumer.close()


def listed(settings: Settings, *, everything: bool = False, limit: int | None = None, **filters: Any) -> list[Any]:  # noqa: ANN401 - filters of several types
    """Return what `shipper dlq list --format json` prints, an object per letter."""
    output = StringIO()
    wanted = dlq.wanted(**filters)
    console = Console(file=output, highlight=False)
    code = dlq.list_letters(settings, wanted, limit=limit, everything=everything, as_json=True, console=console)
    assert code == 0
    return [json.loads(line) for line in output.getvalue().splitlines()]


def redriven(settings: Settings, *, limit: int | None = None, dry_run: bool = False, **filters: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
    """Return what `shipper dlq redrive --yes --format json` prints, with its exit code."""
    output = StringIO()
    code = redrive.redrive(
        settings,
        dlq.wanted(**filters),
        limit=limit,
        dry_run=dry_run,
        yes=True,
        as_json=True,
        console=Console(file=output, highlight=False),
    )
    return {**json.loads(output.getvalue()), "code": code}


def offsets(letters: Sequence[Any]) -> list[tuple[int, int]]:
    """Return where the records of listed letters were."""
    return sorted((it["partition"], it["offset"]) for it in letters)
