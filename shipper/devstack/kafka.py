"""Real Apache Kafka: a node that is broker and controller (KRaft), and brokers that join it, quick to be ready."""

import contextlib
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from shipper.devstack.parts import java, locate
from shipper.devstack.server import HOST, Server, ServerFailedError, answers, free_port

_LOG4J = Path(__file__).with_name("recipes") / "kafka" / "log4j2.properties"
_CLUSTER_ID = "c2hpcHBlci1kZXZzdGFjaw"  # 16 bytes in URL-safe base64, as Kafka wants it
_FORMAT_TIMEOUT_S = 60


def has_broker(bootstrap: str) -> bool:
    """Say whether a broker at this address answers a request for metadata within two seconds."""
    # Log level 0 silences librdkafka, which would write every refused connection to the terminal.
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, "socket.timeout.ms": 2000})
    with contextlib.suppress(KafkaException):
        return bool(client.list_topics(timeout=2).brokers)
    return False


def make_topic(bootstrap: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
    """Make a topic whose name nobody else has.

    Args:
        bootstrap: address of the broker.
        partitions: how many.
        config: topic settings, such as `max.message.bytes`.

    Returns: the name.
    Raises: KafkaException when the broker refuses.
    """
    name = f"test-{uuid.uuid4().hex[:12]}"
    new = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
    admin = AdminClient({"bootstrap.servers": bootstrap})  # must outlive the request: without it the answer is an error
    admin.create_topics([new], operation_timeout=20)[name].result(timeout=30)
    return name


class TopicFactory(Protocol):
    """Makes a topic of a name that nobody else has, and returns the name."""

    def __call__(self, partitions: int = 1, config: Mapping[str, str] | None = None) -> str: ...


class KafkaServer(Server):
    """One Kafka node on `bootstrap`; topics are made on purpose only.

    Args:
        data_dir: its folder; a folder that holds a Kafka already is taken up again.
        settings: broker settings that are added to, or win over, the ones here.
        joins: the node whose cluster this one joins, as a broker alone; without, it is the controller of its own.

    Attributes:
        node_id: its number in the cluster.
        voters: who the controller is, as `controller.quorum.voters` names it.
    """

    name = "kafka"

    def __init__(
        self, data_dir: Path, *, settings: Mapping[str, str] | None = None, joins: "KafkaServer | None" = None
    ) -> None:
        super().__init__(data_dir)
        self._port, self._controller_port = free_port(), free_port()
        self._leads = joins is None
        self.node_id: int = joins.node_id + 1 if joins else 1
        self.voters: str = joins.voters if joins else f"{self.node_id}@{HOST}:{self._controller_port}"
        self._settings = dict(settings or {})

    @property
    def bootstrap(self) -> str:
        """The address for `bootstrap.servers`."""
        return f"{HOST}:{self._port}"

    def _properties(self) -> dict[str, str]:
        listeners = f"PLAINTEXT://{HOST}:{self._port}"
        return {
            "process.roles": "broker,controller" if self._leads else "broker",
            "node.id": str(self.node_id),
            "controller.quorum.voters": self.voters,
            "controller.listener.names": "CONTROLLER",
            "listeners": f"{listeners},CONTROLLER://{HOST}:{self._controller_port}" if self._leads else listeners,
            "advertised.listeners": listeners,
            "log.dirs": str(self.data_dir / "data"),
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "1",
            # After a SIGKILL the controller holds the dead broker's place for this long, 9 s by default.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            **self._settings,
        }

    def _command(self) -> Sequence[str]:
        properties = self.data_dir / "server.properties"
        properties.write_text("".join(f"{key}={value}\n" for key, value in self._properties().items()))
        classes = str(locate("kafka") / "lib" / "*")
        if not (self.data_dir / "data" / "meta.properties").exists():
            self._format(classes, properties)
        return [
            str(java()),
            "-Xms128m",
            "-Xmx512m",
            f"-Dlog4j2.configurationFile={_LOG4J.as_uri()}",
            "-cp",
            classes,
            "kafka.Kafka",
            str(properties),
        ]

    def _format(self, classes: str, properties: Path) -> None:
        command = [
            str(java()),
            "-cp",
            classes,
            "kafka.tools.StorageTool",
            "format",
            "-t",
            _CLUSTER_ID,
            "-c",
            str(properties),
        ]
        with self.log.open("ab") as output:
            done = subprocess.run(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=_FORMAT_TIMEOUT_S,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        if done.returncode:
            raise ServerFailedError(
                f"kafka's storage could not be formatted. Its log {self.log} ends with:\n{self.log_tail()}"
            )

    def _is_ready(self) -> bool:
        return answers(self._port) and has_broker(self.bootstrap)
