"""Makes realistic log records of the five services, and says what a shipper must make of them.

The same seed gives the same records. They are made in columns: journeys are drawn, their templates filled in by
`str.__mod__` from numpy object columns, so that a million takes a few seconds.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from shipper.devstack.journeys import JOURNEYS, Step
from shipper.records import Reason

CHUNK_RECORDS = 10_000
LINE_BYTES_TOO_MANY = 262_145
"""One byte more than Loki takes by default."""

_PLACEHOLDER = re.compile(r'"<#(\w+)>"|<#?(\w+)>')
_LEVEL_OF_SPELLING = {"verbose": "debug", "warning": "warn"}
_UNKNOWN = ("unknown", "unknown")
_DAY_MS = 86_400_000
_TOO_OLD_MS, _TOO_NEW_MS = -30 * _DAY_MS, 30 * _DAY_MS

_USERS = np.array([f"usr_{number:06x}" for number in range(4_711, 4_711 + 7 * 6_000, 7)], object)
_ROOMS = np.array([f"room-{number}" for number in range(100, 500)], object)
_IPS = np.array([f"203.0.113.{a}" for a in range(1, 255)] + [f"2001:db8::{a:x}" for a in range(1, 200)], object)
_AGENTS = np.array(
    [
        "ChatApp/5.2 (iPhone; iOS 18.5)",
        "ChatApp/5.1 (Android 15; Pixel 9)",
        "Mozilla/5.0 (X11; Linux x86_64) Firefox/143.0",
    ],
    object,
)
_WORDS = (
    *("ok", "see you at 6?", "done 👍", "call me", "thanks a lot, that fixed it", "the build is green again", "🎉🎉🎉"),
    *("schönes Wochenende!", "明日の会議は10時です", "Привет всем", "¿Quién viene?", "رائع", "naïve café", "\\o/"),
    *("does it say 100% now?", 'he said "later"', "<b>not</b> bold", "C:\\new\\table"),
)
_QUOTED_WORDS = np.array([json.dumps(words, ensure_ascii=False)[1:-1] for words in _WORDS], object)
_NAMES = np.array(["Zoë", "Łukasz", "さくら", "O'Brien", "Ana María", "Jürgen", "Kim", "Νίκος"], object)
_INSTANCES = np.array(
    [f"{name}-{n}" for name in ("7c9d4", "5f6bb", "84d7f") for n in ("x2x9q", "m4kzt", "p7vhl")], object
)

Objects = npt.NDArray[np.object_]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Truth:
    """What a shipper with the default configuration must make of records, worked out without it.

    Attributes:
        entries: (service, level) → entries that Loki must hold; malformed records are ("unknown", "unknown").
        malformed: reason → records that cannot be read; counted in `entries` too.
        dead_letters: reason → records that Loki can never take.
    """

    entries: Counter[tuple[str, str]] = field(default_factory=Counter)
    malformed: Counter[Reason] = field(default_factory=Counter)
    dead_letters: Counter[Reason] = field(default_factory=Counter)

    @property
    def records(self) -> int:
        """How many records this is about."""
        return self.entries.total() + self.dead_letters.total()

    def __add__(self, other: "Truth") -> "Truth":
        return Truth(
            self.entries + other.entries, self.malformed + other.malformed, self.dead_letters + other.dead_letters
        )


@dataclass(frozen=True)
class Chunk:
    """Records in the order in which they are to be written: keys (the service's name) and values, row by row."""

    keys: list[bytes]
    values: list[bytes]
    truth: Truth

    def __len__(self) -> int:
        return len(self.values)


class _Template(NamedTuple):
    fill: Callable[[tuple[object, ...]], str]
    columns: tuple[str, ...]
    key: bytes
    truth: tuple[str, str]


def generate(
    records: int, *, seed: int, first_ms: int, last_ms: int, malformed: float = 0.0, poisonous: int = 0
) -> Iterator[Chunk]:
    """Make records, a chunk at a time.

    Args:
        records: how many.
        seed: the same seed gives the same records.
        first_ms: time of the first record, milliseconds since the epoch.
        last_ms: time of the last one.
        malformed: share of records that are broken: cut, plain text, no UTF-8, an array.
        poisonous: how many records, spread over all, Loki can never take: a month old, a month ahead, a line too long.
    """
    random = np.random.default_rng(seed)
    poisoned = np.linspace(0, records - 1, poisonous, dtype=np.int64)
    for first in range(0, records, CHUNK_RECORDS):
        count = min(CHUNK_RECORDS, records - first)
        begin_ms, end_ms = (first_ms + (last_ms - first_ms) * row // max(records, 1) for row in (first, first + count))
        poisons = {
            row - first: ordinal for ordinal, row in enumerate(poisoned.tolist()) if first <= row < first + count
        }
        yield _chunk(random, count, begin_ms, end_ms, malformed, poisons)


def _compile(step: Step) -> _Template:
    fields = {"timestamp": "<time>", "level": step.level, "service": step.service, **step.record}
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).replace("%", "%%")
    columns = tuple(quoted or plain for quoted, plain in _PLACEHOLDER.findall(text))
    level = _LEVEL_OF_SPELLING.get(step.level, step.level)
    return _Template(_PLACEHOLDER.sub("%s", text).__mod__, columns, step.service.encode(), (step.service, level))


_TEMPLATES = tuple(_compile(step) for journey in JOURNEYS for step in journey.steps)
_LENGTHS = np.array([len(journey.steps) for journey in JOURNEYS])
_FIRST_TEMPLATES = np.cumsum(_LENGTHS) - _LENGTHS
_WEIGHTS = np.array([journey.weight for journey in JOURNEYS]) / sum(journey.weight for journey in JOURNEYS)
_KEYS = np.array([template.key for template in _TEMPLATES], object)


def _chunk(
    random: np.random.Generator, count: int, begin_ms: int, end_ms: int, malformed: float, poisons: Mapping[int, int]
) -> Chunk:
    # Every journey has a record at least, so that as many journeys as records are enough; the surplus is cut off.
    journeys = random.choice(len(JOURNEYS), count, p=_WEIGHTS)
    journeys = journeys[: int(np.searchsorted(np.cumsum(_LENGTHS[journeys]), count)) + 1]
    lengths = _LENGTHS[journeys]
    steps = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    kinds = (np.repeat(_FIRST_TEMPLATES[journeys], lengths) + steps)[:count]
    starts = np.linspace(begin_ms, end_ms, len(journeys), endpoint=False).astype(np.int64)
    times = (np.repeat(starts, lengths) + steps * random.integers(1, 40, len(steps)))[:count]
    order = np.argsort(times, kind="stable")
    owners = np.repeat(np.arange(len(journeys)), lengths)[:count][order]
    kinds, times = kinds[order], np.minimum(times[order], end_ms)
    values = _fill(kinds, _columns(random, times, owners, len(journeys)))
    truth = Truth()
    for row in np.flatnonzero(random.random(count) < malformed).tolist():
        if row not in poisons:
            reason, values[row] = _BREAKERS[int(random.integers(len(_BREAKERS)))](values[row])
            truth.malformed[reason] += 1
            truth.entries[_UNKNOWN] += 1
            kinds[row] = -1 - kinds[row]  # its key is still its service's
    for row, ordinal in poisons.items():
        reason, values[row] = _poison(ordinal, values[row], int(times[row]))
        truth.dead_letters[reason] += 1
        kinds[row] = -1 - kinds[row]
    for kind, entries in enumerate(np.bincount(kinds[kinds >= 0], minlength=len(_TEMPLATES)).tolist()):
        if entries:
            truth.entries[_TEMPLATES[kind].truth] += entries
    return Chunk(_KEYS[np.where(kinds < 0, -1 - kinds, kinds)].tolist(), values, truth)


def _columns(random: np.random.Generator, times: Int64s, owners: Int64s, journeys: int) -> dict[str, Objects]:
    count = len(times)

    def drawn(pool: Objects) -> Objects:
        return pool[random.integers(0, len(pool), journeys)][owners]

    def numbers(values: npt.NDArray[Any]) -> Objects:
        return values.astype(np.int64).astype(object)

    stamps = np.datetime_as_string(times.astype("datetime64[ms]"), unit="ms", timezone="UTC")
    return {
        "time": stamps.astype(object),
        "request": _uuids(random, journeys)[owners],
        "message": _uuids(random, journeys)[owners],
        "socket": np.array([request[:20] for request in _uuids(random, journeys)], object)[owners],
        "user": drawn(_USERS),
        "room": drawn(_ROOMS),
        "ip": drawn(_IPS),
        "agent": drawn(_AGENTS),
        "words": drawn(_QUOTED_WORDS),
        "name": drawn(_NAMES),
        "instance": drawn(_INSTANCES),
        "ms": numbers(random.lognormal(3.2, 0.9, count) + 1),
        "fast": numbers(random.lognormal(1.2, 0.6, count)),
        "bytes": numbers(random.lognormal(6.5, 1.0, count) + 40),
        "attempt": numbers(random.integers(1, 6, count)),
        "ttl": numbers(random.integers(30, 900, count)),
    }


def _uuids(random: np.random.Generator, count: int) -> Objects:
    digits = random.bytes(16 * count).hex()
    return np.fromiter(
        (
            f"{digits[at : at + 8]}-{digits[at + 8 : at + 12]}-4{digits[at + 13 : at + 16]}"
            f"-a{digits[at + 17 : at + 20]}-{digits[at + 20 : at + 32]}"
            for at in range(0, 32 * count, 32)
        ),
        object,
        count,
    )


def _fill(kinds: Int64s, columns: dict[str, Objects]) -> list[bytes]:
    texts = np.empty(len(kinds), object)
    for kind, template in enumerate(_TEMPLATES):
        rows = np.flatnonzero(kinds == kind)
        if len(rows):
            cells = zip(*(columns[name][rows].tolist() for name in template.columns), strict=True)
            texts[rows] = np.fromiter(map(template.fill, cells), object, len(rows))
    return list(map(str.encode, texts.tolist()))


def _cut(value: bytes) -> tuple[Reason, bytes]:
    return Reason.NOT_JSON, value[: value.index(b'"context"') + 12]


def _plain(value: bytes) -> tuple[Reason, bytes]:
    fields = json.loads(value)
    return (
        Reason.NOT_JSON,
        f"[Nest] 17  - {fields['timestamp']}  LOG [{fields['context']}] {fields['message']}".encode(),
    )


def _latin_1(value: bytes) -> tuple[Reason, bytes]:
    return Reason.INVALID_UTF8, value.replace(b'"message":"', b'"message":"Gr\xfc\xdfe! ', 1)


def _array(value: bytes) -> tuple[Reason, bytes]:
    return Reason.NOT_OBJECT, b"[" + value + b"]"


_BREAKERS = (_cut, _plain, _latin_1, _array)


def _poison(ordinal: int, value: bytes, time_ms: int) -> tuple[Reason, bytes]:
    def at(moved_ms: int) -> bytes:
        moved = np.datetime_as_string(np.datetime64(time_ms + moved_ms, "ms"), unit="ms", timezone="UTC")
        return b'{"timestamp":"' + str(moved).encode() + value[value.index(b'","level"') :]

    if ordinal % 3 == 0:
        return Reason.TOO_OLD, at(_TOO_OLD_MS)
    if ordinal % 3 == 1:
        return Reason.TOO_NEW, at(_TOO_NEW_MS)
    room = LINE_BYTES_TOO_MANY - len(value)
    return Reason.LINE_TOO_LONG, value[:-1] + b',"body":"' + b"A" * room + b'"}'
