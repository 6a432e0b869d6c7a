"""Dead letters for people and for programs: what `shipper dlq` prints of them."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console

from shipper.kafka.letters import Letter
from shipper.moments import show_ms
from shipper.tools.dead_letters import Known
from shipper.tools.letter_fields import state

_COLUMNS = ("dead-lettered", "record", "bytes", "reason", "state", "detail")
_NUMBERS = frozenset({"bytes"})
_HEX_BYTES = 16
_NAME_WIDTH = 14


def say(console: Console, line: str) -> None:
    """Print a line as it is: not wrapped, not coloured; what the terminal's encoding lacks is escaped."""
    console.out(line.encode(console.encoding, "backslashreplace").decode(console.encoding), highlight=False)


def say_json(console: Console, fields: dict[str, Any]) -> None:
    """Print an object in one line."""
    say(console, json.dumps(fields, ensure_ascii=console.encoding.lower() not in {"utf-8", "utf8"}))


def escaped(text: str) -> str:
    """Return a text that does nothing to a terminal: what cannot be printed is escaped, as Python escapes it."""
    return text if text.isprintable() else "".join(it if it.isprintable() else ascii(it)[1:-1] for it in text)


def table(letters: Sequence[Known]) -> Iterator[str]:
    """Yield the lines of a table; the last column is as long as it needs to be."""
    rows = [_COLUMNS, *map(_row, letters)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS) - 1)]
    for row in rows:
        cells = [
            cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
            for name, cell, width in zip(_COLUMNS, row, widths, strict=False)
        ]
        yield "  ".join([*cells, row[-1]]).rstrip()


def _row(known: Known) -> tuple[str, ...]:
    rounds = f", round {known.rounds + 1}" if known.rounds else ""
    return (
        show_ms(known.written_ms) or "-",
        escaped(str(known.origin.place)),
        f"{known.value_bytes:,}",
        escaped(known.reason),
        state(known) + rounds,
        escaped(known.detail),
    )


def by_reason(letters: Sequence[Known]) -> Iterator[str]:
    """Yield a line for each reason, the most frequent first."""
    counts = Counter(known.reason for known in letters)
    width = max(map(len, counts), default=0)
    for reason, count in counts.most_common():
        yield f"  {escaped(reason).ljust(width)}  {count:,}"


def description(known: Known, letter: Letter) -> Iterator[str]:
    """Yield the lines that tell all of a letter."""
    place, timestamp_ms = known.origin
    yield f"{escaped(str(place))}: {escaped(known.reason)}, {escaped(known.detail)}"
    copies = ", ".join(map(str, known.copies))
    yield _named("dead-lettered", f"{show_ms(known.written_ms)}, {copies}")
    if known.rounds:
        yield _named("round", f"{known.rounds + 1}: its record was put back before, and came to this again")
    if known.marker is not None:
        yield _named("redriven", f"{show_ms(known.marker.written_ms)}, to {escaped(str(known.marker.to))}")
    yield _named("timestamp", (show_ms(timestamp_ms) if timestamp_ms >= 0 else None) or "none")
    yield _named("key", "none" if letter.key is None else _short(letter.key))
    for name, value in letter.headers:
        yield _named("header", f"{escaped(name)}: {'null' if value is None else _short(value)}")
    yield _named("value", "null" if letter.value is None else f"{known.value_bytes:,} bytes")
    if letter.value:
        yield from _value(letter.value)


def _named(name: str, text: str) -> str:
    return f"  {name.ljust(_NAME_WIDTH)}{text}"


def _short(value: bytes) -> str:
    """Return bytes as text, or as Python writes them where they are none."""
    try:
        return escaped(value.decode())
    except UnicodeDecodeError:
        return repr(value)


def _value(value: bytes) -> Iterator[str]:
    try:
        yield from map(escaped, value.decode().split("\n"))
    except UnicodeDecodeError:
        for start in range(0, len(value), _HEX_BYTES):
            part = value[start : start + _HEX_BYTES]
            text = "".join(chr(byte) if chr(byte).isascii() and chr(byte).isprintable() else "." for byte in part)
            yield f"{start:08x}  {part.hex(' ').ljust(3 * _HEX_BYTES - 1)}  {text}"
