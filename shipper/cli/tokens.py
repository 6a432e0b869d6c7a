"""`shipper api token`: make, list and revoke tokens, in the topic that the log API reads them from.

Whoever may write that topic may make tokens: so the first one comes into being without another, and Kafka's own access
rules say by whom.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from rich.console import Console

from shipper.api import tokens
from shipper.api.principal import Role
from shipper.api.tokens import Token
from shipper.cli.letters import say, say_json
from shipper.cli.moment import duration_s
from shipper.errors import ConfigError, ShipperError
from shipper.kafka.table import Table
from shipper.kafka.table_writer import TableWriter
from shipper.kafka.topics import create_tables
from shipper.moments import show_ms
from shipper.settings import Settings

_NAME_CHARS_MAX = 100
_COLUMNS = ("prefix", "name", "role", "services", "environments", "tenant", "created", "expires")


class Wanted(NamedTuple):
    """What a new token is to be."""

    name: str
    role: Role
    services: list[str] | None
    environments: list[str] | None
    tenant: str
    expires: str


def create(settings: Settings, wanted: Wanted, *, as_json: bool, console: Console) -> None:
    """Make a token and print it. Raises KafkaUnavailableError with the way out; ConfigError."""
    if not wanted.name.isprintable() or not 0 < len(wanted.name) <= _NAME_CHARS_MAX:
        raise ConfigError(f"a name has 1 to {_NAME_CHARS_MAX} characters, all of them printable")
    minted = tokens.mint(
        wanted.name,
        wanted.role,
        now_ms=_now_ms(),
        valid_ms=round(duration_s("--expires", wanted.expires) * 1_000),
        services=wanted.services or None,
        environments=wanted.environments or None,
        tenant=wanted.tenant,
    )
    with _open(settings) as (_, writer):
        writer.put(minted.prefix, tokens.write(minted.kept), expected=None)
    if as_json:
        say_json(console, {**_fields(minted.prefix, minted.kept), "token": minted.token})
        return
    Console(stderr=True, highlight=False).out(
        f"{minted.prefix}: {wanted.name}, {wanted.role.name.lower()}, until {show_ms(minted.kept.expires_ms)}. "
        "The token is shown this once:"
    )
    say(console, minted.token)


def list_tokens(settings: Settings, *, as_json: bool, console: Console) -> None:
    """Print what is known of all tokens. Raises KafkaUnavailableError with the way out."""
    with _open(settings) as (table, _):
        known = [(prefix, token) for prefix, row in table.items() if (token := tokens.read(row))]
    if as_json:
        for prefix, token in known:
            say_json(console, _fields(prefix, token))
        return
    rows = [_COLUMNS, *(_row(prefix, token) for prefix, token in known)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say(console, "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def revoke(settings: Settings, prefix: str, *, console: Console) -> None:
    """Revoke a token. Raises ShipperError if there is none of that prefix; KafkaUnavailableError with the way out."""
    prefix = prefix.removeprefix("shp_").split("_")[0]
    with _open(settings) as (table, writer):
        row = table.get(prefix)
        if row is None:
            raise ShipperError(f"there is no token {prefix}: `shipper api token list` has them all")
        writer.put(prefix, None)
        token = tokens.read(row)
    say(console, f"revoked {prefix}" + (f": {token.name}" if token else ""))


@contextmanager
def _open(settings: Settings) -> Iterator[tuple[Table, TableWriter]]:
    create_tables(settings)
    with Table(settings.kafka, settings.api.topics.tokens) as table:
        yield table, TableWriter(settings.kafka, table)


def _fields(prefix: str, token: Token) -> dict[str, Any]:
    return {
        "prefix": prefix,
        "name": token.name,
        "role": _role(token),
        "services": token.services,
        "environments": token.environments,
        "tenant": token.tenant or None,
        "created": show_ms(token.created_ms),
        "expires": show_ms(token.expires_ms),
        "expired": token.expires_ms <= _now_ms(),
    }


def _row(prefix: str, token: Token) -> tuple[str, ...]:
    of = _fields(prefix, token)
    expires = f"{of['expires']}{' (expired)' if of['expired'] else ''}"
    bound = [", ".join(names) if names is not None else "all" for names in (token.services, token.environments)]
    return prefix, token.name, of["role"], *bound, token.tenant or "-", str(of["created"]), expires


def _role(token: Token) -> str:
    return Role(token.role).name.lower() if token.role in Role._value2member_map_ else "unknown"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
