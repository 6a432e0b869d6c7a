"""How long Kafka keeps the records of the log topics: asked in a process of its own, as it loads confluent_kafka."""

from collections.abc import Mapping

from shipper.kafka.topics import Admin
from shipper.process.forecast import Retention
from shipper.settings import Settings


def ask(settings: Settings) -> dict[str, Retention]:
    """Return each log topic's retention.

    Raises: KafkaUnavailableError if Kafka does not answer, or does not permit us to read the topics' settings.
    """
    configs = Admin(settings.kafka).configs(settings.kafka.topics)
    return {topic: read(config) for topic, config in configs.items()}


def read(config: Mapping[str, str]) -> Retention:
    """Return what a topic's settings say; -1 is how Kafka says that there is no bound."""
    if "delete" not in config.get("cleanup.policy", "delete"):
        return Retention()
    age_ms, size_bytes = int(config.get("retention.ms", -1)), int(config.get("retention.bytes", -1))
    return Retention(age_ms / 1000 if age_ms >= 0 else None, size_bytes if size_bytes >= 0 else None)
