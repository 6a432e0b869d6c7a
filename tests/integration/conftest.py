"""What several integration tests share beside the real servers."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import building_node
from shipper.devstack import parts
from shipper.devstack.kafka import KafkaServer
from shipper.devstack.server import HOST, free_port


@pytest.fixture(scope="session")
def guarded(server_dir: Callable[[str], Path]) -> Iterator[tuple[KafkaServer, str]]:
    """A Kafka with a second listener that wants a login, and with access rules; and that listener's address."""
    server = KafkaServer(server_dir("guarded"))
    address = f"{HOST}:{free_port()}"
    open_listener, controller = f"PLAINTEXT://{server.bootstrap}", f"CONTROLLER://{HOST}:{server._controller_port}"
    server._settings |= {
        "listeners": f"{open_listener},SASL_PLAINTEXT://{address},{controller}",
        "advertised.listeners": f"{open_listener},SASL_PLAINTEXT://{address}",
        "listener.security.protocol.map": ("PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT"),
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": (
            "org.apache.kafka.common.security.plain.PlainLoginModule required "
            'username="broker" password="broker" user_alice="geheim";'
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    with server:
        yield server, address


@pytest.fixture(scope="session")
def node() -> Path:
    """The program, with everything installed from package-lock.json and built."""
    program = parts.locate("node")
    building_node.build()
    return program
