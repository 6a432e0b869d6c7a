"""Cursors: where a walk through lines stands. A cursor is bound to its caller and query; it gives no right to anything.

It holds the range that the first page resolved (so that "now" stays what it was), and the last line that was delivered:
its nanosecond, and its place in the order of digests within it. What arrives later neither repeats nor hides a line of
the walk.

It is not signed: there is no key that all instances would have to share, and nothing to win. Whoever makes one up
chooses a range, as `from` and `to` do, and the scope is added to each call anyway. The digest over all of it refuses
mistakes and mix-ups.
"""

import base64
import binascii
import hashlib
import struct
from typing import Any

import msgspec

from shipper.api.principal import Principal
from shipper.api.problems import Problem
from shipper.moments import EARLIEST_NS, LATEST_NS

_FORM = struct.Struct(">QQQ8s")
_CHECK_BYTES = 9


class Position(msgspec.Struct, frozen=True):
    """Where a walk stands.

    Attributes:
        from_ns: the range's start.
        to_ns: its end, exclusive.
        at_ns: the nanosecond of the last line that was delivered.
        digest: that line's.
    """

    from_ns: int
    to_ns: int
    at_ns: int
    digest: bytes


def write(position: Position, principal: Principal, asked: dict[str, Any]) -> str:
    """Return the cursor of a position in what this caller asked for."""
    body = _FORM.pack(position.from_ns, position.to_ns, position.at_ns, position.digest)
    return base64.urlsafe_b64encode(_check(body, principal, asked) + body).decode().rstrip("=")


def read(cursor: str, principal: Principal, asked: dict[str, Any]) -> Position:
    """Return the position; raises Problem for whatever was not written for this caller and query."""
    try:
        whole = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        check, body = whole[:_CHECK_BYTES], whole[_CHECK_BYTES:]
        position = Position(*_FORM.unpack(body))
    except (ValueError, binascii.Error, struct.error):
        raise _problem("it was cut or changed on its way") from None
    in_range = EARLIEST_NS <= position.from_ns <= position.at_ns < position.to_ns <= LATEST_NS
    if check != _check(body, principal, asked) or not in_range:
        raise _problem("send the other parameters unchanged along with it (limit may change), as the same caller")
    return position


def _problem(reason: str) -> Problem:
    return Problem(400, "bad-cursor", f"cursor: this cursor does not belong to this call: {reason}", parameter="cursor")


def _check(body: bytes, principal: Principal, asked: dict[str, Any]) -> bytes:
    who = (principal.identity, principal.tenant)
    whole = msgspec.json.encode((who, sorted(asked.items())), order="deterministic")
    return hashlib.blake2b(whole + body, digest_size=_CHECK_BYTES).digest()
