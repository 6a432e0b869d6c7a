"""What a soak breaks: a real Kafka and a real Loki behind proxies, hosts that run shipper, and load that never rests.

    Load ─▶ Kafka ─▶ Host 0, Host 1 ─▶ TcpProxy ─▶ LokiProxy ─▶ Loki

A host is a machine with a service manager: a shipper that ended unasked is started again, as systemd or Kubernetes do.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Self

import orjson
import psutil
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined] # documented there, but in no __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from chaos.load import Load, is_ready
from chaos.proxy import LokiProxy, TcpProxy
from shipper.devstack.generate import Chunk
from shipper.devstack.kafka import KafkaServer, make_topic
from shipper.devstack.loki import LokiServer
from shipping import Running, Shipping

PARTITIONS = 6
HEALTHY_WITHIN_S = 180.0
SESSION_S = 10
"""A member of the group that is silent for longer is thrown out."""

_LOOK_S = 0.1
_PAGE = 50_000  # ten times Loki's default: millions are read back
_SECTIONS = f"""
[kafka.client]
"session.timeout.ms" = {SESSION_S * 1000}
"heartbeat.interval.ms" = 1000
"""
_SETTINGS = ("loki.timeout_s=5", "workers.drain_timeout_s=20")


class NotHealthyError(Exception):
    """Something did not come back by itself; the message says what is not as it should be."""


class Host:
    """A machine that runs shipper, one process tree at a time.

    Args:
        shipping: the configuration.
        index: `kafka.node_index`.
        settings: more of them, `section.key=value`.
    """

    def __init__(self, shipping: Shipping, index: int, settings: tuple[str, ...]) -> None:
        self._shipping, self._index, self._settings = shipping, index, settings
        self.running: Running | None = None
        self.ended_unasked = 0

    def start(self, assignment: str) -> None:
        """Start shipper; does not wait for it."""
        if self.running:
            self.running.__exit__()
        settings = (*self._settings, f"kafka.node_index={self._index}", f"kafka.assignment={assignment}")
        arguments = [word for setting in settings for word in ("--set", setting)]
        self.running = self._shipping.run(*arguments).__enter__()
        self._assignment = assignment

    def keep(self) -> bool:
        """Start shipper again if it ended; say whether it runs."""
        if self.running and self.running.process.poll() is not None:
            self.ended_unasked += 1
            self.start(self._assignment)
            return False
        return True

    def stop(self) -> None:
        """End it with SIGTERM: it must drain, and end well."""
        if self.running:
            self.running.process.send_signal(signal.SIGTERM)
            code = self.running.exit_code()
            if code:
                raise NotHealthyError(f"shipper ended with {code} on SIGTERM:\n{self.running.log()[-2_000:]}")
            self.running = None

    def trouble(self) -> str:
        """Say what it says that is not well; nothing when all is."""
        if self.running:
            try:
                state = self.running.status()["state"]
                if state != "running" or not is_ready(self.running):
                    return f"shipper says that it is {state}"
            except OSError as error:
                return f"/status: {error}"
            except AssertionError:
                if self.running.process.poll() is None:
                    raise  # its counters do not add up, or it does not get going
                return "a shipper had ended"
        return ""

    def processes(self) -> list[psutil.Process]:
        """All processes of it."""
        with contextlib.suppress(psutil.NoSuchProcess):
            if self.running:
                supervisor = psutil.Process(self.running.process.pid)
                return [supervisor, *supervisor.children(recursive=True)]
        return []

    def workers(self) -> list[int]:
        """The workers' processes."""
        return self.running.workers() if self.running else []

    def kill_supervisor(self) -> None:
        """SIGKILL it alone, and wait until its workers have left by themselves."""
        family = self.processes()
        if self.running:
            os.kill(self.running.process.pid, signal.SIGKILL)
            self.running.process.wait()
        _, alive = psutil.wait_procs(family, timeout=HEALTHY_WITHIN_S)
        if alive:
            raise NotHealthyError(f"{alive} outlived their supervisor")

    def kill_all(self) -> None:
        """SIGKILL all of its processes at once."""
        if self.running:
            os.killpg(self.running.process.pid, signal.SIGKILL)
            self.running.process.wait()


class KeyedLoad(Load):
    """Load in which no stream is written from two partitions: malformed records, all of one stream, have a key too.

    Two pushes at once to one stream are what a Loki that is killed can forget one of (docs/decisions/0008).
    """

    def _chunks(self) -> Iterator[Chunk]:
        for chunk in super()._chunks():
            keys = [
                key if _is_object(value) else b"malformed" for key, value in zip(chunk.keys, chunk.values, strict=True)
            ]
            yield replace(chunk, keys=keys)


class World:
    """All of it, in one folder. As a context manager it runs from the beginning, and nothing is left at the end.

    Args:
        folder: for data, configuration and logs.
        rate: records per second.
        seed: of the load.
        settings: more settings for shipper, `section.key=value`.
    """

    def __init__(self, folder: Path, *, rate: int, seed: int, settings: tuple[str, ...] = ()) -> None:
        self.kafka = KafkaServer(folder / "kafka")
        self.loki = LokiServer(folder / "loki", limits={"max_entries_limit_per_query": _PAGE})
        self._folder, self._rate, self._seed, self._settings = folder, rate, seed, (*_SETTINGS, *settings)
        self._open = contextlib.ExitStack()
        self.assignment = "pinned"
        self.rss_bytes_max = 0

    def __enter__(self) -> Self:
        with self._open as stack:
            stack.enter_context(self.kafka)
            stack.enter_context(self.loki)
            self.answers = stack.enter_context(LokiProxy(self.loki.url))
            self.wire = stack.enter_context(TcpProxy(self.answers.url.removeprefix("http://")))
            self.shipping = Shipping(
                self._folder,
                bootstrap=self.kafka.bootstrap,
                loki_url=self.wire.url,
                topic=make_topic(self.kafka.bootstrap, PARTITIONS),
                dead_letters=make_topic(self.kafka.bootstrap, 2, {"max.message.bytes": "2097152"}),
                sections=_SECTIONS,
            )
            self.shipping.loki_url = self.loki.url  # what is read back is read from itself
            self.shipping.page = _PAGE
            self.hosts = [Host(self.shipping, index, self._settings) for index in range(2)]
            for host in self.hosts:
                stack.callback(host.kill_all)
            self._consumer = Consumer(
                {"bootstrap.servers": self.kafka.bootstrap, "group.id": self.shipping.label, "log_level": 0}
            )
            stack.callback(self._consumer.close)
            self.hosts[0].start(self.assignment)
            self.load = KeyedLoad(self.kafka.bootstrap, self.shipping.topic, rate=self._rate, seed=self._seed)
            self.load.start()
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    # --- what faults do

    def a_worker(self, random: Random) -> int:
        """The process of one of the workers of all hosts."""
        return random.choice([pid for host in self.hosts for pid in host.workers()])

    def change_over(self, assignment: str) -> None:
        """Stop the first host in order, and start it with another assignment of partitions."""
        self.hosts[0].stop()
        self.assignment = assignment
        self.hosts[0].start(assignment)

    def configure_dead_letters(self, **settings: str) -> None:
        """Set settings of the dead letter topic, with `_` for `.` in their names."""
        entries = [
            ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
            for name, value in settings.items()
        ]
        admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap, "log_level": 0})
        resource = ConfigResource(ResourceType.TOPIC, self.shipping.dead_letters, incremental_configs=entries)
        admin.incremental_alter_configs([resource])[resource].result(timeout=30)

    # --- how it stands

    def ends(self) -> dict[int, int]:
        """Where the partitions of the topic end now."""
        # What it learned while a partition had no leader, it would believe for minutes.
        self._consumer.list_topics(self.shipping.topic, timeout=5)
        return {
            number: self._consumer.get_watermark_offsets(TopicPartition(self.shipping.topic, number), timeout=20)[1]
            for number in range(PARTITIONS)
        }

    def wait_until_healthy(self, look: Callable[[str], None] = lambda _: None) -> float:
        """Wait until all is committed that was written up to now, and every host is ready again.

        Args:
            look: is told now and then what is still waited for.

        Returns: how long that took, in seconds.
        Raises: NotHealthyError after three minutes.
        """
        began = time.monotonic()
        ends = self._patiently(self.ends)
        while trouble := self._trouble(ends):
            if time.monotonic() > began + HEALTHY_WITHIN_S:
                raise NotHealthyError(f"after {HEALTHY_WITHIN_S:.0f} s: {trouble}\n{self._logs()}")
            look(trouble)
            time.sleep(_LOOK_S)
        return time.monotonic() - began

    def _patiently(self, ask: Callable[[], dict[int, int]]) -> dict[int, int]:
        deadline = time.monotonic() + HEALTHY_WITHIN_S
        while True:
            try:
                return ask()
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise NotHealthyError(f"Kafka does not answer: {error}") from error
                time.sleep(_LOOK_S)

    def _trouble(self, ends: Mapping[int, int]) -> str:
        """Say what is not yet well; nothing when all is."""
        for host in self.hosts:
            if not host.keep():
                return "a shipper had ended"
            self.rss_bytes_max = max([self.rss_bytes_max, *map(_rss_bytes, host.processes())])
        return self._uncommitted(ends) or next(filter(None, (host.trouble() for host in self.hosts)), "")

    def _uncommitted(self, ends: Mapping[int, int]) -> str:
        """Ask Kafka, not shipper."""
        asked = [TopicPartition(self.shipping.topic, number) for number in ends]
        try:
            committed = {at.partition: max(at.offset, 0) for at in self._consumer.committed(asked, timeout=5)}
        except KafkaException as error:
            return f"Kafka: {error}"
        behind = {number: end - committed[number] for number, end in ends.items() if committed[number] < end}
        return f"{sum(behind.values()):,} records are not committed yet, by partition {behind}" if behind else ""

    def _logs(self) -> str:
        return "\n".join(host.running.log()[-3_000:] for host in self.hosts if host.running)


def _rss_bytes(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.NoSuchProcess):
        return int(process.memory_info().rss)
    return 0


def _is_object(value: bytes) -> bool:
    try:
        return isinstance(orjson.loads(value), dict)
    except orjson.JSONDecodeError:
        return False
