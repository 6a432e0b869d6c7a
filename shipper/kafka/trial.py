"""A trial of the settings before anything starts: most workers make a producer only for their first dead letter."""

from confluent_kafka import Consumer, Producer

from shipper.kafka.connection import create_client
from shipper.kafka.consumer import consumer_settings, queue_bytes_max
from shipper.kafka.dlq import producer_settings
from shipper.settings import Settings


def try_settings(settings: Settings) -> None:
    """Make each client of a worker once, and connect to nobody.

    Raises: ConfigError if librdkafka does not take `[kafka.client]` for one of them.
    """
    queue = queue_bytes_max(settings.workers.memory_bytes_max)
    consumer = create_client(Consumer, _unconnected(consumer_settings(settings.kafka, worker=0, queue_bytes_max=queue)))
    consumer.close()
    create_client(Producer, _unconnected(producer_settings(settings)))


def _unconnected(settings: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in settings.items() if key != "bootstrap.servers"}
