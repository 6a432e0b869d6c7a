"""The log API's own tokens: `shp_<prefix>_<secret>`, 256 random bits, of which only a digest is kept.

The prefix names a token in lists, in the audit and where it is revoked; it proves nothing. A digest without salt or
rounds is enough: there are no guesses to slow down in 256 random bits.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

import msgspec

from shipper.api.access import CredentialError
from shipper.api.principal import TENANT, Principal, Role
from shipper.errors import ShipperError
from shipper.kafka.table import Row

_FORM: Final = re.compile(r"shp_([0-9a-f]{10})_([A-Za-z0-9_-]{43})")
_SECRET_BYTES: Final = 32
_MS: Final = 1_000


class Token(msgspec.Struct, frozen=True):
    """What is kept of a token.

    Attributes:
        name: whom or what it was made for.
        role: what they may do.
        digest: SHA-256 of the whole token, in hexadecimal digits.
        created_ms: when it was made, in milliseconds since the epoch.
        expires_ms: from when on it is worth nothing.
        services, environments: what it is bound to; None: not bound.
        tenant: the same; empty: not bound.
    """

    name: str
    role: int
    digest: str
    created_ms: int
    expires_ms: int
    services: list[str] | None = None
    environments: list[str] | None = None
    tenant: str = ""


class Minted(NamedTuple):
    """A new token: its prefix, the token itself, which nobody sees again, and what is kept of it."""

    prefix: str
    token: str
    kept: Token


class Rows(Protocol):
    """The table of tokens: a row for each, by its prefix."""

    def get(self, key: str) -> Row | None: ...

    def items(self) -> Iterator[tuple[str, Row]]: ...


def mint(
    name: str,
    role: Role,
    *,
    now_ms: int,
    valid_ms: int,
    services: list[str] | None = None,
    environments: list[str] | None = None,
    tenant: str = "",
) -> Minted:
    """Make a token. Raises ShipperError for a tenant that Loki would not take as one."""
    if tenant and not TENANT.fullmatch(tenant):
        raise ShipperError(f"{tenant!r} is no tenant: give 1 to 150 of A-Z a-z 0-9 ! . _ * ' ( ) -")
    prefix = secrets.token_hex(5)
    token = f"shp_{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    kept = Token(name, int(role), _digest(token), now_ms, now_ms + valid_ms, services, environments, tenant)
    return Minted(prefix, token, kept)


def write(token: Token) -> bytes:
    """Return a row's value."""
    return msgspec.json.encode(token)


def read(row: Row) -> Token | None:
    """Return what a row says; None if it says nothing that can be read, and then it is no token."""
    try:
        return msgspec.json.decode(row.value, type=Token)
    except msgspec.DecodeError:
        return None


class Tokens:
    """Knows the log API's own tokens.

    Args:
        rows: the table of tokens.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def takes(self, credential: str) -> bool:
        """Say whether this is to be such a token."""
        return credential.startswith("shp_")

    async def principal(self, credential: str) -> Principal:
        """Return whose token this is. Raises CredentialError."""
        found = _FORM.fullmatch(credential)
        row = self._rows.get(found[1]) if found else None
        token = read(row) if row else None
        if found is None or token is None or not hmac.compare_digest(token.digest, _digest(credential)):
            raise CredentialError("there is no such token: it was mistyped, or it was revoked")
        if time.time() * _MS >= token.expires_ms:
            raise CredentialError("this token has expired: make another one with `shipper api token create`")
        return principal(found[1], token)


def principal(prefix: str, token: Token) -> Principal:
    """Return whose token this is, and what they may. Raises CredentialError for a role that there is not."""
    try:
        role = Role(token.role)
    except ValueError:
        raise CredentialError("this token has a role that this version does not know") from None
    return Principal(
        token.name,
        role,
        services=None if token.services is None else frozenset(token.services),
        environments=None if token.environments is None else frozenset(token.environments),
        tenant=token.tenant,
        token=prefix,
        expires_s=token.expires_ms / _MS,
    )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
