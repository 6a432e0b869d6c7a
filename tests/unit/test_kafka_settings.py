"""What users set in [kafka.client], and what librdkafka makes of it: no server is asked."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from rich.console import Console

from shipper.cli import check
from shipper.errors import ConfigError
from shipper.kafka.consumer import consumer_settings
from shipper.kafka.dlq import producer_settings
from shipper.kafka.trial import try_settings
from shipper.process.survey import survey
from shipper.settings import Kafka, Settings

QUEUE_BYTES = 8 * 1024 * 1024


def settings_with(client: dict[str, Any]) -> Settings:
    return Settings(kafka=Kafka(bootstrap_servers=["127.0.0.1:1"], client=client))


@pytest.mark.parametrize(
    "client",
    [
        {"max.in.flight": 6},
        {"max.in.flight.requests.per.connection": 1_000},
        {"retries": 0},
        {"message.send.max.retries": 0},
        {"queuing.strategy": "lifo"},
        {"acks": 1, "request.required.acks": 0},
        {"request.required.acks": 0, "acks": 1},
        {"enable.idempotence": False, "message.timeout.ms": 5, "linger.ms": 500},
        {"delivery.timeout.ms": 5, "linger.ms": 500},
        {"message.max.bytes": 2_000_000},
        {"fetch.max.bytes": 500_000},
        {"fetch.max.bytes": 200_000_000},
        {"message.max.bytes": 2_000_000, "fetch.max.bytes": 1_000_000},
        {"message.max.bytes": 200_000_000},
    ],
)
def test_what_contradicts_our_own_settings_is_set_right(client: dict[str, Any]) -> None:
    try_settings(settings_with(client))


@pytest.mark.parametrize(
    ("client", "said"),
    [
        ({"session.timeout.ms": 600_000}, "`session.timeout.ms`"),
        ({"receive.message.max.bytes": 2_000_000, "fetch.max.bytes": 50_000_000}, "`fetch.max.bytes`"),
    ],
)
def test_a_setting_that_no_worker_can_start_with_is_said_before_kafka_is_asked(
    client: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=rf"\[kafka.client\].*{said}"):
        survey(settings_with(client))
    overrides = [f"kafka.client.{key}={value}" for key, value in client.items()]
    output = StringIO()
    assert check.run(Path("/dev/null"), overrides, offline=True, console=Console(file=output)) == ConfigError.exit_code
    assert said in output.getvalue()


@pytest.mark.parametrize(
    ("key", "value"), [("delivery.report.only.error", False), ("transactional.id", None), ("acks", "all")]
)
def test_letters_are_confirmed_whatever_a_user_sets(key: str, value: object) -> None:
    client = {"delivery.report.only.error": True, "transactional.id": "mine", "acks": 0}
    settings = producer_settings(settings_with(client))
    assert settings[key] == value
    Producer(settings)


@pytest.mark.parametrize("key", ["fetch.max.bytes", "receive.message.max.bytes"])
def test_a_larger_fetch_than_ours_is_kept(key: str) -> None:
    settings = consumer_settings(
        Kafka(client={"fetch.max.bytes": 200_000_000, "receive.message.max.bytes": 300_000_000}),
        worker=0,
        queue_bytes_max=QUEUE_BYTES,
    )
    assert int(str(settings[key])) == {"fetch.max.bytes": 200_000_000, "receive.message.max.bytes": 300_000_000}[key]
    Consumer(settings).close()


def test_what_a_transaction_took_back_is_never_read_whatever_a_user_sets() -> None:
    kafka = Kafka(client={"isolation.level": "read_uncommitted"})
    assert consumer_settings(kafka, worker=0, queue_bytes_max=QUEUE_BYTES)["isolation.level"] == "read_committed"
