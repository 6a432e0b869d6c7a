"""The library for Node, and the gateway that uses it: vitest's tests, with a real Kafka that they may hold up."""

from collections.abc import Callable
from pathlib import Path

import pytest

from building_node import run
from shipper.devstack.kafka import KafkaServer


@pytest.mark.kafka
@pytest.mark.usefixtures("node")
@pytest.mark.timeout(600)
def test_every_test_of_the_library_for_node_passes(server_dir: Callable[[str], Path]) -> None:
    with KafkaServer(server_dir("kafka")) as kafka:
        told = run(
            "node_modules/.bin/vitest",
            "run",
            "--no-color",
            KAFKA_BOOTSTRAP=kafka.bootstrap,
            KAFKA_PID=str(kafka.pid),
        )
    print(told)  # noqa: T201 - `pytest -s` shows what vitest counted
    assert " passed" in told
    assert "skipped" not in told
