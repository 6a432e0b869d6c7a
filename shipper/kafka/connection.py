"""What every Kafka client here starts from: common librdkafka settings, and its errors as sentences with a way out."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException

from shipper import __version__
from shipper.errors import ConfigError
from shipper.settings import Kafka

Client = TypeVar("Client")

_LOGIN = (
    "Kafka at {servers} refused the login ({said}): check security.protocol, sasl.mechanism, sasl.username and "
    "sasl.password in [kafka.client]"
)
_TIMED_OUT = (
    "Kafka at {servers} did not answer in time ({said}): look at the broker, at firewalls, and at its "
    "advertised.listeners, which must be reachable from here"
)
_NO_TOPIC = (
    "a topic does not exist on Kafka at {servers} ({said}): create it with `shipper topics create`, or correct "
    "kafka.topics"
)
_FORBIDDEN = (
    "Kafka at {servers} does not permit it to this user ({said}): grant it with kafka-acls, or log in as another user "
    "in [kafka.client]"
)
_HUNG_UP = (
    "Kafka at {servers} hung up at the first word ({said}): TLS or login there are not as here; set security.protocol "
    "in [kafka.client] as that listener has it"
)
_SENTENCES = {
    "_AUTHENTICATION": _LOGIN,
    "SASL_AUTHENTICATION_FAILED": _LOGIN,
    "UNSUPPORTED_SASL_MECHANISM": _LOGIN,
    "_SSL": (
        "TLS with Kafka at {servers} failed ({said}): check that its port speaks TLS, and security.protocol, "
        "ssl.ca.location and ssl.certificate.location in [kafka.client]"
    ),
    "_RESOLVE": "the host of {servers} is unknown ({said}): correct kafka.bootstrap_servers, or the name service",
    "_TRANSPORT": (
        "no Kafka broker can be reached at {servers} ({said}): start Kafka there, or set kafka.bootstrap_servers to "
        "where it listens"
    ),
    "_ALL_BROKERS_DOWN": (
        "no Kafka broker at {servers} talks to us ({said}): start Kafka there; or, if its port wants TLS or a login, "
        "set security.protocol in [kafka.client]"
    ),
    "_TIMED_OUT": _TIMED_OUT,
    "REQUEST_TIMED_OUT": _TIMED_OUT,
    "UNKNOWN_TOPIC_OR_PART": _NO_TOPIC,
    "_UNKNOWN_TOPIC": _NO_TOPIC,
    "INVALID_REPLICATION_FACTOR": (
        "Kafka at {servers} cannot hold so many copies ({said}): give a smaller --replication-factor, or more brokers"
    ),
    "TOPIC_AUTHORIZATION_FAILED": _FORBIDDEN,
    "GROUP_AUTHORIZATION_FAILED": _FORBIDDEN,
    "CLUSTER_AUTHORIZATION_FAILED": _FORBIDDEN,
}
# What librdkafka says when TLS meets a port without it, the other way round, or a port that wants a login.
_HINTS = ("security.protocol", "while requesting ApiVersion", "broker listener?", "SSL connection closed")
# A failed call says no more than one of these; of the complaints before it, the earlier in the table says more. Where
# nothing but _ALL_BROKERS_DOWN was said, connections are taken and closed again, as a listener for logins does.
_VAGUE = frozenset({"_TRANSPORT", "_ALL_BROKERS_DOWN", "_TIMED_OUT"})
_FINAL = frozenset({"_ALL_BROKERS_DOWN", "_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM"})
_TELLING = tuple(_SENTENCES)[: tuple(_SENTENCES).index("_TIMED_OUT")]


def common_settings(kafka: Kafka) -> dict[str, object]:
    """Return the librdkafka settings that consumers, producers and admin clients share.

    Its log is silenced, because it would write lines of its own form to stderr: every client passes an `error_cb`.
    What `[kafka.client]` says comes last, and wins.
    """
    return {
        "bootstrap.servers": ",".join(kafka.bootstrap_servers),
        "client.id": "shipper",
        "client.software.name": "shipper",
        "client.software.version": __version__,
        "log_level": 0,
        **{key: _text(value) for key, value in kafka.client.items()},
    }


def _text(value: str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def create_client(make: Callable[[dict[str, Any]], Client], settings: Mapping[str, object]) -> Client:
    """Make a client of confluent_kafka; nothing is sent yet.

    Raises: ConfigError if librdkafka does not know a setting of `[kafka.client]`, or refuses its value.
    """
    try:
        return make(dict(settings))
    except KafkaException as error:
        raise ConfigError(
            f"[kafka.client]: librdkafka refuses its settings: {error.args[0].str()}; "
            "the known ones are in librdkafka's CONFIGURATION.md"
        ) from error


class Complaints:
    """Remembers what librdkafka says about its connections, for the sentence of the call that fails because of it.

    Give it as `error_cb`. It is called while the client is polled.
    """

    def __init__(self) -> None:
        self._latest: dict[str, KafkaError] = {}

    def __call__(self, error: KafkaError) -> None:
        self._latest[error.name()] = error

    @property
    def are_final(self) -> bool:
        """Whether every broker that was tried is down, or something was said that does not pass by waiting."""
        return not _FINAL.isdisjoint(self._latest)

    def cause_of(self, error: KafkaError) -> KafkaError:
        """Return the most telling complaint so far if `error` only says that the brokers were out of reach."""
        if error.name() not in _VAGUE:
            return error
        return next((self._latest[name] for name in _TELLING if name in self._latest), error)


def explain(error: KafkaError, servers: Sequence[str]) -> str:
    """Say in one sentence what went wrong with Kafka, where, and the way out.

    Args:
        error: what a call raised or a callback got; `Complaints.cause_of` finds the one that says most.
        servers: `kafka.bootstrap_servers`.
    """
    # librdkafka ends its text with internal state, such as "(after 0ms in state CONNECT)".
    said = " ".join(str(error.str()).split(" (after ")[0].split())
    hung_up = any(hint in said for hint in _HINTS)
    sentence = _HUNG_UP if hung_up else _SENTENCES.get(error.name(), "Kafka at {servers} answered {name}: {said}")
    return sentence.format(servers=", ".join(servers), said=said, name=error.name())
