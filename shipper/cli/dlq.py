"""`shipper dlq list` and `show`: look at dead letters."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.text import Text

from shipper.cli import letters as show_letters
from shipper.cli.letters import say, say_json
from shipper.cli.moment import moment_ms
from shipper.errors import ConfigError, ShipperError
from shipper.kafka.letters import LettersReader, Place, Unreadable
from shipper.records import Reason
from shipper.settings import Settings
from shipper.tools import letter_fields
from shipper.tools.dead_letters import Known, Wanted, fetch, survey


def wanted(
    *,
    reasons: Sequence[str] | None = None,
    topics: Sequence[str] | None = None,
    partitions: Sequence[int] | None = None,
    since: str | None = None,
    until: str | None = None,
    contains: str = "",
    places: Sequence[str] | None = None,
) -> Wanted:
    """Return the filters that the options give. Raises ConfigError if one of them makes no sense."""
    known = [reason.value for reason in Reason]
    for reason in reasons or ():
        if reason not in known:
            raise ConfigError(f"--reason {reason}: there is no such reason; known are {', '.join(known)}")
    now_ms = time.time_ns() // 1_000_000
    return Wanted(
        reasons=frozenset(reasons or ()),
        topics=frozenset(topics or ()),
        partitions=frozenset(partitions or ()),
        since_ms=moment_ms("--since", since, now_ms=now_ms),
        until_ms=moment_ms("--until", until, now_ms=now_ms),
        contains=contains.encode("utf-8", "surrogateescape"),
        places=frozenset(map(_place, places or ())),
    )


def _place(text: str) -> Place:
    try:
        topic, partition, offset = text.rsplit("/", 2)
        return Place(topic, int(partition), int(offset))
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is no place of a record: give TOPIC/PARTITION/OFFSET, such as logs/3/47201"
        ) from error


def list_letters(
    settings: Settings, wanted: Wanted, *, limit: int | None, everything: bool, as_json: bool, console: Console
) -> int:
    """Print the letters, the earliest first: a table with a summary, or an object a line; returns the exit code.

    Raises: KafkaUnavailableError with the way out; ConfigError if librdkafka refuses `[kafka.client]`.
    """
    with LettersReader(settings) as reader:
        index = survey(reader, reader.ends(), wanted)
    found = index.letters()
    chosen = [known for known in found if everything or known.marker is None]
    tell_unreadable(settings, index.unreadable, index.first_unreadable)
    if as_json:
        for known in chosen[:limit]:
            say_json(console, letter_fields.fields(known))
        return 0
    if chosen:
        for line in show_letters.table(chosen[:limit]):
            say(console, line)
        say(console, "")
    for line in _summary(settings, found, chosen, limit, everything=everything):
        say(console, line)
    return 0


def _summary(
    settings: Settings, found: Sequence[Known], chosen: Sequence[Known], limit: int | None, *, everything: bool
) -> Iterator[str]:
    states = Counter(map(letter_fields.state, found))
    hidden = "" if everything or not states["redriven"] else " (--all shows them too)"
    shown = f"; the first {limit:,} are shown" if limit is not None and limit < len(chosen) else ""
    yield (
        f"{count(len(found), 'dead letter')} in {settings.dead_letter.topic}: {states['waiting']:,} waiting, "
        f"{states['redriven']:,} redriven{hidden}{shown}"
    )
    yield from show_letters.by_reason(chosen)
    if copies := sum(len(known.copies) - 1 for known in found):
        yield f"{count(copies, 'letter')} written again after a crash: counted once"


def show(settings: Settings, place: str, *, as_json: bool, console: Console) -> int:
    """Print all of one letter, or of several where a topic was made anew; returns the exit code.

    Raises: KafkaUnavailableError with the way out; ConfigError if librdkafka refuses `[kafka.client]`.
    """
    filters = wanted(places=[place])
    with LettersReader(settings) as reader:
        found = survey(reader, reader.ends(), filters).letters()
        by_origin = {known.origin: known for known in found}
        for letter in fetch(reader, found):
            known = by_origin[letter.origin]
            if as_json:
                say_json(console, letter_fields.all_fields(known, letter))
                continue
            for line in show_letters.description(known, letter):
                say(console, line)
    if not found:
        raise no_letter(settings, filters.places)
    return 0


def no_letter(settings: Settings, places: Iterable[Place]) -> ShipperError:
    """Return the error for records that have no letter."""
    named = ", ".join(map(str, sorted(places)))
    return ShipperError(
        f"{settings.dead_letter.topic} has no letter of {named}: `shipper dlq list --all` shows which there are"
    )


def tell_unreadable(settings: Settings, unreadable: int, first: Unreadable | None) -> None:
    """Say on stderr how many records of the dead letter topic are no letters; they are left alone."""
    if first is not None:
        line = (
            f"{count(unreadable, 'record')} of {settings.dead_letter.topic} are no letters of shipper's and are left "
            f"alone; one is {first.at}: {first.why}"
        )
        Console(stderr=True).print(Text(line, style="yellow"), soft_wrap=True)


def count(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
