"""What the supervisor asks before it starts workers, in a process of its own: it loads polars and confluent_kafka."""

from shipper.errors import KafkaUnavailableError
from shipper.kafka.topics import Admin
from shipper.kafka.trial import try_settings
from shipper.pipeline import Rules
from shipper.settings import Kafka, Settings


def survey(settings: Settings) -> int:
    """Check the rules and the clients' settings, and ask Kafka how many partitions the topics have.

    Returns: the partitions of the topic that has the most.
    Raises: ConfigError if a pattern or a setting of the Kafka client is wrong; KafkaUnavailableError if Kafka does not
        answer, refuses us, or lacks a topic.
    """
    Rules.compile(settings)
    try_settings(settings)
    return _count_partitions(settings.kafka)


def _count_partitions(kafka: Kafka) -> int:
    found = Admin(kafka).describe(kafka.topics).topics
    if missing := [name for name in kafka.topics if name not in found]:
        raise KafkaUnavailableError(
            f"kafka.topics: Kafka at {', '.join(kafka.bootstrap_servers)} has no topic {', '.join(missing)}, or hides "
            "it from this user: create it with `shipper topics create`, or correct kafka.topics"
        )
    return max(topic.partitions for topic in found.values())
