"""The Kafka that tests of this folder break."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shipper.devstack.kafka import KafkaServer

_SETTINGS = {
    # A member is missed after as little as a second, where the least is six by default.
    "group.min.session.timeout.ms": "1000",
    # Everybody may do everything until a test forbids it.
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
    # What is deleted is gone at once.
    "file.delete.delay.ms": "0",
}


@pytest.fixture(scope="session")
def own_kafka(server_dir: Callable[[str], Path]) -> Iterator[KafkaServer]:
    """A Kafka that a test may end, restart and forbid things on, as long as it leaves it running and open."""
    with KafkaServer(server_dir("own-kafka"), settings=_SETTINGS) as server:
        yield server
