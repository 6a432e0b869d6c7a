"""The two brokers that the contract tests of the Kafka side run against, and members of a test's own group."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from kafka_member import Broker, Join, Member


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
