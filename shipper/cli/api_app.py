"""The command line of `shipper api`: the log API itself, and the tokens that it takes."""

# ruff: noqa: PLC0415 - a command imports what it needs itself, so that `shipper --help` is quick

import os
from typing import Annotated, Literal, Optional

import typer

from shipper.cli.options import ConfigOption, SetOption, examples, new_console

app = typer.Typer()
tokens_app = typer.Typer(help="The tokens that the log API takes.", no_args_is_help=True)
app.add_typer(tokens_app, name="token")

FormatOption = Annotated[Literal["table", "json"], typer.Option("--format", help="json: an object a line.")]
ListOption = Optional[list[str]]  # noqa: UP045 - typer reads this at run time, also in Python 3.11


@app.callback(
    invoke_without_command=True,
    epilog=examples("shipper api", "shipper api --set api.listen=0.0.0.0:4005", "curl -s localhost:4005/healthz"),
)
def api(context: typer.Context, *, config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Serve the log API: query, follow and export logs, set levels. Run as many as you like."""
    if context.invoked_subcommand:
        return
    from shipper.api import server
    from shipper.config import load

    raise typer.Exit(server.run(load(config, env=os.environ, overrides=overrides or ())))


@tokens_app.command(
    epilog=examples(
        "shipper api token create mara --role admin",
        "shipper api token create chat-service --role service --service chat-service --expires 365d",
        "shipper api token create on-call --role operator --environment production --expires 7d",
    )
)
def create(
    *,
    name: Annotated[str, typer.Argument(help="Whom or what it is for; it stands in the audit.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    role: Annotated[
        Literal["service", "viewer", "operator", "admin"],
        typer.Option(help="service: asks for its levels alone. viewer: reads logs. operator, admin: all else."),
    ] = "viewer",
    services: Annotated[
        ListOption, typer.Option("--service", help="Bound to this service; may be given often.")
    ] = None,
    environments: Annotated[
        ListOption, typer.Option("--environment", help="Bound to this environment; may be given often.")
    ] = None,
    tenant: Annotated[str, typer.Option(help="Bound to this tenant of Loki's.")] = "",
    expires: Annotated[str, typer.Option(metavar="TIME", help="Worth something for so long: 12h, 90d.")] = "90d",
    form: FormatOption = "table",
) -> None:
    """Make a token, and print it once: only its digest is kept. It takes write access to the tokens' topic."""
    from shipper.api.principal import Role
    from shipper.cli import tokens
    from shipper.config import load

    settings = load(config, env=os.environ, overrides=overrides or ())
    wanted = tokens.Wanted(name, Role[role.upper()], services, environments, tenant, expires)
    tokens.create(settings, wanted, as_json=form == "json", console=new_console())


@tokens_app.command("list", epilog=examples("shipper api token list", "shipper api token list --format json"))
def list_tokens(*, config: ConfigOption = None, overrides: SetOption = None, form: FormatOption = "table") -> None:
    """List the tokens: prefix, name, role, what each is bound to, and until when it counts."""
    from shipper.cli import tokens
    from shipper.config import load

    settings = load(config, env=os.environ, overrides=overrides or ())
    tokens.list_tokens(settings, as_json=form == "json", console=new_console())


@tokens_app.command(epilog=examples("shipper api token revoke 5f2c9a01be"))
def revoke(
    *,
    prefix: Annotated[str, typer.Argument(help="The ten digits behind `shp_`, as `list` has them.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Revoke a token: every instance of the log API refuses it within a second or so."""
    from shipper.cli import tokens
    from shipper.config import load

    tokens.revoke(load(config, env=os.environ, overrides=overrides or ()), prefix, console=new_console())
