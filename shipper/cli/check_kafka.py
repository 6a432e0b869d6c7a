"""What `shipper check` asks Kafka: who answers, topics, permissions, and how much waits."""

from collections.abc import Iterator

from shipper.cli import check_retention
from shipper.cli.finding import Finding, Mark
from shipper.errors import KafkaUnavailableError
from shipper.kafka.backlog import backlog
from shipper.kafka.topics import Admin, Cluster, Topic
from shipper.process import retention
from shipper.settings import Settings

_TIMEOUT_S = 5.0


def findings(settings: Settings) -> Iterator[Finding]:
    """Yield what is found, as it is found; nothing is written, and no group is joined.

    Raises: ConfigError if librdkafka refuses `[kafka.client]`.
    """
    admin = Admin(settings.kafka, timeout_s=_TIMEOUT_S)
    logs, dead_letters = settings.kafka.topics, settings.dead_letter.topic
    try:
        cluster = admin.describe([*logs, dead_letters])
    except KafkaUnavailableError as error:
        yield Finding(Mark.FAILED, "Kafka", str(error))
        return
    brokers = ", ".join(cluster.brokers)
    yield Finding(Mark.OK, "Kafka", f"{_count(len(cluster.brokers), 'broker')}: {brokers}; cluster {cluster.id}")
    for name in logs:
        yield _topic(name, cluster, "read", "kafka.topics")
    yield _topic(dead_letters, cluster, "write", "dead_letter.topic")
    yield from _retention(admin, settings, cluster)
    yield _backlog(admin, settings, [cluster.topics[name] for name in logs if name in cluster.topics])


def _topic(name: str, cluster: Cluster, verb: str, key: str) -> Finding:
    what = f"topic {name}"
    topic = cluster.topics.get(name)
    if topic is None:
        return Finding(
            Mark.FAILED,
            what,
            f"does not exist, or is hidden from this user: create it with `shipper topics create`, or correct {key}",
        )
    permitted = topic.readable if verb == "read" else topic.writable
    if permitted is False:
        return Finding(
            Mark.FAILED,
            what,
            f"this user may not {verb} it: grant {verb.upper()} with kafka-acls, or log in as another user",
        )
    may = "the broker does not tell whether we may" if permitted is None else "we may"
    size = f"{_count(topic.partitions, 'partition')}, {_count(topic.replication_factor, 'copy')}; {may} {verb} it"
    if topic.replication_factor == 1 and len(cluster.brokers) > 1:
        return Finding(Mark.NOTE, what, f"{size}; one copy is lost with its broker, though there are several brokers")
    return Finding(Mark.OK, what, size)


def _retention(admin: Admin, settings: Settings, cluster: Cluster) -> Iterator[Finding]:
    names = [name for name in (*settings.kafka.topics, settings.dead_letter.topic) if name in cluster.topics]
    try:
        kept = {name: retention.read(config) for name, config in admin.configs(names).items()}
    except KafkaUnavailableError as error:
        yield Finding(Mark.NOTE, "retention", f"not known, for want of DESCRIBE_CONFIGS on the topics: {error}")
        return
    dead_letters = kept.pop(settings.dead_letter.topic, None)
    yield from check_retention.findings(kept, dead_letters, settings.loki.limits.entry_age_max_s)


def _backlog(admin: Admin, settings: Settings, topics: list[Topic]) -> Finding:
    what = f"group {settings.kafka.group_id}"
    try:
        waiting = backlog(admin, settings.kafka, topics, timeout_s=_TIMEOUT_S)
    except KafkaUnavailableError as error:
        return Finding(Mark.FAILED, what, str(error))
    each = ", ".join(f"{records:,} in {name}" for name, records in waiting.items())
    return Finding(Mark.OK, what, f"{_count(sum(waiting.values()), 'record')} to ship" + (f": {each}" if each else ""))


def _count(number: int, noun: str) -> str:
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"
