"""Which topic a name stands for: one that was deleted and made again has the same name, and another id.

A consumer is not told. It goes on in the new topic at the offset that it had reached in the old one, and what the new
one holds before that is skipped without a word. So ids are asked for, and written down beside each committed offset.
"""

from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from shipper.kafka.connection import Complaints, common_settings, create_client
from shipper.settings import Kafka

_NOTE = "shipper topic-id="
_SLACK_S = 1.0  # librdkafka answers in time by itself; this is for a thread that gets no core


class Identity(NamedTuple):
    """A topic as it is now: its id, empty where the broker has none, and its partitions."""

    id: str
    partitions: int

    @property
    def note(self) -> str:
        """What is written beside a committed offset, for whoever reads it."""
        return _NOTE + self.id if self.id else ""

    def is_another(self, note: str | None) -> bool:
        """Say whether this note was written beside an offset of another topic of the same name."""
        return bool(self.id and note and note.startswith(_NOTE) and note != self.note)


class Identities:
    """Asks which topics there are now, as an admin client.

    Args:
        kafka: the section `[kafka]`.
        complaints: is told what the client says about its connections.

    Raises: ConfigError if librdkafka does not take a setting of `[kafka.client]`.
    """

    def __init__(self, kafka: Kafka, complaints: Complaints) -> None:
        self._topics = kafka.topics
        self._admin: AdminClient = create_client(AdminClient, {**common_settings(kafka), "error_cb": complaints})

    def __call__(self, timeout_s: float) -> dict[str, Identity]:
        """Return every topic. Raises KafkaException if one is missing, or nobody answers in time."""
        self._admin.poll(0)  # or complaints would pile up
        answers = self._admin.describe_topics(TopicCollection(self._topics), request_timeout=timeout_s)
        found = {}
        for topic, answer in answers.items():
            try:
                described = answer.result(timeout_s + _SLACK_S)
            except KafkaException as error:
                refusal: KafkaError = error.args[0]
                raise KafkaException(KafkaError(refusal.code(), f"{topic}: {refusal.str()}")) from error
            has_id = described.topic_id.get_most_significant_bits() or described.topic_id.get_least_significant_bits()
            found[topic] = Identity(str(described.topic_id) if has_id else "", len(described.partitions))
        return found
