"""The topics on Kafka: what is there, and making what is missing. Topics that exist are never changed."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined] # documented there, but in no __all__
    AclOperation,
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from shipper.errors import CannotStartError, KafkaUnavailableError
from shipper.kafka.connection import Complaints, common_settings, create_client, explain
from shipper.settings import Kafka, Settings

if TYPE_CHECKING:
    from concurrent.futures import Future

_DAY_MS = 86_400_000
LOG_RETENTION_MS = 7 * _DAY_MS
_DEAD_LETTER_RETENTION_MS = 30 * _DAY_MS
_REPLICAS_MAX = 3
_MESSAGE_BYTES_MAX = 1_048_588  # Kafka's own default of max.message.bytes
_HEADERS_BYTES_MAX = 65_536
"""Room for the headers of a dead letter, which come on top of a record that may have filled its own topic's bound."""
# A day after it was overwritten a row may go; so may the mark of one that was deleted, a day after that.
_TABLE = {"cleanup.policy": "compact", "segment.ms": str(_DAY_MS), "delete.retention.ms": str(_DAY_MS)}
_ASK_S = 0.5
_PAUSE_S = 0.1
# The brokers hear of a new topic a moment after it was made, and of its partitions' leaders a moment later.
_PASSING = frozenset({"UNKNOWN_TOPIC_OR_PART", "LEADER_NOT_AVAILABLE", "NOT_LEADER_FOR_PARTITION"})


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that exists. `readable` and `writable` are None where the broker does not tell."""

    name: str
    partitions: int
    replication_factor: int
    readable: bool | None = None
    writable: bool | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    """Who answered, and those of our topics that exist."""

    id: str
    brokers: tuple[str, ...]
    topics: Mapping[str, Topic]


@dataclass(frozen=True, slots=True)
class Difference:
    """A property of a topic that exists: what it is, and what we would have made it."""

    key: str
    actual: str
    wanted: str


@dataclass(frozen=True, slots=True)
class TopicOutcome:
    """What `create` did for a topic: made it, or left it as it was, with these differences."""

    topic: Topic
    created: bool
    differences: tuple[Difference, ...] = ()


class Admin:
    """An admin client whose failures are KafkaUnavailableErrors with a sentence.

    Args:
        kafka: the section `[kafka]`.
        timeout_s: bound on the wait for each answer, in seconds.

    Raises: ConfigError if librdkafka refuses `[kafka.client]`.
    """

    def __init__(self, kafka: Kafka, *, timeout_s: float = 10.0) -> None:
        self._servers = kafka.bootstrap_servers
        self._timeout_s = timeout_s
        self._complaints = Complaints()
        self.client = create_client(AdminClient, {**common_settings(kafka), "error_cb": self._complaints})

    def describe(self, names: Iterable[str]) -> Cluster:
        """Return the cluster with those of these topics that exist; one that is hidden from us counts as missing.

        Never makes a topic, not even where the broker makes topics that are asked for.
        """
        metadata = self._metadata()
        found = {name: metadata.topics[name] for name in names if name in metadata.topics}
        operations = self._operations(list(found))
        topics = {}
        for name, topic in found.items():
            permitted = operations.get(name)
            topics[name] = Topic(
                name,
                partitions=len(topic.partitions),
                replication_factor=max((len(each.replicas) for each in topic.partitions.values()), default=0),
                readable=None if permitted is None else AclOperation.READ in permitted,
                writable=None if permitted is None else AclOperation.WRITE in permitted,
            )
        brokers = tuple(f"{broker.host}:{broker.port}" for broker in metadata.brokers.values())
        return Cluster(metadata.cluster_id or "", brokers, topics)

    def configs(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return the settings of these topics, which exist. Raises KafkaUnavailableError, also if that is forbidden."""

        def ask(name: str) -> "Future[Any]":
            resource = ConfigResource(ResourceType.TOPIC, name)
            return self.client.describe_configs([resource])[resource]

        answers = {name: self.answer(partial(ask, name)) for name in names}
        return {name: {key: entry.value for key, entry in answer.items()} for name, answer in answers.items()}

    def answer(self, ask: Callable[[], "Future[Any]"]) -> Any:  # noqa: ANN401 - each call has an answer of its own type
        """Return what an asynchronous call of the client comes to; one that Kafka is not ready for is made again."""
        again = Retrying(
            retry=retry_if_exception(passes),
            stop=stop_after_delay(self._timeout_s),
            wait=wait_fixed(_PAUSE_S),
            reraise=True,
        )
        try:
            return again(lambda: ask().result(self._timeout_s + 1))
        except KafkaException as error:
            raise self.failure(error) from error
        except TimeoutError as error:
            where = ", ".join(self._servers)
            raise KafkaUnavailableError(f"Kafka at {where} did not answer within {self._timeout_s:g} s") from error

    def failure(self, error: KafkaException, *, about: str = "") -> KafkaUnavailableError:
        """Return what the client raised as an error with a sentence, which begins with what it is about."""
        self.client.poll(0)  # lets the complaints come in
        cause = self._complaints.cause_of(error.args[0])
        return KafkaUnavailableError(about + explain(cause, self._servers))

    def wait_until_known(self, topics: Iterable[Topic]) -> None:
        """Wait until these topics can be used: the brokers hear of a new topic a moment after it was made."""
        deadline = time.monotonic() + self._timeout_s
        missing = {topic.name: topic.partitions for topic in topics}
        while missing and time.monotonic() < deadline:
            known = self._metadata().topics
            missing = {name: count for name, count in missing.items() if not _has_leaders(known.get(name), count)}
            if missing:
                time.sleep(_PAUSE_S)

    def _metadata(self) -> Any:  # noqa: ANN401 - confluent_kafka ships no types
        """Ask in short turns, so that what cannot pass (a refused login, an unknown host) is said at once."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return self.client.list_topics(timeout=_ASK_S)
            except KafkaException as error:
                failure = self.failure(error)
                if self._complaints.are_final or time.monotonic() > deadline:
                    raise failure from error

    def _operations(self, names: list[str]) -> dict[str, list[AclOperation] | None]:
        return {name: self.answer(partial(self._describe, name)).authorized_operations for name in names}

    def _describe(self, name: str) -> "Future[Any]":
        asked = self.client.describe_topics(
            TopicCollection([name]), include_authorized_operations=True, request_timeout=self._timeout_s
        )
        return asked[name]


def passes(error: BaseException) -> bool:
    """Say whether a call fails only because a topic was made, or its leader moved, a moment ago."""
    return isinstance(error, KafkaException) and error.args[0].name() in _PASSING


def _has_leaders(topic: Any, partitions: int) -> bool:  # noqa: ANN401 - confluent_kafka ships no types
    return topic is not None and sum(each.leader >= 0 for each in topic.partitions.values()) >= partitions


def describe(settings: Settings, *, timeout_s: float = 10.0) -> Cluster:
    """Return who answers at `kafka.bootstrap_servers`, and which of the log and dead letter topics exist.

    Raises: KafkaUnavailableError with the way out; ConfigError if librdkafka refuses `[kafka.client]`.
    """
    names = [*settings.kafka.topics, settings.dead_letter.topic]
    return Admin(settings.kafka, timeout_s=timeout_s).describe(names)


def create(settings: Settings, *, partitions: int, replication_factor: int | None = None) -> list[TopicOutcome]:
    """Make the log topics, the log API's and the dead letter topic as far as they are missing; the others are compared.

    Args:
        settings: names the topics.
        partitions: of each topic but the log API's, which have one: the bound on how many workers can share it.
        replication_factor: copies of each record; None for three, or as many as there are brokers.

    Returns: what became of each topic: log topics, the dead letter topic, the log API's.
    Raises: KafkaUnavailableError with the way out; ConfigError if librdkafka refuses `[kafka.client]`.
    """
    admin = Admin(settings.kafka)
    tables = table_topics(settings)
    names = [*settings.kafka.topics, settings.dead_letter.topic, *tables]
    cluster = admin.describe(names)
    copies = replication_factor or min(_REPLICAS_MAX, len(cluster.brokers))
    configs = admin.configs(name for name in names if name in cluster.topics)
    message_bytes_max = max(
        int(configs.get(name, {}).get("max.message.bytes", _MESSAGE_BYTES_MAX)) for name in settings.kafka.topics
    )
    outcomes = []
    for name in names:
        wanted = {
            "retention.ms": str(LOG_RETENTION_MS),
            "compression.type": "lz4",
            "min.insync.replicas": str(min(2, copies)),
        }
        if name == settings.dead_letter.topic:
            wanted["retention.ms"] = str(_DEAD_LETTER_RETENTION_MS)
            wanted["max.message.bytes"] = str(message_bytes_max + _HEADERS_BYTES_MAX)
        if name in tables:
            del wanted["retention.ms"]
            wanted |= _TABLE
        topic = Topic(name, 1 if name in tables else partitions, copies)
        if (existing := cluster.topics.get(name)) is None:
            outcomes.append(TopicOutcome(topic, created=_create(admin, topic, wanted)))
        else:
            differences = _compare(existing, topic, configs.get(name, {}), wanted)
            outcomes.append(TopicOutcome(existing, created=False, differences=differences))
    admin.wait_until_known(outcome.topic for outcome in outcomes)
    return outcomes


def table_topics(settings: Settings) -> list[str]:
    """Return the names of the topics that the log API keeps its tables in."""
    topics = settings.api.topics
    return [topics.levels, topics.queries, topics.tokens]


def create_tables(settings: Settings) -> None:
    """Make the log API's topics as far as they are missing.

    Raises: KafkaUnavailableError with the way out; ConfigError if librdkafka refuses `[kafka.client]`;
        CannotStartError if one that exists is not compacted: Kafka would delete what it holds.
    """
    admin = Admin(settings.kafka)
    names = table_topics(settings)
    cluster = admin.describe(names)
    copies = min(_REPLICAS_MAX, len(cluster.brokers))
    wanted = {**_TABLE, "compression.type": "lz4", "min.insync.replicas": str(min(2, copies))}
    made = [Topic(name, 1, copies) for name in names if name not in cluster.topics]
    for topic in made:
        _create(admin, topic, wanted)
    admin.wait_until_known(made)
    try:
        configs = admin.configs(cluster.topics)
    except KafkaUnavailableError:  # DESCRIBE_CONFIGS is not needed for anything else
        return
    for name, config in configs.items():
        if config.get("cleanup.policy") != "compact":
            raise CannotStartError(
                f"topic {name} has cleanup.policy = {config.get('cleanup.policy')}, so Kafka deletes what the log API "
                f"keeps there: kafka-configs --alter --topic {name} --add-config cleanup.policy=compact"
            )


def _create(admin: Admin, topic: Topic, config: Mapping[str, str]) -> bool:
    new = NewTopic(topic.name, topic.partitions, topic.replication_factor, config=dict(config))
    future = admin.client.create_topics([new])[topic.name]
    try:
        future.result()  # bounded by librdkafka's own time-out of a minute
    except KafkaException as error:
        if error.args[0].name() == "TOPIC_ALREADY_EXISTS":  # somebody else was quicker
            return False
        raise admin.failure(error, about=f"topic {topic.name} was not created: ") from error
    return True


def _compare(
    existing: Topic, topic: Topic, config: Mapping[str, str], wanted: Mapping[str, str]
) -> tuple[Difference, ...]:
    pairs = [
        Difference("partitions", str(existing.partitions), str(topic.partitions)),
        Difference("replication factor", str(existing.replication_factor), str(topic.replication_factor)),
        *(Difference(key, config.get(key, "unknown"), value) for key, value in wanted.items()),
    ]
    return tuple(pair for pair in pairs if pair.actual != pair.wanted)
