"""The brokers and the Lokis that the contracts are asked of, and members of a test's own group."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kafka_member import Broker, Join, Member
from loki_target import Target
from shipper.devstack.loki import LokiServer
from shipper.devstack.standin import LokiStandIn

_BOTH = ["stand-in", pytest.param("loki", marks=pytest.mark.loki)]
_STRICT = {
    "ingestion_rate_mb": 0.001,
    "ingestion_burst_size_mb": 1,
    "per_stream_rate_limit": "100KB",
    "per_stream_rate_limit_burst": "300KB",
    "max_global_streams_per_user": 3,
}


@pytest.fixture(scope="session", params=_BOTH)
def loki_url(request: pytest.FixtureRequest, server_dir: Callable[[str], Path]) -> Iterator[str]:
    if request.param == "loki":
        yield request.getfixturevalue("loki").url
        return
    with LokiStandIn(server_dir("stand-in")) as server:
        yield server.url


@pytest.fixture
def target(loki_url: str) -> Target:
    return Target(loki_url)


@pytest.fixture(scope="session", params=_BOTH)
def untuned_url(request: pytest.FixtureRequest, server_dir: Callable[[str], Path]) -> Iterator[str]:
    folder = server_dir("untuned")
    wide = {"ingestion_rate_mb": 64, "ingestion_burst_size_mb": 64}
    real = request.param == "loki"
    with LokiServer(folder, as_it_comes=True, limits=wide) if real else LokiStandIn(folder) as server:
        yield server.url


@pytest.fixture
def untuned(untuned_url: str) -> Target:
    """A Loki with its own defaults, but for the tenant's rate."""
    return Target(untuned_url)


@pytest.fixture(scope="session", params=_BOTH)
def strict_url(request: pytest.FixtureRequest, server_dir: Callable[[str], Path]) -> Iterator[str]:
    kind = LokiServer if request.param == "loki" else LokiStandIn
    with kind(server_dir("strict"), limits=_STRICT, auth_enabled=True) as server:
        yield server.url


@pytest.fixture
def strict(strict_url: str) -> Target:
    """A Loki with tight rates, as a tenant of its own, so that nobody else uses the rates up."""
    return Target(strict_url, tenant=uuid.uuid4().hex)


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> Broker:
    server: Broker = request.getfixturevalue("kafka" if request.param == "kafka" else "embedded_broker")
    return server


@pytest.fixture
def group_id() -> str:
    return f"group-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def join(broker: Broker, group_id: str) -> Iterator[Join]:
    """Opens a member of the test's own group; closed at the end unless the test did it."""
    members: list[Member] = []

    def open_member(*topics: str, **more: Any) -> Member:  # noqa: ANN401 - as above
        member = Member(broker.bootstrap, topics, group_id, **more)
        members.append(member)
        member.source.open()
        return member

    yield open_member
    for member in members:
        member.leave()
