"""Which records are verified: a range of offsets per partition, and what is to be said about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from shipper.errors import CannotStartError, ConfigError
from shipper.kafka.archive import Archive, Offsets
from shipper.records import TopicPartition
from shipper.settings import Settings

_NS_PER_MS = 10**6


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asked for; None where nothing was said.

    Attributes:
        topic: one of `kafka.topics`.
        partition: of that topic.
        from_offset: the first offset.
        to_offset: the offset to stop before.
        since_ns: the first record by Kafka's timestamps, in nanoseconds since the epoch.
        until_ns: the record to stop before.
    """

    topic: str | None = None
    partition: int | None = None
    from_offset: int | None = None
    to_offset: int | None = None
    since_ns: int | None = None
    until_ns: int | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing restricts it."""
        return self == Wanted()


@dataclass(frozen=True)
class Promised:
    """What shipper has promised: the records that are judged.

    Attributes:
        judged: the range of offsets of each partition.
        is_whole: whether the topics are judged from their very first record on, and all of them.
        cannot_see: sentences about what lies outside.
    """

    judged: dict[TopicPartition, range]
    is_whole: bool
    cannot_see: list[str] = field(default_factory=list)


def topics_of(settings: Settings, wanted: Wanted) -> Sequence[str]:
    """Return the topics that are meant. Raises ConfigError if what was asked cannot be."""
    topics = settings.kafka.topics
    if wanted.topic is not None and wanted.topic not in topics:
        raise ConfigError(f"--topic {wanted.topic} is none of kafka.topics: {', '.join(topics)}")
    if (wanted.from_offset is not None or wanted.to_offset is not None) and wanted.partition is None:
        raise ConfigError("--from-offset and --to-offset want --partition: every partition counts its own offsets")
    if wanted.partition is not None and wanted.topic is None and len(topics) > 1:
        raise ConfigError(f"--partition wants --topic, one of {', '.join(topics)}")
    return [wanted.topic] if wanted.topic else topics


def promised(archive: Archive, settings: Settings, wanted: Wanted) -> Promised:
    """Ask Kafka for the range of each partition: from where it begins up to what is committed, or what was asked.

    Raises: KafkaUnavailableError; ConfigError if what was asked is not there; CannotStartError if nothing is promised.
    """
    topics = topics_of(settings, wanted)
    partitions = archive.partitions(topics)
    if wanted.partition is not None:
        partitions = [at for at in partitions if at.partition == wanted.partition]
        if not partitions:
            raise ConfigError(f"--partition {wanted.partition}: the topic {topics[0]} has no such partition")
    # In this order: what is committed lies before an end that is asked for later.
    committed, lows, highs = archive.committed(partitions), archive.lows(partitions), archive.highs(partitions)
    if all(offset < 0 for offset in committed.values()) and any(highs[at] > lows[at] for at in partitions):
        raise CannotStartError(
            f"the group {settings.kafka.group_id} has committed nothing in {', '.join(topics)}, so nothing is promised "
            "yet: run `shipper run` first, or correct kafka.group_id"
        )
    starts, stops = dict(lows), dict(highs)
    if wanted.from_offset is not None:
        starts = dict.fromkeys(partitions, wanted.from_offset)
    if wanted.since_ns is not None:
        starts = _offsets_at(archive, partitions, wanted.since_ns, highs)
    if wanted.to_offset is not None:
        stops = dict.fromkeys(partitions, wanted.to_offset)
    if wanted.until_ns is not None:
        stops = _offsets_at(archive, partitions, wanted.until_ns, highs)
    judged = {}
    for at in partitions:
        stop = min(stops[at], highs[at], max(committed[at], 0))
        judged[at] = range(start := max(starts[at], lows[at]), max(start, stop))
    found = Promised(judged, wanted.is_everything and not any(lows.values()))
    found.cannot_see.extend(_deleted(partitions, lows, starts, asked=wanted.from_offset is not None))
    found.cannot_see.extend(_uncommitted(settings, partitions, stops, highs, judged))
    if settings.kafka.start == "latest" and wanted.since_ns is None and wanted.from_offset is None:
        found.cannot_see.append(
            'kafka.start is "latest": records from before the first start were never to be shipped, and count as '
            "missing here; leave them out with --since"
        )
    return found


def _offsets_at(archive: Archive, partitions: Sequence[TopicPartition], time_ns: int, highs: Offsets) -> Offsets:
    """Return the first offset of this time or later, and the end where all records are earlier."""
    found = archive.offsets_at(partitions, max(0, time_ns // _NS_PER_MS))
    return {at: found[at] if found[at] >= 0 else highs[at] for at in partitions}


def _deleted(partitions: Sequence[TopicPartition], lows: Offsets, starts: Offsets, *, asked: bool) -> list[str]:
    """Say what Kafka's retention has deleted of what was asked."""
    gone = {at: lows[at] - (starts[at] if asked else 0) for at in partitions if starts[at] <= lows[at]}
    records = sum(count for count in gone.values() if count > 0)
    if not records:
        return []
    places = ", ".join(f"{at.topic}/{at.partition} before offset {lows[at]}" for at, count in gone.items() if count > 0)
    return [f"Kafka's retention has deleted {records:,} records ({places}): whether Loki has them cannot be seen"]


def _uncommitted(
    settings: Settings,
    partitions: Sequence[TopicPartition],
    stops: Offsets,
    highs: Offsets,
    judged: dict[TopicPartition, range],
) -> list[str]:
    waiting = sum(max(0, min(stops[at], highs[at]) - judged[at].stop) for at in partitions)
    group = settings.kafka.group_id
    left_out = f"{waiting:,} records are not committed by the group {group} yet: they are not promised, and left out"
    return [left_out] if waiting else []
