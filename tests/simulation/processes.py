"""One worker's process, as the supervisor keeps it: started, told to end, killed at any step, started again."""

from datetime import UTC, datetime
from io import StringIO
from typing import Any, cast

from confluent_kafka import Producer

from shipper.errors import ShipperError
from shipper.kafka.dlq import DeadLetters
from shipper.kafka.identity import Identity
from shipper.kafka.partitions import Listener
from shipper.kafka.source import Source
from shipper.kafka.trouble import Trouble
from shipper.logs import Log
from shipper.loki.client import Pusher
from shipper.pipeline import Rules
from shipper.process.counters import Counters
from shipper.process.parts import Parts
from shipper.process.report import Report
from shipper.process.worker import Worker
from simulation.broker import Broker
from simulation.consumer import SimulatedConsumer
from simulation.letterbox import Letterbox, SimulatedProducer
from simulation.loki import SimulatedLoki
from simulation.plan import Plan
from simulation.pusher import SimulatedPusher
from simulation.world import CrashError, World

_SAVES_WITHIN_S = 5.5


class _Voice(StringIO):
    """What a worker's log is written to: the story."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__()
        self._world, self._name = world, name

    def write(self, line: str) -> int:
        self._world.tell(self._name, f'says "{line.rstrip()}"')
        return len(line)


class Process:
    """The process of worker `index`; the worker in it is the real one, its parts are simulated.

    Attributes:
        worker: what runs in it; None while there is none.
        is_frozen: whether it stands still, as after SIGSTOP.
        reaches_kafka: whether the network lets it; Loki it always reaches.
        has_ended: whether it ended by itself, or was told to, and is not to be started again.
    """

    def __init__(
        self,
        index: int,
        plan: Plan,
        world: World,
        broker: Broker,
        loki: SimulatedLoki,
        box: Letterbox,
        counters: Counters,
    ) -> None:
        self.index, self.name = index, f"worker {index}"
        self._plan, self._world, self._counters = plan, world, counters
        self._broker, self._loki, self._box = broker, loki, box
        self.worker: Worker | None = None
        self.is_frozen = False
        self.reaches_kafka = True
        self.has_ended = False
        self.has_said_unsaved = False
        """Whether it said that where it began could not be committed: records deleted then cannot be counted."""
        self._is_last = False
        self._is_open = False
        self._fuse: int | None = None

    def start(self) -> None:
        """Start the worker, with its parts, unless it was told meanwhile to end for good."""
        if self.has_ended:
            return
        settings, world = self._plan.settings, self._world
        log = Log(_Voice(world, self.name), text=True, now=lambda: datetime.fromtimestamp(world.now_ns() / 1e9, UTC))
        report = Report(
            self._counters.row(self.index), log, clock=world.clock, now_ms=lambda: world.now_ns() // 1_000_000
        )
        self._consumers: list[SimulatedConsumer] = []

        def make_consumer(conf: dict[str, Any]) -> Any:  # noqa: ANN401 - stands for a consumer
            self._consumers.append(SimulatedConsumer(world, self._broker, self, self._commit_fault, conf))
            return self._consumers[-1]

        def identify(timeout_s: float) -> dict[str, Identity]:
            return self._consumers[-1].identify(timeout_s)

        def on_error(kind: Trouble, text: str) -> None:
            self.has_said_unsaved |= kind is Trouble.COMMIT_FAILED and "where reading began" in text
            report.trouble(kind, text)

        def source(listener: Listener) -> Source:
            return Source(
                settings,
                worker=self.index,
                workers=self._plan.workers,
                queue_bytes_max=1_000_000,
                listener=listener,
                on_error=on_error,
                clock=world.clock,
                sleep=world.sleep,
                make_consumer=make_consumer,
                identify=identify,
            )

        self._pusher = SimulatedPusher(world, self._loki, settings.loki, self.name, self._way_s)
        letters = DeadLetters(
            settings,
            on_error=report.trouble,
            clock=world.clock,
            sleep=world.sleep,
            make_producer=lambda _: cast("Producer", SimulatedProducer(self._box, self)),
        )
        parts = Parts(source, cast("Pusher", self._pusher), letters, lambda: False, world.clock, world.now_ns)
        self.worker = Worker(
            Rules.compile(settings),
            parts,
            report,
            topics=self._counters.topics,
            until_caught_up=self._plan.until_caught_up,
        )
        self._is_open, self._fuse = False, None
        world.tell(self.name, "starts")

    def step(self) -> None:
        """Let the worker go on by one turn of its loop, or begin, or drain and end."""
        assert self.worker is not None
        try:
            if not self._is_open:
                self.worker.open()
                self._is_open = True
            elif self.worker.is_done:
                self._world.tell(self.name, "drains")
                self.worker.drain()
                self._end(caught_up=not self.worker._stopping)
            else:
                self.worker.turn()
        except CrashError:
            self.kill()
        except ShipperError as error:
            self._world.tell(self.name, f"gives up: {error}")
            self.kill()

    def kill(self) -> None:
        """End it as SIGKILL does, and start it again after a while."""
        self._world.tell(self.name, "is dead")
        # It was about to commit where it began, and had not been told yet that this had failed.
        self.has_said_unsaved |= any(
            self._broker.logs[partition].committed < 0 and self._world.now_s < begun_s + _SAVES_WITHIN_S
            for partition, begun_s in self._broker.begun_s.items()
        )
        self._pusher.die()
        self._end(caught_up=False)
        self._counters.row(self.index).repair()

    def _end(self, *, caught_up: bool) -> None:
        for consumer in self._consumers:
            consumer.fall_silent()
        self.worker = None
        self.has_ended = caught_up or self._is_last
        if not self.has_ended:
            self._world.later(self._world.random.uniform(1.5, 4), self.start)

    def end(self) -> None:
        """Tell the worker to drain and to end, for good."""
        self._is_last = True
        if self.worker is not None:
            self.worker.stop()
        self.has_ended = self.worker is None

    def terminate(self) -> None:
        """Tell the worker to drain and to end, as before an update: it is started again."""
        if self.worker is not None:
            self.worker.stop()

    def kill_after(self, steps: int) -> None:
        """Let it die when it has passed so many more points where it may."""
        self._fuse = steps

    def kill_after_none(self) -> None:
        """Let it live."""
        self._fuse = None

    def freeze(self) -> None:
        """Let it stand still; who does not send heartbeats loses what it has, after a while."""
        self.is_frozen = True
        self._world.tell(self.name, "stands still")
        if self.worker is not None:
            self._pusher.is_frozen = True
            self._hush()

    def thaw(self) -> None:
        """Let it go on."""
        self.is_frozen = False
        self._world.tell(self.name, "goes on")
        if self.worker is not None:
            self._pusher.thaw()
            self._hush()

    def cut_off(self) -> None:
        """Take Kafka away from it, but not Loki: it pushes what it has, while others may get its partitions."""
        self.reaches_kafka = False
        self._world.tell(self.name, "is cut off from Kafka")
        if self.worker is not None:
            self._hush()

    def connect(self) -> None:
        """Give Kafka back to it."""
        self.reaches_kafka = True
        self._world.tell(self.name, "reaches Kafka again")
        if self.worker is not None:
            self._hush()

    def _hush(self) -> None:
        for consumer in self._consumers:
            if self.is_frozen or not self.reaches_kafka:
                consumer.fall_silent()
            else:
                consumer.be_heard()

    @property
    def is_running(self) -> bool:
        """Whether it can take a step."""
        return self.worker is not None and not self.is_frozen

    def touch(self, what: str) -> None:
        """Pass a point where the process may die."""
        if self._fuse is not None:
            self._fuse -= 1
            if self._fuse <= 0:
                self._world.tell(self.name, f"dies as it {what}")
                raise CrashError

    @property
    def _is_calm(self) -> bool:
        return self._world.now_s >= self._plan.calm_at_s

    def _commit_fault(self) -> float:
        return 0 if self._is_calm else self._plan.commit_fault_share

    def _way_s(self) -> float:
        return 0.01 if self._is_calm else self._plan.loki_way_s
