"""Other log shippers, where they are on PATH: the same topic, the same sink, CPU time of the process per record.

Each runs from `peers/`, with the fields in `${…}` filled in, until its consumer group has committed all of the topic
and it has come to rest. What it lost on the way is not looked at.
"""

import shutil
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

import psutil
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks.end_to_end import Topic
from benchmarks.measured import NotMeasuredError, Usage, cpu_s, rss_peak_bytes
from shipper.devstack.server import spawn_leashed

_CONFIGS = Path(__file__).with_name("peers")
_TIMEOUT_S = 300.0
_STEP_S = 0.5
_REST_CPU_S, _RESTS = 0.02, 2
"""So little of a step's half a second, so many times, is rest."""


@dataclass(frozen=True)
class Peer:
    """A shipper of somebody else's.

    Attributes:
        name: the program, as it is called on PATH.
        config: a file in `peers/`.
        arguments: its command line; `{config}` and `{folder}` are filled in.
        version: arguments that make it print its version.
    """

    name: str
    config: str
    arguments: tuple[str, ...]
    version: tuple[str, ...] = ("--version",)


PEERS = (
    Peer("promtail", "promtail.yaml", ("-config.file={config}",)),
    Peer("otelcol", "otelcol.yaml", ("--config={config}",)),
    Peer("fluent-bit", "fluent-bit.yaml", ("-c", "{config}")),
    Peer("vector", "vector.yaml", ("--config", "{config}")),
    Peer("alloy", "alloy.alloy", ("run", "--storage.path={folder}", "{config}")),
)


def on_path() -> tuple[list[Peer], list[str]]:
    """Return the peers that are here, and the names of the others."""
    here = [peer for peer in PEERS if shutil.which(peer.name)]
    return here, [peer.name for peer in PEERS if peer not in here]


def measure_peer(peer: Peer, topic: Topic, url: str) -> Usage:
    """Let a peer ship a topic to a sink.

    Raises: NotMeasuredError if it ends by itself, or has not shipped everything in five minutes.
    """
    with tempfile.TemporaryDirectory(prefix="shipper-bench-", ignore_cleanup_errors=True) as folder:
        return _run(peer, topic, url, Path(folder))


def _run(peer: Peer, topic: Topic, url: str, folder: Path) -> Usage:
    group = f"bench-{uuid.uuid4().hex[:12]}"
    place = urlsplit(url)
    fields = {"KAFKA": topic.bootstrap, "TOPIC": topic.name, "GROUP": group, "LOKI": url, "FOLDER": str(folder)}
    fields |= {"LOKI_HOST": place.hostname or "", "LOKI_PORT": str(place.port)}
    config = folder / peer.config
    config.write_text(Template((_CONFIGS / peer.config).read_text()).safe_substitute(fields))
    command = [part.format(config=config, folder=folder) for part in (peer.name, *peer.arguments)]
    log = folder / f"{peer.name}.log"
    began = time.monotonic()
    process = spawn_leashed(command, log=log)
    try:
        usage = _until_at_rest(
            psutil.Process(process.pid), AdminClient({"bootstrap.servers": topic.bootstrap}), topic, group, began
        )
    except (psutil.NoSuchProcess, NotMeasuredError) as error:
        raise NotMeasuredError(f"{peer.name}: {error}; its log ends with:\n{log.read_text()[-2_000:]}") from error
    finally:
        process.terminate()
        try:
            process.wait(20)
        except Exception:  # noqa: BLE001 - whatever it is busy with, it has been measured
            process.kill()
    return usage


def _until_at_rest(process: psutil.Process, admin: AdminClient, topic: Topic, group: str, began: float) -> Usage:
    before, rests = 0.0, 0
    while time.monotonic() < began + _TIMEOUT_S:
        time.sleep(_STEP_S)
        used_s = cpu_s(process)
        is_done = _committed(admin, topic, group) >= topic.case.records
        rests = rests + 1 if is_done and used_s - before < _REST_CPU_S else 0
        if rests == _RESTS:
            times, passed_s = process.cpu_times(), time.monotonic() - began
            return Usage(times.user, times.system, passed_s, rss_peak_bytes(process.pid), 0)
        before = used_s
    raise NotMeasuredError(
        f"{_committed(admin, topic, group)} of {topic.case.records} records committed after {_TIMEOUT_S:g} s"
    )


def _committed(admin: AdminClient, topic: Topic, group: str) -> int:
    """Return how many records the group has committed; 0 while there is no such group."""
    places: Sequence[TopicPartition] = [TopicPartition(topic.name, number) for number in range(topic.case.partitions)]
    asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, list(places))])
    try:
        answer = asked[group].result(10)
    except Exception:  # noqa: BLE001 - no coordinator yet, or no group
        return 0
    return sum(max(place.offset, 0) for place in answer.topic_partitions)
