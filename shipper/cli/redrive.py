"""`shipper dlq redrive`: put the records of dead letters back, after asking, and say what was done."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from shipper.cli.dlq import count, no_letter
from shipper.cli.letters import by_reason, escaped, say, say_json
from shipper.errors import ConfigError
from shipper.settings import Settings
from shipper.tools import letter_fields
from shipper.tools.dead_letters import Wanted
from shipper.tools.redrive import Outcome, Plan, carry_out, plan

_FAILURES_SHOWN = 20


def redrive(
    settings: Settings,
    wanted: Wanted,
    *,
    limit: int | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    console: Console,
) -> int:
    """Put records back; returns the exit code, which is 1 if there is a letter whose record could not be.

    Raises: RedriveEndedError or KafkaUnavailableError with the way out, after what was done until then was said;
        ShipperError if a place has no letter; ConfigError if nobody is there to be asked.
    """
    if not (dry_run or yes or sys.stdin.isatty()):
        raise ConfigError("nobody is there to be asked: give --yes to put the records back, or --dry-run to look only")
    planned = plan(settings, wanted, limit=limit, now_ms=time.time_ns() // 1_000_000)
    if planned.missing:
        raise no_letter(settings, planned.missing)
    outcome = Outcome(redriven=planned.redriven, failed=list(planned.hindered))
    if not as_json:
        for line in _intention(settings, planned):
            say(console, line)
    try:
        if planned.letters and not dry_run and (yes or typer.confirm("Put them back?", err=True)):
            with _progress(len(planned.letters)) as tell:
                carry_out(settings, planned, outcome, tell=tell)
    finally:
        if as_json:
            say_json(console, letter_fields.of_redrive(planned, outcome, dry_run=dry_run))
        else:
            for line in _account(planned, outcome, dry_run=dry_run):
                say(console, line)
    return 1 if outcome.failed else 0


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("putting back", total=total)
        yield lambda letters: progress.advance(task, letters)


def _intention(settings: Settings, planned: Plan) -> Iterator[str]:
    topics = Counter(known.origin.place.topic for known in planned.letters)
    yield f"{count(len(planned.letters), 'letter')} of {settings.dead_letter.topic} to be put back{_into(topics)}"
    yield from by_reason(planned.letters)
    if planned.beyond:
        yield f"{count(planned.beyond, 'letter')} more than --limit: left for the next time"
    if planned.unsettled:
        yield (
            f"{count(planned.unsettled, 'letter')} left out: group {settings.kafka.group_id} has not committed past "
            "their records, so shipper will read these again by itself"
        )


def _account(planned: Plan, outcome: Outcome, *, dry_run: bool) -> Iterator[str]:
    before, failed = f"{outcome.redriven:,} skipped (put back before)", len(outcome.failed)
    if dry_run:
        yield f"dry run, nothing was put back: {before}, {failed:,} cannot be put back"
    else:
        records = count(outcome.put_back.total(), "record")
        yield f"{records} put back{_into(outcome.put_back)}, {before}, {failed:,} failed"
    for known, why in outcome.failed[:_FAILURES_SHOWN]:
        yield f"  {escaped(str(known.origin.place))}: {why}"
    if len(outcome.failed) > _FAILURES_SHOWN:
        yield f"  and {len(outcome.failed) - _FAILURES_SHOWN:,} more; --format json has them all"
    left = len(planned.letters) - _done(planned, outcome)
    if left and not dry_run:
        yield f"{count(left, 'letter')} not come to"


def _done(planned: Plan, outcome: Outcome) -> int:
    """Return how many of the planned letters are settled in one way or another."""
    return outcome.put_back.total() + outcome.redriven - planned.redriven + len(outcome.failed) - len(planned.hindered)


def _into(topics: Counter[str]) -> str:
    if not topics:
        return ""
    return ": " + ", ".join(f"{number:,} into {escaped(topic)}" for topic, number in sorted(topics.items()))
