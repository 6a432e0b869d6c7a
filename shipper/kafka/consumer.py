"""The settings of a worker's consumer: what is fast, and what is safe."""

from shipper.kafka.connection import common_settings
from shipper.settings import Kafka

_FETCH_BYTES_MIN = 1_000_000  # librdkafka takes no less than its message.max.bytes

_QUEUE_SHARE = 8


def queue_bytes_max(memory_bytes_max: int) -> int:
    """Return the bound on librdkafka's queue: an eighth of a worker's memory for records; in flight is the rest."""
    return memory_bytes_max // _QUEUE_SHARE


def consumer_settings(kafka: Kafka, *, worker: int, queue_bytes_max: int) -> dict[str, object]:
    """Return librdkafka's settings for a worker's consumer; `[kafka.client]` wins over speed, never over safety.

    Args:
        kafka: the section `[kafka]`.
        worker: the worker's index on this host.
        queue_bytes_max: bound on what librdkafka holds ready for us, in bytes.
    """
    common = common_settings(kafka)
    # A fetch counts compressed bytes, the queue unpacked ones, and the queue may be exceeded by a fetch per partition.
    # Large fetches make nothing faster: with a queue of 8 MB, 1 MB was as fast as 8 MB and took half of the memory.
    fetch_bytes_max = max(_FETCH_BYTES_MIN, queue_bytes_max // 16)
    speed: dict[str, object] = {
        "queued.max.messages.kbytes": max(1, queue_bytes_max // 1024),
        "fetch.queue.backoff.ms": 5,  # with its default of 1000 a consumer sleeps whenever the queue is full
        "fetch.max.bytes": fetch_bytes_max,
        "max.partition.fetch.bytes": _FETCH_BYTES_MIN,
        "receive.message.max.bytes": max(100_000_000, 2 * fetch_bytes_max),  # its default; a record may exceed a fetch
        # An answer per 64 KiB or per 100 ms, not one per record; no longer, because it holds up other requests.
        "fetch.min.bytes": 65_536,
        "fetch.wait.max.ms": 100,
    }
    if kafka.assignment == "group":
        speed["partition.assignment.strategy"] = "cooperative-sticky"
        speed["group.instance.id"] = f"{kafka.group_id}-{kafka.node_index}-{worker}"
    safety = {
        "client.id": f"{common['client.id']}-{kafka.node_index}-{worker}",
        "group.id": kafka.group_id,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",  # Kafka's own reset skips records silently
        "enable.partition.eof": True,
        "statistics.interval.ms": 0,
    }
    return {**speed, **common, **safety}
