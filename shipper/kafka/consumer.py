"""The settings of a worker's consumer: what is fast, and what is safe."""

from shipper.kafka.connection import common_settings
from shipper.settings import Kafka

_FETCH_BYTES_MIN = 262_144  # a record may exceed a fetch
_MESSAGE_BYTES_MIN = 1_000  # the least that librdkafka takes

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
    # A fetch counts compressed bytes, the queue unpacked ones, and a fetch may exceed the queue by all that it unpacks
    # to: text that repeats itself, a hundred times its size. Large fetches make nothing faster: 0.25 MB are as fast as
    # 1 MB, and take a fifth of the memory with lines of 190 KB.
    fetch_bytes_max = max(_FETCH_BYTES_MIN, queue_bytes_max // 16)
    speed: dict[str, object] = {
        "queued.max.messages.kbytes": max(1, queue_bytes_max // 1024),
        "fetch.queue.backoff.ms": 5,  # with its default of 1000 a consumer sleeps whenever the queue is full
        "fetch.max.bytes": fetch_bytes_max,
        "max.partition.fetch.bytes": _FETCH_BYTES_MIN,
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
        "isolation.level": "read_committed",  # what a redrive took back was not written
        "enable.partition.eof": True,
        "statistics.interval.ms": 0,
        # For producers; yet librdkafka refuses to fetch less than this, and makes room for it to unpack lz4 into.
        "message.max.bytes": _MESSAGE_BYTES_MIN if "fetch.max.bytes" in common else _FETCH_BYTES_MIN,
    }
    return {**speed, **common, **safety}
