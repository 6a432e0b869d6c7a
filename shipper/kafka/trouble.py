"""What goes wrong with Kafka while we run: named, told to whoever logs and counts, and lived through."""

from collections.abc import Callable
from enum import StrEnum

from confluent_kafka import KafkaError, KafkaException


class Trouble(StrEnum):
    """The kinds, a closed list; the text that comes with one says what, where, and the way out."""

    KAFKA_ERROR = "kafka_error"
    """Kafka is out of reach, or refuses something; what it concerns waits, and is tried again."""
    OFFSET_OUT_OF_RANGE = "offset_out_of_range"
    """Records that were due exist no more: retention or a deletion was faster than we were."""
    COMMIT_FAILED = "commit_failed"
    """Kafka did not take a position; the next commit covers it."""
    DEAD_LETTER_FAILED = "dead_letter_failed"
    """The dead letter topic did not take a letter; it is sent again, and its partition waits."""


OnError = Callable[[Trouble, str], None]
"""Called with the kind and a sentence; it must not raise."""


def is_fatal(error: KafkaError) -> bool:
    """Say whether the client that reports this can never go on; a new one can."""
    return error.fatal() or error.name() == "_FATAL"


def error_of(raised: KafkaException | SystemError) -> KafkaError:
    """Return what a call of a client raised.

    A fatal error is raised by whatever serves callbacks, instead of being handed to `error_cb`; where another callback
    followed, as a SystemError with a cause.

    Raises: the SystemError if it is another one.
    """
    cause = raised.__cause__ if isinstance(raised, SystemError) else raised
    if not isinstance(cause, KafkaException):
        raise raised
    error: KafkaError = cause.args[0]
    return error


class Throttle:
    """Lets the first of each kind of message pass, and then one per `every_s`: clients repeat themselves without end.

    Args:
        every_s: the least time between two messages of one kind, in seconds.
        clock: monotonic seconds.
    """

    def __init__(self, every_s: float, clock: Callable[[], float]) -> None:
        self._every_s, self._clock = every_s, clock
        self._quiet_until: dict[str, float] = {}

    def allows(self, kind: str) -> bool:
        """Say whether a message of this kind may pass now, and count it as passed."""
        now = self._clock()
        if now < self._quiet_until.get(kind, now):
            return False
        self._quiet_until[kind] = now + self._every_s
        return True
