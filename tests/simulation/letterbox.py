"""The dead letter topic, and the producer that writes to it: late, refused, broken, or full."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException

from simulation.consumer import Owner
from simulation.world import World

OnDelivery = Callable[[KafkaError | None, object], None]

_FORBIDDEN = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "simulated")
_FATAL = KafkaError(KafkaError._FATAL, "simulated", True)  # noqa: FBT003 - confluent_kafka's own


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter in the topic: whose it is, and what it says."""

    partition: int
    offset: int
    reason: str
    value: bytes | None


class Letterbox:
    """The topic.

    Args:
        world: time and chance.
        fault: how probable it is that a letter is refused, or its producer breaks.
    """

    def __init__(self, world: World, fault: Callable[[], float]) -> None:
        self.world, self.fault = world, fault
        self.letters: list[Letter] = []
        self.on_letter: Callable[[Letter], None] = lambda _letter: None

    def store(self, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
        """Keep a letter."""
        said = {name: text.decode() for name, text in headers}
        letter = Letter(int(said["dlq.partition"]), int(said["dlq.offset"]), said["dlq.reason"], value)
        self.letters.append(letter)
        self.on_letter(letter)


class SimulatedProducer:
    """A producer as `kafka.dlq.DeadLetters` uses it: confluent_kafka's methods."""

    def __init__(self, box: Letterbox, owner: Owner) -> None:
        self._box, self._world, self._owner = box, box.world, owner
        self._queue = 0
        self._calls: deque[Callable[[], None]] = deque()
        self._is_broken = False

    def produce(
        self,
        _: str,
        *,
        value: bytes | None,
        key: bytes | None,
        headers: list[tuple[str, bytes]],
        on_delivery: OnDelivery,
    ) -> None:
        self._owner.touch("writes a letter")
        if self._is_broken:
            raise KafkaException(_FATAL)
        if self._queue and self._world.chance(self._box.fault()):
            raise BufferError
        self._queue += 1
        assert key is None or isinstance(key, bytes)

        def arrive() -> None:
            error = self._refusal()
            # A producer that breaks may have written the letter: nobody hears of it.
            if error is None or (error.fatal() and self._world.chance(0.5)):
                self._box.store(value, headers)
            place = {name: text.decode() for name, text in headers if name in ("dlq.partition", "dlq.offset")}
            what = f"refused: {error.name()}" if error else "written"
            self._world.tell("letters", f"letter of {'/'.join(place.values())} {what}")
            self._world.later(self._world.random.uniform(0.001, 0.3), lambda: self._calls.append(answer(error)))

        def answer(error: KafkaError | None) -> Callable[[], None]:
            def call() -> None:
                self._queue -= 1
                on_delivery(error, None)

            return call

        self._world.later(self._world.random.uniform(0.001, 0.3), arrive)

    def _refusal(self) -> KafkaError | None:
        if self._is_broken or self._world.chance(self._box.fault() / 4):
            self._is_broken = True
            return _FATAL
        return _FORBIDDEN if self._world.chance(self._box.fault()) else None

    def poll(self, timeout: float) -> int:
        self._owner.touch("polls its letters")
        if timeout > 0:
            self._world.advance(timeout, lambda: self._calls)
        called = len(self._calls)
        while self._calls:
            self._calls.popleft()()
        return called

    def purge(self) -> None:
        """Give up what is queued: nothing more is told of it."""

    def __len__(self) -> int:
        return self._queue
