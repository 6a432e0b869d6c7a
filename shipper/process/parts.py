"""What a worker works with and has not made itself: Kafka, Loki, parent, clocks. The simulation brings its own."""

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from shipper.kafka.consumer import queue_bytes_max
from shipper.kafka.dlq import DeadLetters
from shipper.kafka.partitions import Listener
from shipper.kafka.source import Source
from shipper.loki import encode
from shipper.loki.client import Pusher
from shipper.process.report import Report
from shipper.records import PushRequest
from shipper.settings import Settings


@dataclass(frozen=True)
class Parts:
    """Everything of a worker that touches the world outside.

    Attributes:
        source: makes the source; its listener is the worker.
        pusher: takes push requests.
        letters: takes rejected records.
        is_orphan: says whether whoever started the worker is gone.
        clock: monotonic seconds.
        now_ns: nanoseconds since the epoch.
    """

    source: Callable[[Listener], Source]
    pusher: Pusher
    letters: DeadLetters
    is_orphan: Callable[[], bool]
    clock: Callable[[], float] = time.monotonic
    now_ns: Callable[[], int] = time.time_ns


def connect(index: int, workers: int, settings: Settings, report: Report) -> Parts:
    """Make the parts of worker `index` of `workers`; nothing is sent yet.

    Raises: ConfigError if librdkafka does not take a setting of `[kafka.client]`, or a file for Loki cannot be read.
    """

    def source(listener: Listener) -> Source:
        return Source(
            settings,
            worker=index,
            workers=workers,
            queue_bytes_max=queue_bytes_max(settings.workers.memory_bytes_max),
            listener=listener,
            on_error=report.trouble,
        )

    return Parts(
        source=source,
        pusher=Pusher(settings.loki, encode=_body, random=Random()),  # noqa: S311 - jitter, no secret
        letters=DeadLetters(settings, on_error=report.trouble),
        is_orphan=_is_orphan,
    )


def _body(request: PushRequest) -> bytes:
    return encode.compress(encode.encode(request))


def _is_orphan() -> bool:
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()
