"""The Lokis that the contract is asked of."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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
def strict_url(request: pytest.FixtureRequest, server_dir: Callable[[str], Path]) -> Iterator[str]:
    kind = LokiServer if request.param == "loki" else LokiStandIn
    with kind(server_dir("strict"), limits=_STRICT, auth_enabled=True) as server:
        yield server.url


@pytest.fixture
def strict(strict_url: str) -> Target:
    """A Loki with tight rates, as a tenant of its own, so that nobody else uses the rates up."""
    return Target(strict_url, tenant=uuid.uuid4().hex)
