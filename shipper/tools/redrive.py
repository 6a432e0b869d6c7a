"""Puts the records of dead letters back into the topics that they came from, each exactly once.

    look: survey, obstacles ─▶ (the user agrees) ─▶ begin: fence others ─▶ survey again ─▶ put back, batch by batch

What was put back is known by its marker, which is written in the same transaction as the record. Markers are read
again after `begin`, because only then nobody else can write any.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from shipper.errors import KafkaUnavailableError
from shipper.kafka.backlog import Position, ends_of, positions
from shipper.kafka.letters import Letter, LettersReader, Place
from shipper.kafka.redrive import Errand, Redriver
from shipper.kafka.topics import Admin, Topic
from shipper.settings import Settings
from shipper.tools.dead_letters import Known, Wanted, fetch, survey

_BATCH_LETTERS = 500
_BATCH_BYTES = 8 * 1024 * 1024
_OPEN_S = 60.0
_ASK_S = 0.5

_Told = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a redrive would do.

    Attributes:
        wanted: which letters are looked for.
        letters: those to be put back.
        beyond: how many more there are than the limit permits.
        redriven: how many of those looked for were put back before.
        unsettled: how many shipper will read again by itself, since its group has not committed past their records.
        hindered: those that cannot be put back, and why.
        partitions: number of partitions of each topic.
        missing: places looked for that no letter is about.
    """

    wanted: Wanted
    letters: Sequence[Known]
    beyond: int
    redriven: int
    unsettled: int
    hindered: Sequence[tuple[Known, str]]
    partitions: Mapping[str, int]
    missing: Sequence[Place]


@dataclass(slots=True)
class Outcome:
    """What a redrive did so far.

    Attributes:
        put_back: records, by topic.
        redriven: letters that somebody else had put back meanwhile.
        failed: letters that were not put back, and why.
    """

    put_back: Counter[str] = field(default_factory=Counter)
    redriven: int = 0
    failed: list[tuple[Known, str]] = field(default_factory=list)


def plan(settings: Settings, wanted: Wanted, *, limit: int | None = None, now_ms: int) -> Plan:
    """Look which letters can be put back; nothing is changed.

    Args:
        settings: the configuration.
        wanted: which letters.
        limit: at most so many, the earliest.
        now_ms: milliseconds since the epoch.

    Raises: KafkaUnavailableError with the way out; ConfigError if librdkafka refuses `[kafka.client]`.
    """
    with LettersReader(settings) as reader:
        index = survey(reader, reader.ends(), wanted)
    letters = index.letters()
    waiting = [known for known in letters if known.marker is None]
    admin = Admin(settings.kafka)
    topics = admin.describe({known.origin.place.topic for known in waiting}).topics
    group = {(it.topic, it.partition): it for it in positions(admin, settings.kafka, topics.values())}
    retentions_ms = _retentions_ms(admin, topics)
    free: list[Known] = []
    unsettled = 0
    hindered: list[tuple[Known, str]] = []
    for known in waiting:
        place = known.origin.place
        if _is_due(place, group.get((place.topic, place.partition))):
            unsettled += 1
        elif obstacle := _obstacle(known, topics.get(place.topic), retentions_ms.get(place.topic), now_ms):
            hindered.append((known, obstacle))
        else:
            free.append(known)
    return Plan(
        wanted=wanted,
        letters=free[:limit],
        beyond=len(free) - len(free[:limit]),
        redriven=len(letters) - len(waiting),
        unsettled=unsettled,
        hindered=hindered,
        partitions={topic.name: topic.partitions for topic in topics.values()},
        missing=sorted(set(wanted.places) - {known.origin.place for known in letters}),
    )


def _is_due(place: Place, position: Position | None) -> bool:
    """Say whether shipper will read this record again: if it is there, and its offset was not committed."""
    if position is None:
        return False
    return position.low <= place.offset < position.high and place.offset >= (position.committed or 0)


def _obstacle(known: Known, topic: Topic | None, retention_ms: int | None, now_ms: int) -> str | None:
    name = known.origin.place.topic
    if topic is None or not topic.partitions:
        return f"topic {name} does not exist, or is hidden from this user: make it, with `shipper topics create`"
    if topic.writable is False:
        return f"this user may not write topic {name}: grant WRITE with kafka-acls, or log in as another user"
    if retention_ms is not None and 0 <= known.origin.timestamp_ms < now_ms - retention_ms:
        return (
            f"it is older than the retention.ms of topic {name}, {retention_ms}: Kafka could delete it before it is "
            "shipped; lengthen that for the time being"
        )
    return None


def _retentions_ms(admin: Admin, topics: Iterable[str]) -> dict[str, int]:
    """Return how long each topic keeps a record that comes with its own timestamp, as far as we may know."""
    try:
        configs = admin.configs(topics)
    except KafkaUnavailableError:  # DESCRIBE_CONFIGS is not needed for anything else
        return {}
    return {
        name: int(config["retention.ms"])
        for name, config in configs.items()
        if config.get("message.timestamp.type") != "LogAppendTime" and int(config.get("retention.ms", -1)) >= 0
    }


def carry_out(settings: Settings, plan: Plan, outcome: Outcome, *, tell: _Told = lambda _: None) -> None:
    """Put the records of a plan's letters back, exactly once each.

    Args:
        settings: the configuration.
        plan: what to do.
        outcome: is brought up to date as it goes; it holds when this raises, too.
        tell: is told how many letters are done with.

    Raises: RedriveEndedError if another redrive took over; KafkaUnavailableError with the way out.
    """
    redriver = Redriver(settings)
    redriver.begin()
    with LettersReader(settings) as reader:
        now = {known.origin: known for known in survey(reader, _ends(settings, reader), plan.wanted).letters()}
        left = {known.origin: now[known.origin] for known in plan.letters if known.origin in now}
        for origin in [origin for origin, known in left.items() if known.marker]:
            del left[origin]
            outcome.redriven += 1
        for batch in _batches(fetch(reader, left.values())):
            errands = [_errand(letter, left[letter.origin], plan.partitions) for letter in batch]
            for errand, result in redriver.put_back(errands):
                known = left.pop(errand.letter.origin)
                if isinstance(result, Place):
                    outcome.put_back[result.topic] += 1
                else:
                    outcome.failed.append((known, result))
            tell(len(batch))
    settled = now.keys() - left.keys()
    gone = [known for known in plan.letters if known.origin not in settled]
    outcome.failed += [
        (known, f"it is in {settings.dead_letter.topic} no more: retention deleted it") for known in gone
    ]


def _ends(settings: Settings, reader: LettersReader) -> dict[int, int]:
    """Return the ends of the dead letter topic, no marker behind them.

    The transaction of another program that is open there would hide markers that were committed after it began.
    """
    name = settings.dead_letter.topic
    admin = Admin(settings.kafka)
    deadline = time.monotonic() + _OPEN_S
    while True:
        found = admin.describe([name]).topics
        if name in found and found[name].writable is False:
            raise KafkaUnavailableError(
                f"this user may not write topic {name}, which gets a marker of each letter that is put back; nothing "
                "was put back: grant WRITE with kafka-acls, or log in as another user"
            )
        highs = ends_of(admin, found.values())
        ends = reader.ends()
        if all(ends.get(partition, 0) >= high for (_, partition), high in highs.items()):
            return ends
        if time.monotonic() > deadline:
            raise KafkaUnavailableError(
                f"a transaction of another program is open in {name}, so what was put back cannot be seen; nothing was "
                "put back: look at kafka-transactions.sh, and run it again when that one has ended"
            )
        time.sleep(_ASK_S)


def _errand(letter: Letter, known: Known, partitions: Mapping[str, int]) -> Errand:
    place = letter.origin.place
    marks = sorted({copy.partition for copy in known.copies})
    # A topic that was made anew may have fewer: what was together stays together, in its order.
    return Errand(letter, place.partition % partitions[place.topic], marks)


def _batches(letters: Iterable[Letter]) -> Iterator[list[Letter]]:
    batch: list[Letter] = []
    size = 0
    for letter in letters:
        batch.append(letter)
        size += len(letter.value or b"")
        if len(batch) >= _BATCH_LETTERS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
