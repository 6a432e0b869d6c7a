"""A consumer as `kafka.source.Source` uses it: confluent_kafka's methods, against the simulated broker.

Commits arrive late, or never, or arrive without their answer; callbacks come while polling, as librdkafka brings them.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPosition

from messages import StoredMessage
from shipper.kafka.identity import Identity
from simulation.broker import TOPIC, Broker
from simulation.group import Member
from simulation.world import BrokenPromiseError, World

_LOW, _HIGH = -2, -1  # as ListOffsets has them
_CREATE_TIME = 1

OnRebalance = Callable[[Any, list[KafkaPosition]], None]


class Owner(Protocol):
    """The process that a consumer lives in."""

    name: str
    reaches_kafka: bool

    def touch(self, what: str) -> None:
        """Pass a point where a process may die."""


class SimulatedConsumer:
    """One consumer, in a group if its settings name an instance.

    Args:
        world: time and chance.
        broker: what it reads from.
        owner: the process that it lives in.
        commit_fault: how probable it is that a commit or its answer is lost or late.
        settings: librdkafka's.
    """

    def __init__(
        self, world: World, broker: Broker, owner: Owner, commit_fault: Callable[[], float], settings: dict[str, Any]
    ) -> None:
        self._world, self._broker, self._owner, self._commit_fault = world, broker, owner, commit_fault
        self._on_commit: Callable[[KafkaError | None, list[KafkaPosition]], None] = settings["on_commit"]
        self._instance: str | None = settings.get("group.instance.id")
        self._positions: dict[int, int] = {}
        self._epochs: dict[int, int] = {}
        self._paused: set[int] = set()
        self._told_end: dict[int, int] = {}
        self._out_of_range: set[int] = set()
        self._calls: deque[Callable[[], None]] = deque()
        self._commits_until_s = self._answers_until_s = 0.0
        self._on_rebalance: tuple[OnRebalance, OnRebalance, OnRebalance] | None = None
        self._member: Member | None = None
        self._leaving: set[int] = set()

    # What Kafka is asked

    def identify(self, timeout_s: float) -> dict[str, Identity]:
        """Stand in for a worker's `Identities`."""
        self._ask(timeout_s)
        return {TOPIC: Identity("", len(self._broker.logs))}

    def offsets_for_times(self, positions: Sequence[KafkaPosition], timeout: float) -> list[KafkaPosition]:
        self._ask(timeout)
        logs = self._broker.logs
        ends = {_LOW: lambda log: log.low, _HIGH: lambda log: log.high}
        return [KafkaPosition(it.topic, it.partition, ends[it.offset](logs[it.partition])) for it in positions]

    def committed(self, positions: Sequence[KafkaPosition], timeout: float) -> list[KafkaPosition]:
        self._ask(timeout)
        return [KafkaPosition(it.topic, it.partition, self._broker.logs[it.partition].committed) for it in positions]

    def get_watermark_offsets(self, position: KafkaPosition, *, cached: bool) -> tuple[int, int]:
        assert cached, "asked one by one, each waits"
        log = self._broker.logs[position.partition]
        return log.low, log.high

    def _ask(self, timeout_s: float) -> None:
        self._owner.touch("asks Kafka")
        if not self._reaches:
            self._world.advance(timeout_s, lambda: self._reaches)
        if not self._reaches:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "simulated"))

    @property
    def _reaches(self) -> bool:
        return self._owner.reaches_kafka and not self._broker.is_down

    # Partitions

    def subscribe(self, _: list[str], *, on_assign: OnRebalance, on_revoke: OnRebalance, on_lost: OnRebalance) -> None:
        self._on_rebalance = on_assign, on_revoke, on_lost

    def incremental_assign(self, positions: Sequence[KafkaPosition]) -> None:
        for it in positions:
            if it.partition in self._positions:
                raise BrokenPromiseError(f"{self._owner.name} assigns partition {it.partition} twice")
            self._positions[it.partition] = it.offset
            self._epochs[it.partition] = self._broker.logs[it.partition].epoch
            self._broker.begun_s.setdefault(it.partition, self._world.now_s)
            self._told_end.pop(it.partition, None)
            self._out_of_range.discard(it.partition)

    def incremental_unassign(self, positions: Sequence[KafkaPosition]) -> None:
        for it in positions:
            del self._positions[it.partition]

    def pause(self, positions: Sequence[KafkaPosition]) -> None:
        self._paused |= {it.partition for it in positions}

    def resume(self, positions: Sequence[KafkaPosition]) -> None:
        self._paused -= {it.partition for it in positions}

    # Polling

    def consume(self, records_max: int, timeout: float) -> list[Message]:
        self._owner.touch("polls")
        self._serve()
        found = self._fetch(records_max)
        if not found and timeout > 0:
            self._world.advance(timeout, self._is_anything_there)
            self._owner.touch("polled")
            self._serve()
            found = self._fetch(records_max)
        return found

    def poll(self, timeout: float) -> None:
        assert timeout == 0
        self._serve()

    def close(self) -> None:
        """Leave; a static member says nothing, and its session runs out."""
        self.fall_silent()

    def fall_silent(self) -> None:
        """Send no heartbeats any more."""
        if self._member is not None:
            self._member.silent_since = self._world.now_s

    def be_heard(self) -> None:
        """Send heartbeats again."""
        if self._member is not None:
            self._member.silent_since = None

    def _is_anything_there(self) -> bool:
        return bool(self._calls or self._readable() or any(self._changes()))

    def _readable(self) -> list[int]:
        """The partitions of which there is something to give: records, or word of their end."""
        if not self._reaches:
            return []
        logs = self._broker.logs
        return [
            partition
            for partition, position in sorted(self._positions.items())
            if partition not in self._paused | self._out_of_range
            and (position < logs[partition].high or self._told_end.get(partition) != logs[partition].high)
        ]

    def _fetch(self, records_max: int) -> list[Message]:
        found: list[Message] = []
        readable = self._readable()
        self._world.random.shuffle(readable)
        for partition in readable:
            log, position = self._broker.logs[partition], self._positions[partition]
            if len(found) >= records_max:
                break
            if not log.low <= position <= log.high:
                self._out_of_range.add(partition)
                found.append(_event(KafkaError._AUTO_OFFSET_RESET, partition, position))
                continue
            records = log.read(position, self._world.random.randint(1, records_max - len(found)))
            found += map(_message, records)
            ends_with = records[-1].offset() if records else position
            self._positions[partition] = ends_with + 1 if records else log.high
            if not log.read(self._positions[partition], 1) and len(found) < records_max:
                self._positions[partition] = self._told_end[partition] = log.high
                found.append(_event(KafkaError._PARTITION_EOF, partition, log.high))
        return found

    def _serve(self) -> None:
        """Make the calls that are due: answers to commits, partitions that come and go."""
        while self._calls:
            self._calls.popleft()()
        if self._on_rebalance is None or not self._reaches:
            return
        on_assign, on_revoke, on_lost = self._on_rebalance
        if self._member is not None and not self._broker.group.knows(self._member):
            lost, self._member.held = sorted(self._member.held), set()
            self._tell_rebalance("lost", lost, on_lost)
            self._member = None
            self._epochs.clear()
        if self._member is None:
            self._member = self._broker.group.join(str(self._instance))
        gives, gets = self._changes()
        if gives:
            self._tell_rebalance("revoked", gives, on_revoke)
            self._member.held -= set(gives)
        elif gets:
            self._member.held |= set(gets)
            self._tell_rebalance("assigned", gets, on_assign)

    def _changes(self) -> tuple[list[int], list[int]]:
        if self._member is None or not self._reaches:
            return [], []
        group = self._broker.group
        return group.changes(self._member) if group.knows(self._member) else (sorted(self._member.held), [])

    def _tell_rebalance(self, what: str, partitions: Sequence[int], call: OnRebalance) -> None:
        self._world.tell(self._owner.name, f"partitions {partitions} {what}")
        call(self, [KafkaPosition(TOPIC, partition) for partition in partitions])

    # Committing

    def _is_own(self, partition: int) -> bool:
        """Say whether it was given a partition and has not been told to give it up."""
        return partition in (self._epochs if self._member is None else self._member.held)

    def commit(self, *, offsets: list[KafkaPosition], asynchronous: bool) -> None:
        assert asynchronous, "a commit that waits cannot be bounded"
        self._owner.touch("commits")
        positions = {it.partition: it.offset for it in sorted(offsets, key=lambda it: it.partition)}
        for partition in positions:
            if not self._is_own(partition):
                raise BrokenPromiseError(f"{self._owner.name} commits partition {partition}, which is not its own")
        world, member = self._world, self._member
        epochs = {partition: self._epochs[partition] for partition in positions}
        is_lost, is_unheard = (world.chance(self._commit_fault()) for _ in range(2))
        late_s = world.random.uniform(0.1, 8) if world.chance(self._commit_fault()) else 0.005
        arrives_s = self._commits_until_s = max(world.now_s + 0.002, self._commits_until_s)
        self._answers_until_s = answer_s = max(arrives_s + late_s, self._answers_until_s)
        is_lost = is_lost or not self._reaches

        def arrive() -> None:
            taken = not is_lost and self._broker.commit(positions, epochs, member)
            text = ", ".join(f"{TOPIC}/{partition} → {position}" for partition, position in positions.items())
            fate = (
                "lost" if is_lost else "refused" if not taken else "taken, its answer lost" if is_unheard else "taken"
            )
            world.tell(self._owner.name, f"commit {text}: {fate}")
            code = KafkaError.REQUEST_TIMED_OUT if is_lost or is_unheard else KafkaError.UNKNOWN_MEMBER_ID
            error = None if taken and not is_unheard else KafkaError(code, "simulated")
            world.later(answer_s - arrives_s, lambda: self._calls.append(lambda: self._on_commit(error, offsets)))

        world.later(arrives_s - world.now_s, arrive)


def _message(record: StoredMessage) -> Message:
    topic, partition, offset = record.place
    made: Message = Message(
        topic, partition, offset, record.key(), record.value(), None, None, (_CREATE_TIME, record.timestamp_ms)
    )
    return made


def _event(code: int, partition: int, offset: int) -> Message:
    made: Message = Message(TOPIC, partition, offset, None, None, None, KafkaError(code))
    return made
