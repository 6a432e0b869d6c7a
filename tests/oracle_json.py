"""The oracle's reading of JSON: orjson decides what is JSON; the standard library keeps big integers exact."""

import itertools
import json
import math
import re
from collections.abc import Iterator

import orjson

from shipper.records import Reason

DEPTH_SAFE = 256
"""Nesting below this many levels is always read; above orjson's 1024 never; in between it is not promised."""

INTEGER_DIGITS_MAX = 4_300
"""A named integer keeps its digits up to this many: beyond it Python refuses to read or write one."""

_BRACKET_OR_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


class _Overflow:
    """Stands for a number that is too big: no double holds it, or it has too many digits."""


_OVERFLOW = _Overflow()


class _Object(dict[str, object]):
    """A JSON object that remembers the members that a later one of the same name hides."""

    def __init__(self, members: list[tuple[str, object]]) -> None:
        super().__init__(members)
        self.members = members


def parse(value: bytes, named: set[str]) -> dict[str, object] | Reason:
    """Read a record's value, or say why it is malformed.

    Args:
        value: the record's value, not empty.
        named: the field paths that the configuration names: only there does a number's size matter.
    """
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return Reason.INVALID_UTF8
    try:
        quick = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        if "infinity" in str(error):
            return _parse_overflowing(text, named)
        return Reason.TOO_DEEP if "depth limit" in str(error) else Reason.NOT_JSON
    return _exact(text, quick) if isinstance(quick, dict) else Reason.NOT_OBJECT


def at(fields: object, path: str) -> object:
    """Follow a path through nested objects; None when anything on the way is absent, or no object."""
    for part in path.split("."):
        if not isinstance(fields, dict):
            return None
        fields = fields.get(part)
    return fields


def dump(value: object) -> str:
    """Write compact JSON as orjson does, integers of any size included; without recursion."""
    written = []
    waiting: list[object] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, _Raw):
            written.append(item.text)
        elif isinstance(item, dict):
            waiting += reversed([_Raw("{"), *_members(item), _Raw("}")])
        elif isinstance(item, list):
            waiting += reversed([_Raw("["), *_separated([[element] for element in item]), _Raw("]")])
        elif isinstance(item, int) and not isinstance(item, bool):
            written.append(str(item))
        else:
            written.append(orjson.dumps(item).decode())
    return "".join(written)


def is_deep(value: bytes) -> bool:
    """Say whether brackets nest deeper than every decoder promises to read."""
    depth = deepest = 0
    for found in _BRACKET_OR_STRING.finditer(value):
        first = found[0][:1]
        depth += (first in b"[{") - (first in b"]}")
        deepest = max(deepest, depth)
    return deepest >= DEPTH_SAFE


class _Raw:
    """Text that is JSON already."""

    def __init__(self, text: str) -> None:
        self.text = text


def _separated(groups: list[list[object]]) -> Iterator[object]:
    for index, group in enumerate(groups):
        if index:
            yield _Raw(",")
        yield from group


def _members(fields: dict[str, object]) -> Iterator[object]:
    return _separated([[name, _Raw(":"), value] for name, value in fields.items()])


def _exact(text: str, quick: dict[str, object]) -> dict[str, object]:
    """Read JSON again, for integers that orjson makes floats of; what only orjson can read stays as it read it."""
    try:
        fields: dict[str, object] = json.loads(text, parse_int=_integer)
    except RecursionError:
        return quick
    return fields


def _integer(text: str) -> object:
    return _OVERFLOW if len(text.lstrip("-")) > INTEGER_DIGITS_MAX else int(text)


def _parse_overflowing(text: str, named: set[str]) -> dict[str, object] | Reason:
    try:
        fields = json.loads(
            text,
            parse_int=_integer,
            parse_float=lambda digits: _OVERFLOW if math.isinf(float(digits)) else float(digits),
            parse_constant=_refuse,
            object_pairs_hook=_Object,
        )
        _refuse_lone_surrogates(fields)
    except ValueError:
        return Reason.NOT_JSON
    except RecursionError:
        return Reason.TOO_DEEP
    if not isinstance(fields, _Object) or any(_is_in_the_way(fields, path.split(".")) for path in named):
        return Reason.NOT_JSON
    return fields


def _is_in_the_way(fields: _Object, parts: list[str]) -> bool:
    """Say whether a number that is too big is in the field of this path, or stands where it leads through."""
    parents = (value for end in range(1, len(parts)) for value in _all_at(fields, parts[:end]))
    leaves = (leaf for value in _all_at(fields, parts) for leaf in _leaves(value))
    return any(value is _OVERFLOW for value in itertools.chain(parents, leaves))


def _refuse(constant: str) -> object:
    raise ValueError(constant)


def _refuse_lone_surrogates(fields: object) -> None:
    for leaf in _leaves(fields):
        if isinstance(leaf, str):
            leaf.encode()


def _all_at(fields: object, parts: list[str]) -> Iterator[object]:
    """Every value at a path, those hidden by a later member of the same name included."""
    if not parts:
        yield fields
    elif isinstance(fields, _Object):
        for name, value in fields.members:
            if name == parts[0]:
                yield from _all_at(value, parts[1:])


def _leaves(value: object) -> Iterator[object]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, _Object):
            waiting += itertools.chain.from_iterable(item.members)
        elif isinstance(item, list):
            waiting += item
        else:
            yield item
