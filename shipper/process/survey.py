"""What the supervisor asks before it starts workers, in a process of its own: it loads polars and confluent_kafka."""

from confluent_kafka import KafkaException, Producer

from shipper.errors import KafkaUnavailableError
from shipper.kafka.connection import Complaints, common_settings, create_client, explain
from shipper.pipeline import Rules
from shipper.settings import Kafka, Settings

_TIMEOUT_S = 15.0


def survey(settings: Settings) -> int:
    """Check the rules and ask Kafka how many partitions the topics have.

    Returns: the partitions of the topic that has the most.
    Raises: ConfigError if a pattern or a setting of the Kafka client is wrong; KafkaUnavailableError if Kafka does not
        answer, refuses us, or lacks a topic.
    """
    Rules.compile(settings)
    return _count_partitions(settings.kafka)


def _count_partitions(kafka: Kafka) -> int:
    complaints = Complaints()
    # A producer, because it asks for metadata without being a member of anything.
    client: Producer = create_client(Producer, {**common_settings(kafka), "error_cb": complaints})
    counts = []
    for name in kafka.topics:
        try:
            topic = client.list_topics(name, timeout=_TIMEOUT_S).topics[name]
        except KafkaException as error:
            client.poll(0)
            cause = complaints.cause_of(error.args[0])
            raise KafkaUnavailableError(explain(cause, kafka.bootstrap_servers)) from error
        if topic.error is not None:
            raise KafkaUnavailableError(f"topic {name}: {explain(topic.error, kafka.bootstrap_servers)}")
        counts.append(len(topic.partitions))
    return max(counts)
