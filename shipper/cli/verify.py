"""`shipper verify`: the account as a table for people, or as one JSON document."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from shipper.errors import CannotStartError, ConfigError
from shipper.loki.query import LokiQueryError
from shipper.moments import moment_ns
from shipper.settings import Settings
from shipper.tools.findings import Findings
from shipper.tools.promised import Wanted
from shipper.tools.verify import Progress as Told
from shipper.tools.verify import verify

_SHOWN_MAX = 20
_LISTED_MAX = 1_000
_TABLE_WIDTH_MIN = 160
_COLUMNS = ("records", "expected", "found", "missing", "unexpected", "filtered", "dead_lettered", "unseen")
_BAD = ("missing", "unexpected")


def run(
    settings: Settings,
    *,
    topic: str | None,
    partition: int | None,
    offsets: tuple[int | None, int | None],
    times: tuple[str | None, str | None],
    as_json: bool,
    console: Console,
) -> int:
    """Verify, print what was found, and return the exit code.

    Args:
        settings: the configuration.
        topic: what `--topic` gave.
        partition: what `--partition` gave.
        offsets: what `--from-offset` and `--to-offset` gave.
        times: what `--since` and `--until` gave.
        as_json: one document on stdout instead of tables.
        console: where tables go.

    Returns: 0 if nothing is missing and nothing unexpected, else 1.
    Raises: ConfigError, CannotStartError.
    """
    now_ns = time.time_ns()
    since_ns, until_ns = (_time(name, text, now_ns) for name, text in zip(("--since", "--until"), times, strict=True))
    wanted = Wanted(topic, partition, *offsets, since_ns, until_ns)
    try:
        with _progress() as told:
            found = verify(
                settings,
                wanted,
                now_ns=now_ns,
                listed_max=_LISTED_MAX if as_json else _SHOWN_MAX,
                progress=told,
            )
    except LokiQueryError as error:
        raise CannotStartError(str(error)) from error
    if as_json:
        asked = {
            "since": times[0],
            "until": times[1],
            "partition": partition,
            "from_offset": offsets[0],
            "to_offset": offsets[1],
        }
        json.dump(found.document(asked), sys.stdout, ensure_ascii=False, indent=2)
        sys.stdout.write("\n")
    else:
        _show(found, console)
    return 0 if found.is_proof else 1


def _time(name: str, text: str | None, now_ns: int) -> int | None:
    try:
        return None if text is None else moment_ns(text, now_ns)
    except ValueError:
        raise ConfigError(
            f"{name} {text!r} is no time: give RFC 3339, as 2026-11-24T06:00:00Z, or how long ago, as 90s, 15m, 1h, 2d"
        ) from None


@contextmanager
def _progress() -> Iterator[Told]:
    """Show a bar for each thing that is read, on a terminal only; stdout is for what was found."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda *_: None
        return
    columns = (TextColumn("{task.description:<14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        tasks: dict[str, Any] = {}

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=max(done, total))

        yield told


def _show(found: Findings, console: Console) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("partition", no_wrap=True)
    table.add_column("offsets", no_wrap=True)
    for name in _COLUMNS:
        table.add_column(name.replace("_", "-"), justify="right", no_wrap=True)
    for tally in found.tallies:
        offsets = f"{tally.first_offset:,} … {tally.next_offset - 1:,}" if tally.records else "none"
        table.add_row(f"{tally.topic}/{tally.partition}", offsets, *_cells(tally))
    table.add_row("all", "", *_cells(found.totals), style="bold")
    # Better that a terminal breaks a long row than that a number is cut off.
    wide = Console(file=console.file, width=max(console.width, _TABLE_WIDTH_MIN), highlight=False)
    wide.print(table, crop=False)
    console.print()
    _list(found, console)
    for sentence in found.cannot_see:
        console.print(Text(f"! {sentence}", style="yellow"), soft_wrap=True)
    console.print(_closing(found), soft_wrap=True)


def _cells(counts: object) -> list[Text]:
    numbers = {name: getattr(counts, name) for name in _COLUMNS}
    return [
        Text(f"{number:,}", style="bold red" if name in _BAD and number else "") for name, number in numbers.items()
    ]


def _list(found: Findings, console: Console) -> None:
    totals = found.totals
    for it in found.missing:
        where = f"{it.topic}/{it.partition}/{it.offset}"
        console.print(
            Text(f"✗ missing     {where}  {it.timestamp}  {it.reason}: {it.line}", style="red"), soft_wrap=True
        )
    _cut(totals.missing - len(found.missing), console)
    for entry in found.unexpected:
        text = f"✗ unexpected  {entry.timestamp}  {json.dumps(entry.labels)}  {entry.reason}: {entry.line}"
        console.print(Text(text, style="red"), soft_wrap=True)
    _cut(totals.unexpected - len(found.unexpected), console)


def _cut(number: int, console: Console) -> None:
    if number > 0:
        console.print(
            Text(f"  and {number:,} more; --format json lists up to {_LISTED_MAX:,}", style="red"), soft_wrap=True
        )


def _closing(found: Findings) -> Text:
    totals = found.totals
    where = f"{totals.found:,} in Loki, {totals.dead_lettered:,} dead letters, {totals.filtered:,} filtered"
    if totals.unseen:
        where += f", {totals.unseen:,} unseen"
    if found.is_proof:
        return Text.assemble((f"✓ Nothing is missing of {totals.records:,} records: ", "bold green"), where)
    return Text.assemble(
        (
            f"✗ {totals.missing:,} of {totals.records:,} records are missing, {totals.unexpected:,} entries are ",
            "bold red",
        ),
        ("unexpected: ", "bold red"),
        where,
    )
