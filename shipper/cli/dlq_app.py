"""The command line of `shipper dlq`."""

# ruff: noqa: PLC0415 - a command imports what it needs itself, so that `shipper --help` is quick

import os
from typing import Annotated, Literal, Optional

import typer

from shipper.cli.options import ConfigOption, SetOption, examples, new_console

app = typer.Typer(help="The dead letter topic: what lies there, and putting it back.", no_args_is_help=True)

FormatOption = Annotated[Literal["table", "json"], typer.Option("--format", help="json: an object a line.")]
PlacesArgument = Annotated[
    Optional[list[str]],  # noqa: UP045 - as above
    typer.Argument(metavar="[TOPIC/PARTITION/OFFSET]…", help="Where the records were."),
]
ReasonOption = Annotated[
    Optional[list[str]],  # noqa: UP045 - as above
    typer.Option("--reason", help="Of this reason, such as line_too_long; may be given often."),
]
TopicOption = Annotated[
    Optional[list[str]],  # noqa: UP045 - as above
    typer.Option("--topic", help="Whose records were in this topic; may be given often."),
]
PartitionOption = Annotated[
    Optional[list[int]],  # noqa: UP045 - as above
    typer.Option("--partition", min=0, help="And in this partition of it; may be given often."),
]
SinceOption = Annotated[
    Optional[str],  # noqa: UP045 - as above
    typer.Option("--since", metavar="TIME", help="Dead-lettered then or later: 2026-11-24T05:50:00Z, 2026-11-24, 2h."),
]
UntilOption = Annotated[
    Optional[str],  # noqa: UP045 - as above
    typer.Option("--until", metavar="TIME", help="Dead-lettered before."),
]
ContainsOption = Annotated[str, typer.Option("--contains", metavar="TEXT", help="With this text in the value.")]
LimitOption = Annotated[
    Optional[int],  # noqa: UP045 - as above
    typer.Option("--limit", min=1, help="At most so many, the earliest."),
]


@app.command(
    "list",
    epilog=examples(
        "shipper dlq list",
        "shipper dlq list --reason line_too_long --since 2h",
        "shipper dlq list --all --format json | jq -r .reason | sort | uniq -c",
    ),
)
def list_letters(
    *,
    config: ConfigOption = None,
    overrides: SetOption = None,
    reasons: ReasonOption = None,
    topics: TopicOption = None,
    partitions: PartitionOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    contains: ContainsOption = "",
    limit: LimitOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Those that were put back, too.")] = False,
    form: FormatOption = "table",
) -> None:
    """List the dead letters that wait, the earliest first; a letter that a crash wrote twice is one."""
    from shipper.cli import dlq
    from shipper.config import load

    wanted = dlq.wanted(
        reasons=reasons, topics=topics, partitions=partitions, since=since, until=until, contains=contains
    )
    settings = load(config, env=os.environ, overrides=overrides or ())
    code = dlq.list_letters(
        settings, wanted, limit=limit, everything=everything, as_json=form == "json", console=new_console()
    )
    raise typer.Exit(code)


@app.command(
    "show",
    epilog=examples("shipper dlq show logs/3/47201", "shipper dlq show logs/3/47201 --format json | jq -r .value"),
)
def show(
    place: Annotated[str, typer.Argument(metavar="TOPIC/PARTITION/OFFSET", help="Where the record was.")],
    *,
    config: ConfigOption = None,
    overrides: SetOption = None,
    form: FormatOption = "table",
) -> None:
    """Show all of one letter: why, when, key, headers, value."""
    from shipper.cli import dlq
    from shipper.config import load

    settings = load(config, env=os.environ, overrides=overrides or ())
    raise typer.Exit(dlq.show(settings, place, as_json=form == "json", console=new_console()))


@app.command(
    "redrive",
    epilog=examples(
        "shipper dlq redrive --reason line_too_long --dry-run",
        "shipper dlq redrive --reason line_too_long   (asks)",
        "shipper dlq redrive logs/3/47201 --yes",
    ),
)
def redrive(
    places: PlacesArgument = None,
    *,
    config: ConfigOption = None,
    overrides: SetOption = None,
    reasons: ReasonOption = None,
    topics: TopicOption = None,
    partitions: PartitionOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    contains: ContainsOption = "",
    limit: LimitOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    form: FormatOption = "table",
) -> None:
    """Put the records of dead letters back into their topics, exactly once each, for shipper to try again."""
    from shipper.cli import dlq, redrive
    from shipper.config import load

    wanted = dlq.wanted(
        places=places,
        reasons=reasons,
        topics=topics,
        partitions=partitions,
        since=since,
        until=until,
        contains=contains,
    )
    settings = load(config, env=os.environ, overrides=overrides or ())
    code = redrive.redrive(
        settings, wanted, limit=limit, dry_run=dry_run, yes=yes, as_json=form == "json", console=new_console()
    )
    raise typer.Exit(code)
