"""What runs in a process of its own while its CPU time and memory are measured: a worker, or the bare loop.

Both are started as the supervisor starts workers. Their modules are imported before the measurement begins, so that it
holds what a record costs, and not what a Python process costs.
"""

import importlib
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Consumer, TopicPartition

from shipper.kafka.connection import create_client
from shipper.kafka.consumer import consumer_settings
from shipper.process.spawn import CONTEXT
from shipper.settings import Settings

WORKER = "shipper.process.worker:main"
BARE = "benchmarks.measured:consume"

_TIMEOUT_S = 600.0
_STEP_S = 0.25


@dataclass(frozen=True)
class Usage:
    """What a process used from the call of its target up to its end.

    Attributes:
        user_s: CPU time in user mode, of all its threads, in seconds.
        system_s: the same in the kernel.
        wall_s: time that passed, in seconds.
        rss_peak_bytes: the most memory that it ever had resident, that of its imports included.
        exit_code: 0 where all went well.
    """

    user_s: float
    system_s: float
    wall_s: float
    rss_peak_bytes: int
    exit_code: int

    @property
    def cpu_s(self) -> float:
        """CPU time, in seconds."""
        return self.user_s + self.system_s


def together(usages: Sequence[Usage]) -> Usage:
    """Sum up processes that ran side by side: their CPU time, the longest wall time, the largest memory."""
    return Usage(
        user_s=sum(usage.user_s for usage in usages),
        system_s=sum(usage.system_s for usage in usages),
        wall_s=max(usage.wall_s for usage in usages),
        rss_peak_bytes=max(usage.rss_peak_bytes for usage in usages),
        exit_code=max(usage.exit_code for usage in usages),
    )


class NotMeasuredError(Exception):
    """A run did not do what it was to do, so its figures would mean nothing."""


def measure(target: str, *arguments: object) -> Usage:
    """Run a function, named as `module:function`, with these arguments in a process of its own.

    Raises: NotMeasuredError if the process ended before it could say what it used, or went on for ten minutes.
    """
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_run_measured, args=(sender, target, *arguments))
    process.start()
    sender.close()
    try:
        if not receiver.poll(_TIMEOUT_S):
            raise NotMeasuredError(f"{target} did not end within {_TIMEOUT_S:g} s")
        usage: Usage = receiver.recv()
    except EOFError:
        process.join()
        raise NotMeasuredError(f"{target} ended with exit code {process.exitcode}; stderr says why") from None
    finally:
        process.kill()
        process.join()
        receiver.close()
    if usage.exit_code:
        raise NotMeasuredError(f"{target} ended with exit code {usage.exit_code}; stderr says why")
    return usage


def _run_measured(sender: Connection, target: str, *arguments: object) -> None:
    module, _, name = target.partition(":")
    run: Callable[..., Any] = getattr(importlib.import_module(module), name)
    exit_code = 0
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    try:
        run(*arguments)
    except SystemExit as exit_:
        exit_code = int(exit_.code or 0)
    after, ended = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    sender.send(
        Usage(
            user_s=after.ru_utime - before.ru_utime,
            system_s=after.ru_stime - before.ru_stime,
            wall_s=ended - began,
            rss_peak_bytes=rss_peak_bytes("self"),
            exit_code=exit_code,
        )
    )


def rss_peak_bytes(pid: int | str) -> int:
    """Return the most memory that a process ever had resident, in bytes."""
    # Not ru_maxrss: across fork and exec Linux hands on the peak of the process that started this one.
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    kibibytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kibibytes) * 1024


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU time that a process has used so far, in seconds."""
    times = process.cpu_times()
    return float(times.user + times.system)


def consume(settings: Settings, queue_bytes_max: int) -> None:
    """Run the yardstick: consume a whole topic, from the beginning to the end, and do nothing with the records.

    Args:
        settings: a worker's; its consumer has the same settings, and hands over as many records at once.
        queue_bytes_max: bound on librdkafka's queue, in bytes, as a worker has it.
    """
    kafka = settings.kafka
    consumer: Consumer = create_client(
        Consumer, dict(consumer_settings(kafka, worker=0, queue_bytes_max=queue_bytes_max))
    )
    topic = kafka.topics[0]
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    ends = [consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1] for partition in partitions]
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    # The end of each partition comes as a message too, once.
    left = sum(ends) + len(ends)
    deadline = time.monotonic() + _TIMEOUT_S
    while left > 0 and time.monotonic() < deadline:
        left -= len(consumer.consume(kafka.batch_records_max, _STEP_S))
    consumer.close()
    if left:
        raise NotMeasuredError(f"the bare loop ended {left} messages off the end of {topic}")
