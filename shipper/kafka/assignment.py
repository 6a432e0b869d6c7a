"""Who reads which partition, and from where: arithmetic only, the same answer on every host."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


def pinned(
    partitions: Iterable[int], *, worker: int, workers: int, node_index: int = 0, node_count: int = 1
) -> tuple[int, ...]:
    """Choose one worker's partitions: every partition has exactly one worker of one host, whatever the numbers.

    Partitions are dealt to the hosts first (p mod node_count), then to the workers of each host. No host needs to know
    how many workers another one runs, so hosts of different size leave no gap and no overlap. On a single host this is
    p mod workers.

    Args:
        partitions: partition numbers of one topic.
        worker: this worker, 0 … workers - 1.
        workers: workers on this host.
        node_index: this host, 0 … node_count - 1.
        node_count: hosts that share the topic.

    Returns: this worker's partitions, ascending.
    """
    return tuple(
        partition
        for partition in sorted(partitions)
        if partition % node_count == node_index and partition // node_count % workers == worker
    )


def workers_count(configured: int, *, cores: int, partitions: int, node_count: int = 1) -> int:
    """Say how many workers a host runs.

    Args:
        configured: `workers.count`; 0 means one per core.
        cores: cores that this host may use.
        partitions: of the topic that has the most.
        node_count: hosts that share the topic.

    Returns: at least 1, and never more than the largest share of partitions that falls to one host: a worker without
        a partition would only cost memory.
    """
    share = -(-partitions // node_count)
    return max(1, min(configured or cores, share))


@dataclass(frozen=True, slots=True)
class Start:
    """Where reading a partition begins.

    Attributes:
        offset: the first offset to read.
        gone: records that were due but exist no more, as far as offsets tell.
        rewound: whether the partition now ends before the offset that was due, as after it was made anew.
    """

    offset: int
    gone: int = 0
    rewound: bool = False


def start_offset(due: int | None, *, low: int, high: int, start: Literal["earliest", "latest"]) -> Start:
    """Decide where reading a partition begins.

    Args:
        due: the offset to go on with (committed, or reached before); None when there is none.
        low: the partition's first offset.
        high: its end, the next offset that will be written.
        start: the policy for a partition without a `due`.

    Returns: an offset between low and high. What lies between is never skipped: a `due` outside goes on at `low`.
    """
    if due is None:
        return Start(low if start == "earliest" else high)
    if due < low:
        return Start(low, gone=low - due)
    if due > high:
        return Start(low, rewound=True)
    return Start(due)
