"""What tests alone use beside the servers of `shipper.devstack.fixtures`."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from shipper.devstack import parts
from shipper.devstack.broker import EmbeddedBroker
from shipper.devstack.kafka import KafkaServer, TopicFactory, make_topic
from shipper.devstack.prometheus import PrometheusServer


@pytest.fixture(scope="session")
def embedded_broker(server_dir: Callable[[str], Path]) -> Iterator[EmbeddedBroker]:
    """The Kafka-compatible broker of the demo, for the whole run; it is always there."""
    with EmbeddedBroker(server_dir("broker")) as server:
        yield server


@pytest.fixture
def prometheus(server_dir: Callable[[str], Path]) -> Iterator[Callable[..., PrometheusServer]]:
    """Starts a real Prometheus: `prometheus(scrape=["127.0.0.1:9600"])`."""
    started: list[PrometheusServer] = []

    def start(*, scrape: Sequence[str], rule_files: Sequence[Path] = ()) -> PrometheusServer:
        server = PrometheusServer(server_dir("prometheus"), scrape=scrape, rule_files=rule_files)
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The browser's program, for playwright's `executable_path`."""
    return parts.locate("chromium")


@pytest.fixture
def topic(kafka: KafkaServer) -> TopicFactory:
    """Makes topics on the real Kafka: `topic(4, {"retention.ms": "-1"})` returns the new topic's name."""
    return partial(make_topic, kafka.bootstrap)
