"""`make outage`: kills Kafka for 60 s under services that log with servicelog, and tells what they noticed of it.

    make outage
    make outage ARGS="--seconds 300 --only python"

Ends with 0 only if no request failed, no record is missing, doubled or out of order, and the p99 of a log call stayed
below 1 ms throughout.
"""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from outage.drive import LANGUAGES, PHASES, Seen, run

_CALL_MS_MAX = 1.0


def main(
    seconds: Annotated[float, typer.Option(help="How long Kafka is away, but for its start.")] = 60.0,
    only: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(LANGUAGES)}; may be repeated.")] = None,
) -> None:
    """Kill Kafka under the traffic of services, and tell what they noticed."""
    with tempfile.TemporaryDirectory(prefix="shipper-outage-", ignore_cleanup_errors=True) as folder:
        seen = run(Path(folder), only or LANGUAGES, seconds)
    typer.echo("| service | Kafka | log calls | p50 | p99 | longest | requests | p50 | p99 | longest |")
    typer.echo("|---|---|---|---|---|---|---|---|---|---|")
    for language, of in seen.items():
        for name, service in ((language, of.subject), (f"{language}, the control", of.control)):
            for phase in PHASES:
                calls, requests = of.calls(service, phase), of.requests(service, phase)
                cells = f"{calls.p50_ms * 1_000:.0f} µs | {calls.p99_ms * 1_000:.0f} µs | {calls.max_ms:.1f} ms"
                asked = f"{requests.p50_ms:.1f} ms | {requests.p99_ms:.1f} ms | {requests.max_ms:.0f} ms"
                typer.echo(f"| {name} | {phase} | {calls.number:,} | {cells} | {requests.number:,} | {asked} |")
    good = [_told(language, of) for language, of in seen.items()]
    raise typer.Exit(0 if all(good) else 1)


def _told(language: str, of: Seen) -> bool:
    state = of.subject.state
    whole = of.lines == list(range(10 * len(of.subject.requests))) and of.answered == of.subject.requests
    p99_ms = of.calls(of.subject).p99_ms
    kept = f"{state['spilledTotal']:,} were on disk in between"
    typer.echo(f"{language}: {len(of.subject.failures)} requests failed; {len(of.records):,} records, {kept}")
    typer.echo(f"{language}: {'none missing, none doubled, in order' if whole else 'MISSING, DOUBLED OR OUT OF ORDER'}")
    typer.echo(f"{language}: p99 of a log call throughout: {p99_ms * 1_000:.0f} µs")
    return whole and not of.subject.failures and p99_ms < _CALL_MS_MAX


if __name__ == "__main__":
    typer.run(main)
