"""The Kafka that tests of this folder break."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chaos.cluster import SETTINGS
from shipper.devstack.kafka import KafkaServer


@pytest.fixture(scope="session")
def own_kafka(server_dir: Callable[[str], Path]) -> Iterator[KafkaServer]:
    """A Kafka that a test may end, restart and forbid things on, as long as it leaves it running and open."""
    with KafkaServer(server_dir("own-kafka"), settings=SETTINGS) as server:
        yield server
