"""What tests alone use beside the servers of `shipper.devstack.fixtures`."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from shipper.devstack import parts
from shipper.devstack.broker import EmbeddedBroker
from shipper.devstack.kafka import KafkaServer, TopicFactory, make_topic
from shipper.devstack.prometheus import PrometheusServer

# How hard hypothesis tries: quickly by default, and with `HYPOTHESIS_PROFILE=thorough` for minutes. By default it tries
# the same examples in every run, so that a run fails because of what was changed, not by chance or by load.
settings.register_profile(
    "quick", max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "thorough", settings.get_profile("quick"), max_examples=1_000, derandomize=False, print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


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
