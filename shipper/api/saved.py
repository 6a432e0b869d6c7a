"""Saved queries: the parameters of a call by name, with places that are filled in when it is run.

A filled-in value is the value of a parameter, as if the caller had sent it: it goes through the same checks and the
same escaping, and can be nothing else.
"""

import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from shipper.api.principal import Principal, Role
from shipper.kafka.table import Row

PLACE: Final = re.compile(r"\{([a-z][a-z0-9_]{0,39})\}")
FILLED_CHARS_MAX: Final = 16 << 10
Call = Literal["logs", "stats", "export"]


class TooLongError(Exception):
    """With its places filled in, a query has more than FILLED_CHARS_MAX characters."""


class Saved(msgspec.Struct, frozen=True):
    """A saved query.

    Attributes:
        call: which call it is of, `/v1/<call>`.
        parameters: of the call, each with its values; `{name}` in a value is a place.
        places: those that need not be filled in, with what they are then.
        title, about: for people.
        owner: the identity of who saved it.
        by: their name, for people.
        tenant: of the owner; nobody of another one sees it.
        shared: whether others see it.
        at_ms: when it was saved, in milliseconds since the epoch.
        version: of the row.
    """

    call: Call
    parameters: dict[str, list[str]]
    places: dict[str, str]
    title: str
    about: str
    owner: str
    by: str
    tenant: str
    shared: bool
    at_ms: int
    version: str = ""

    def is_seen_by(self, who: Principal) -> bool:
        """Say whether somebody sees it, and may run it, on their own behalf."""
        return self.tenant == who.tenant and (self.shared or self.owner == who.identity or who.role >= Role.ADMIN)

    def is_changed_by(self, who: Principal) -> bool:
        """Say whether somebody may change it."""
        return self.tenant == who.tenant and (self.owner == who.identity or who.role >= Role.ADMIN)

    def names(self) -> set[str]:
        """Return the names of all places."""
        return {name for values in self.parameters.values() for value in values for name in PLACE.findall(value)}

    def filled(self, given: Mapping[str, str]) -> list[tuple[str, str]]:
        """Return the parameters of the call.

        Raises: KeyError with the name of a place that nothing is given for; TooLongError, before anything is filled in.
        """
        known = {**self.places, **given}
        values = [value for found in self.parameters.values() for value in found]
        chars = sum(len(PLACE.sub("", it)) + sum(len(known[name]) for name in PLACE.findall(it)) for it in values)
        if chars > FILLED_CHARS_MAX:
            raise TooLongError
        return [
            (name, PLACE.sub(lambda place: known[place[1]], value))
            for name, values in self.parameters.items()
            for value in values
        ]


def read(row: Row | None) -> Saved | None:
    """Return what a row says; None if there is none, or none that can be read."""
    if row is None:
        return None
    try:
        return msgspec.structs.replace(msgspec.json.decode(row.value, type=Saved), version=row.version)
    except msgspec.DecodeError:
        return None


def write(saved: Saved) -> bytes:
    """Return a row's value."""
    return msgspec.json.encode(msgspec.structs.replace(saved, version=""))
