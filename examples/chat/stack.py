"""Starts the five services as processes of this machine, on free ports, and ends them.

    with Stack(folder, bootstrap=kafka.bootstrap, servicelog={"level": "debug"}) as stack:
        report = traffic.run(stack.gateway_url, requests=200)
        stack.counted("chat-service")  # what the library says of itself

They log to the topic `log_topic` of the same Kafka; shipping it is somebody else's affair. They die with the thread
that started them.
"""

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import requests
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from examples.chat import AUTH, CHAT, GATEWAY, NOTIFICATION, SERVICES, USER
from shipper.devstack.server import HOST, Server, ServerFailedError, free_port

PORTS: Final[Mapping[str, int]] = {GATEWAY: 4000, AUTH: 4001, USER: 4002, CHAT: 4003, NOTIFICATION: 4004}
"""Where they listen when somebody starts them for good; `Stack` takes free ports unless it is given these."""

_ROOT: Final = Path(__file__).parents[2]
_MODULES: Final = {service: service.removesuffix("-service").removeprefix("api-") for service in SERVICES}
_NEST: Final = _ROOT / "examples" / "nest-gateway" / "dist" / "main.js"
_ANSWER_S: Final = 10.0
_LOOK_S: Final = 0.1


class Service(Server):
    """One of the services: `python -m examples.chat.<module>` on a port of its own.

    Args:
        data_dir: folder for its log.
        service: its name, as in its records.
        port: where it listens.
        env: what it is told.
        nest: the gateway in NestJS instead, which must be built.
    """

    def __init__(self, data_dir: Path, service: str, port: int, env: Mapping[str, str], *, nest: bool = False) -> None:
        self.name = service
        super().__init__(data_dir)
        self.url = f"http://{HOST}:{port}"
        self._settings = {"PORT": str(port), **env}
        self._nest = nest

    def _command(self) -> Sequence[str]:
        if self._nest:
            node = shutil.which("node")
            if node is None or not _NEST.exists():
                raise ServerFailedError("the gateway in NestJS is not built: make install-node && npm run build")
            return [node, str(_NEST)]
        return [sys.executable, "-m", f"examples.chat.{_MODULES[self.name]}"]

    def _env(self) -> Mapping[str, str]:
        return self._settings

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=2).ok
        except requests.RequestException:
            return False


class Stack:
    """The five services.

    Args:
        folder: for their logs (what they write to stderr and stdout).
        bootstrap: address of Kafka, for their records and for `chat.messages`.
        log_topic: where their records go; it is made if it is not there.
        message_topic: from chat to notification; the same.
        servicelog: settings of the library for all of them, beside `kafka` and `topic`, as `level` or `level_url`;
            `{service}` in a text is the service's name.
        ports: by service; those that are not given are free ones.
        gateway: which of the two.
        upstream_timeout_s: how long the gateway waits for a service.
    """

    def __init__(
        self,
        folder: Path,
        *,
        bootstrap: str,
        log_topic: str = "logs",
        message_topic: str = "chat.messages",
        servicelog: Mapping[str, object] | None = None,
        ports: Mapping[str, int] | None = None,
        gateway: Literal["python", "nest"] = "python",
        upstream_timeout_s: float = 2.0,
    ) -> None:
        self._bootstrap, self._topics = bootstrap, (log_topic, message_topic)
        own = {service: (ports or {}).get(service) or free_port() for service in SERVICES}
        common = {
            "AUTH_URL": f"http://{HOST}:{own[AUTH]}",
            "USER_URL": f"http://{HOST}:{own[USER]}",
            "CHAT_URL": f"http://{HOST}:{own[CHAT]}",
            "UPSTREAM_TIMEOUT_S": str(upstream_timeout_s),
            "KAFKA": bootstrap,
            "MESSAGE_TOPIC": message_topic,
            "CHAT_FAULTS": "1",
            "PYTHONPATH": str(_ROOT),
        }
        given = {"kafka": bootstrap, "topic": log_topic, **(servicelog or {})}
        self.services: dict[str, Service] = {
            service: Service(
                folder / service,
                service,
                own[service],
                common | {f"SERVICELOG_{name.upper()}": _written(value, service) for name, value in given.items()},
                nest=service == GATEWAY and gateway == "nest",
            )
            for service in SERVICES
        }

    @property
    def gateway_url(self) -> str:
        """Where clients ask."""
        return self.services[GATEWAY].url

    def start(self) -> Self:
        """Make what topics are missing, start all services, and wait until they answer.

        Raises: ServerFailedError with the end of the log of the first that does not.
        """
        _make_topics(self._bootstrap, self._topics)
        try:
            for service in self.services.values():
                service.launch()
            for service in self.services.values():
                service.start()
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """End them with SIGTERM, the gateway first: what they have begun they finish, and their records reach Kafka."""
        for service in self.services.values():
            service.stop()

    def kill(self) -> None:
        """End them at once."""
        for service in self.services.values():
            service.kill()

    def counted(self, service: str) -> dict[str, Any]:
        """Return `servicelog.metrics()` of a service, as `logged`, `sent`, `dropped`, and what it has in hand."""
        answer = requests.get(f"{self.services[service].url}/metrics", timeout=_ANSWER_S)
        answer.raise_for_status()
        counted: dict[str, Any] = answer.json()
        return counted

    def wait_until_done(self, timeout_s: float = 120.0) -> dict[str, int]:
        """Wait until everything that was asked for is done, notifications too, and Kafka has confirmed every record.

        Returns: how many records each service has sent.
        Raises: ServerFailedError if something is still under way after `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        before: dict[str, int] = {}
        while True:
            counted = {service: self.counted(service) for service in self.services}
            sent = {service: int(counts["sent"]) for service, counts in counted.items()}
            waiting = sum(
                counts.get("under_way", 0) + counts["queued"] + counts["spilled"] for counts in counted.values()
            )
            unheard = counted[CHAT]["published"] - counted[NOTIFICATION]["consumed"]
            # The services are asked one after the other: what was handed on in between shows at the next look.
            if not waiting and unheard <= 0 and sent == before:
                return sent
            if time.monotonic() > deadline:
                raise ServerFailedError(f"after {timeout_s:.0f} s the services are not done: {counted}")
            before = sent
            time.sleep(_LOOK_S)

    def said(self, service: str) -> str:
        """Return what a service has written to stderr and stdout."""
        return self.services[service].log.read_text(errors="replace")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()


def _written(value: object, service: str) -> str:
    """A setting of the library as it stands in the environment."""
    if isinstance(value, Mapping):
        return ",".join(f"{name}={one}" for name, one in value.items())
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value).replace("{service}", service)


def _make_topics(bootstrap: str, names: Sequence[str]) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    found = admin.list_topics(timeout=_ANSWER_S).topics
    missing = [NewTopic(name, num_partitions=4, replication_factor=1) for name in names if name not in found]
    if not missing:
        return
    for made in admin.create_topics(missing, operation_timeout=_ANSWER_S).values():
        try:
            made.result(timeout=2 * _ANSWER_S)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
