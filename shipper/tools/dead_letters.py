"""Which dead letters there are, each counted once, and which of them were put back."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from shipper.kafka.letters import Letter, LettersReader, Marker, Origin, Place, Unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which letters are looked for; what is empty or None does not matter.

    Attributes:
        reasons: one of these.
        topics: topics that the records came from.
        partitions: their partitions.
        since_ms: dead-lettered then or later, in milliseconds since the epoch.
        until_ms: dead-lettered before.
        contains: bytes that are in the value.
        places: where the records were.
    """

    reasons: Collection[str] = ()
    topics: Collection[str] = ()
    partitions: Collection[int] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    contains: bytes = b""
    places: Collection[Place] = ()

    def includes(self, letter: Letter) -> bool:
        """Say whether this letter is looked for."""
        place = letter.origin.place
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (not self.topics or place.topic in self.topics)
            and (not self.partitions or place.partition in self.partitions)
            and (not self.places or place in self.places)
            and (self.since_ms is None or letter.written_ms >= self.since_ms)
            and (self.until_ms is None or letter.written_ms < self.until_ms)
            and (not self.contains or self.contains in (letter.value or b""))
        )


@dataclass(slots=True)
class Known:
    """What is kept of a letter: about 0.6 KB, whatever the size of its value.

    Attributes:
        origin: which record it is about.
        written_ms: when its first copy was written, in milliseconds since the epoch.
        reason: why.
        detail: why, in words.
        value_bytes: length of the value.
        copies: where it lies in the dead letter topic; more than once after a crash.
        is_wanted: whether one of its copies is looked for.
        marker: what says that it was put back; None while it waits.
        rounds: how often the record was put back before it became this letter.
    """

    origin: Origin
    written_ms: int
    reason: str
    detail: str
    value_bytes: int
    copies: tuple[Place, ...] = ()
    is_wanted: bool = False
    marker: Marker | None = None
    rounds: int = 0


class Index:
    """All letters and markers of the dead letter topic, whatever the order in which they are added.

    Args:
        wanted: which letters are looked for.

    Attributes:
        unreadable: how many records are neither letters nor markers.
        first_unreadable: one of them.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._letters: dict[Origin, Known] = {}
        self._markers: dict[Origin, Marker] = {}
        self._before: dict[Place, Origin] = {}
        self.unreadable = 0
        self.first_unreadable: Unreadable | None = None

    def add(self, found: Letter | Marker | Unreadable) -> None:
        """Take in a record of the dead letter topic."""
        match found:
            case Letter():
                self._add_letter(found)
            case Marker():
                self._markers[found.origin] = found
                self._before[found.to] = found.origin
            case Unreadable():
                self.unreadable += 1
                self.first_unreadable = self.first_unreadable or found

    def _add_letter(self, letter: Letter) -> None:
        known = self._letters.get(letter.origin)
        if known is None:
            value_bytes = len(letter.value or b"")
            known = Known(letter.origin, letter.written_ms, letter.reason, letter.detail, value_bytes)
            self._letters[letter.origin] = known
        known.copies += (letter.at,)
        known.written_ms = min(known.written_ms, letter.written_ms)
        known.is_wanted |= self._wanted.includes(letter)

    def letters(self) -> list[Known]:
        """Return the letters that are looked for, in the order in which they were written."""
        wanted = [known for known in self._letters.values() if known.is_wanted]
        for known in wanted:
            known.marker = self._markers.get(known.origin)
            known.rounds = sum(1 for _ in self._earlier(known.origin.place))
        return sorted(wanted, key=lambda known: (known.written_ms, known.origin))

    def _earlier(self, place: Place) -> Iterator[Place]:
        """Yield where the record of a letter was before, round by round."""
        seen = {place}
        while (origin := self._before.get(place)) and origin.place not in seen:
            place = origin.place
            seen.add(place)
            yield place


def survey(reader: LettersReader, ends: Mapping[int, int], wanted: Wanted) -> Index:
    """Read the dead letter topic up to these ends. Raises KafkaUnavailableError."""
    index = Index(wanted)
    for found in reader.read(ends):
        index.add(found)
    return index


def fetch(reader: LettersReader, letters: Iterable[Known]) -> Iterator[Letter]:
    """Read these letters again, with all that they hold: the first copy of each. Raises KafkaUnavailableError."""
    places = {known.copies[0] for known in letters}
    ends: dict[int, int] = {}
    starts: dict[int, int] = {}
    for _, partition, offset in places:
        ends[partition] = max(offset + 1, ends.get(partition, 0))
        starts[partition] = min(offset, starts.get(partition, offset))
    found = (it for it in reader.read(ends, starts) if isinstance(it, Letter) and it.at in places)
    yield from islice(found, len(places))
