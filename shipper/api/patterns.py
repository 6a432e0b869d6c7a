"""Messages that differ in numbers, ids and quoted words only, as one pattern. Pure."""

import re
from collections import Counter
from collections.abc import Callable, Iterable

import msgspec

from shipper.api.record import Record, record_of
from shipper.loki.paging import StreamEntry

_MESSAGE_CHARS_MAX = 300
_LETTER, _DIGIT = re.compile("[A-Za-z_]"), re.compile(r"\d")


def _as_id(word: re.Match[str]) -> str:
    return "<id>" if _LETTER.search(word[0]) and _DIGIT.search(word[0]) else word[0]


# In this order: an address has numbers in it, and an id looks like a word with digits. Each in linear time: anybody
# may write a message.
_PARTS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"), "<uuid>"),
    (re.compile(r"\b[a-z]+://[^\s'\"]+"), "<url>"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"), "<address>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*"), "<time>"),
    (re.compile(r"'[^']{1,200}'|\"[^\"]{1,200}\""), "<text>"),
    (re.compile(r"\b[\w-]+\b"), _as_id),
    (re.compile(r"-?\d+(?:\.\d+)?"), "<n>"),
)


class Pattern(msgspec.Struct):
    """Messages of one pattern.

    Attributes:
        service: that wrote them.
        pattern: the message, with what differs in angle brackets.
        lines: how many there are.
        example: the newest of them.
        error: the type of the error that the newest of them tells of.
    """

    service: str
    pattern: str
    lines: int
    example: str
    error: str = ""


def pattern_of(message: str) -> str:
    """Return the message with what differs from one to the next in angle brackets."""
    for part, name in _PARTS:
        message = part.sub(name, message)
    return message


def patterns(entries: Iterable[StreamEntry], *, top: int) -> list[Pattern]:
    """Return the most frequent patterns of entries, which come newest first."""
    counts: Counter[tuple[str, str]] = Counter()
    newest: dict[tuple[str, str], Record] = {}
    for entry in entries:
        record = record_of(entry)
        key = (record.service, pattern_of(record.message[:_MESSAGE_CHARS_MAX]))
        counts[key] += 1
        newest.setdefault(key, record)
    return [
        Pattern(*key, count, newest[key].message[:_MESSAGE_CHARS_MAX], newest[key].error)
        for key, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:top]
    ]
