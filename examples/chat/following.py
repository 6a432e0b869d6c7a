"""One request as Loki has it, in the order of causes, and how that looks on a terminal."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from rich.table import Table
from rich.text import Text

from examples.chat import AUTH, CHAT, GATEWAY, NOTIFICATION, SERVICES, USER
from shipper.loki.query import LokiReader

_COLOURS: Final = {GATEWAY: "cyan", AUTH: "magenta", USER: "blue", CHAT: "green", NOTIFICATION: "yellow"}
_LEVELS: Final = ("trace", "debug", "info", "warn", "error", "fatal")
_LEVEL_STYLES: Final = {"debug": "dim", "warn": "yellow", "error": "bold red", "fatal": "bold red"}
# Records have milliseconds. Of the same one, what was asked for comes before the record of who asked for it.
_ORDER: Final = {service: place for place, service in enumerate((AUTH, USER, CHAT, GATEWAY, NOTIFICATION))}
_NS_PER_MS: Final = 1_000_000


class Line(NamedTuple):
    """One record of a request: its time in milliseconds since the epoch, who wrote it, and what it says."""

    time_ms: int
    service: str
    record: dict[str, Any]


def follow(loki: LokiReader, request_id: str, start_ns: int, end_ns: int) -> list[Line]:
    """Return a request's records, those of a cause before those of its effect."""
    entries = loki.entries(f'{{service=~".+"}} |= "{request_id}"', start_ns, end_ns)
    lines = [
        Line(entry.timestamp_ns // _NS_PER_MS, entry.labels["service"], json.loads(entry.line))
        for entry in entries
        if entry.metadata.get("request_id") == request_id
    ]
    return sorted(lines, key=lambda line: (line.time_ms, _place(line)))


def _place(line: Line) -> int:
    return -1 if line.record.get("event") == "request" else _ORDER.get(line.service, len(_ORDER))


def picture_of_request(lines: Sequence[Line]) -> list[Text]:
    """Return a line for each record: when, who, and what."""
    widths = [max((len(cell) for cell in column), default=0) for column in zip(*map(_cells, lines), strict=True)]
    began_ms = lines[0].time_ms if lines else 0
    pictures = []
    for line in lines:
        service, level, message, details = (cell.ljust(width) for cell, width in zip(_cells(line), widths, strict=True))
        pictures.append(
            Text.assemble(
                (f"{f'+{line.time_ms - began_ms} ms':>12}  ", "dim"),
                (service, _COLOURS.get(line.service, "")),
                "  ",
                (level, _LEVEL_STYLES.get(level.strip(), "")),
                f"  {message}  ",
                (details, "dim"),
            )
        )
        pictures[-1].rstrip()
    return pictures


def _cells(line: Line) -> tuple[str, str, str, str]:
    return line.service, line.record["level"], line.record["message"], _details(line.record)


def _details(record: Mapping[str, Any]) -> str:
    more: Mapping[str, Any] = record.get("metadata", {})
    told = [record.get("outcome"), record.get("reason")]
    if "upstream" in more:
        told = [f"{record['method']} {more['upstream']} {more['upstreamRoute']}", more.get("upstreamStatus"), *told]
    elif "recipients" in more:
        told.append(f"{more['messageId']} for {more['recipients']}, {more['messageBytes']} bytes")
    elif "recipient" in more:
        told.append(f"{more['channel']} to {more['recipient']} by {more['provider']}")
    took_ms = record.get("durationMs", more.get("deliveryMs"))
    if took_ms is not None:
        told.append(f"{took_ms:.1f} ms")
    return ", ".join(str(one) for one in told if one is not None)


def picture_of_counts(sent: Mapping[str, int], found: Mapping[tuple[str, str], int]) -> Table:
    """Return a table: records in Loki by service and level, beside what each service has counted itself."""
    levels = [level for level in _LEVELS if any(one == level for _, one in found)]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("service")
    for title in (*levels, "in Loki", "sent"):
        table.add_column(title, justify="right")
    table.add_column()
    for service in SERVICES:
        in_loki = in_loki_of(service, found)
        same = in_loki == sent[service]
        table.add_row(
            Text(service, style=_COLOURS[service]),
            *(_number(found.get((service, level), 0)) for level in levels),
            f"{in_loki:,}",
            f"{sent[service]:,}",
            Text("✓" if same else "✗", style="green" if same else "bold red"),
        )
    return table


def in_loki_of(service: str, found: Mapping[tuple[str, str], int]) -> int:
    """Return how many records of a service there are, of whatever level."""
    return sum(_of(service, found))


def _of(service: str, found: Mapping[tuple[str, str], int]) -> Iterable[int]:
    return (number for (one, _), number in found.items() if one == service)


def _number(number: int) -> Text:
    return Text(f"{number:,}") if number else Text("-", style="dim")
