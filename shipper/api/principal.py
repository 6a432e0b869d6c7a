"""Who asks, and what they may see: what every call of the log API is made on behalf of."""

import math
import re
from enum import IntEnum
from typing import Final

import msgspec

TENANT: Final = re.compile(r"[A-Za-z0-9!._*'()-]{1,150}")
"""What Loki takes as one tenant; `a|b` would be two."""


class Role(IntEnum):
    """What somebody may do; each may do what those below it may.

    `SERVICE` is for the library within a service: it may ask for the levels of its services, and read nothing.
    """

    SERVICE = 0
    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


class Principal(msgspec.Struct, frozen=True):
    """Somebody who proved who they are.

    Attributes:
        name: of the person or program, as it stands in the audit.
        role: what they may do.
        services: the services whose logs they may see; None: of all.
        environments: the environments whose logs they may see; None: of all.
        tenant: Loki's tenant that they are bound to; empty: the one of the configuration.
        token: what rate limits count by: the prefix of a token, or issuer and subject of a JWT.
        expires_s: from when on the credential is worth nothing, in seconds since the epoch.
    """

    name: str
    role: Role
    services: frozenset[str] | None = None
    environments: frozenset[str] | None = None
    tenant: str = ""
    token: str = ""
    expires_s: float = math.inf

    @property
    def identity(self) -> str:
        """What things of theirs are owned by: no name that a JWT chooses is that of a token, or of another's JWT."""
        return f"jwt:{self.token}" if "#" in self.token else f"token:{self.name}"
