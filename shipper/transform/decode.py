"""JSON values → one column per field that the config names. Other fields are skipped, but checked.

msgspec decodes record by record in C into a Struct that has only the named fields: four times as fast as building whole
values, and a bad record costs itself (docs/decisions/0001-msgspec-beside-polars.md has the figures).
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import msgspec
import numpy as np
import orjson
import polars as pl

from shipper.records import Int64s, Reason, Rejected
from shipper.transform import timestamp

Column = Sequence[object]
Fields = dict[str, "Fields"]
"""The named fields as a tree: a field without children is read, one with children is gone into."""


_ORJSON_DEPTH_MAX = 1024
_TEXT_OR_NONE = frozenset({str, type(None)})
_JSON_TYPES = {str: "string", int: "number", float: "number", bool: "boolean", list: "array", type(None): "null"}


@dataclass(frozen=True)
class Decoded:
    """What a batch of values decodes to.

    Attributes:
        texts: a String column per field that is wanted as text; null where it is absent, null, or at fault.
        ns: int64, nanoseconds since the epoch: the timestamps that the records hold.
        digits: int64, how many decimal digits of the second are known; -1 where there is no readable timestamp.
        lines: the values in row order, b"" where there is none.
        line_bytes: int64, the length of each line.
        faults: row → why the value cannot be parsed, in row order.
        empty: rows without a value; they are None in every column.
    """

    texts: pl.DataFrame
    ns: Int64s
    digits: Int64s
    lines: Sequence[bytes]
    line_bytes: Int64s
    faults: dict[int, Rejected]
    empty: tuple[int, ...]


class Decoder:
    """Decodes values into columns; built once from the field paths that the config names."""

    def __init__(self, texts: Sequence[str], times: Sequence[str], formats: Sequence[timestamp.Format]) -> None:
        """Build the Struct types.

        Paths are keys joined by dots; `user.id` is the key `id` of the object `user`. No path is the parent of another
        (the config refuses that: one field would need two meanings).

        Args:
            texts: paths of the fields that are wanted as text.
            times: those that may hold the timestamp; the first that is present counts.
            formats: the forms of timestamps to look for.
        """
        self._texts, self._times, self._formats = tuple(texts), tuple(times), tuple(formats)
        tree: Fields = {}
        for path in sorted({*texts, *times}):
            node = tree
            for key in path.split("."):
                node = node.setdefault(key, {})
        self._layout = _Layout(tree)
        self._decode = msgspec.json.Decoder(self._layout.struct).decode

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Decode the values of a batch; never raises for what a value holds.

        Returns: columns of the same length as `values`.
        """
        blank = self._layout.blank
        faults: dict[int, Rejected] = {}
        empty: list[int] = []
        structs: list[object] = []
        waiting = iter(values)
        while True:
            try:
                structs.extend(map(self._decode, waiting))  # type: ignore[arg-type]  # None ends up below, like any other fault
                break
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError):
                # What came before the bad record is in the list, and the iterator stands behind it: go on from there.
                row = len(structs)
                value = values[row]
                outcome = self._decode_slowly(row, value) if value else blank
                if not value:
                    empty.append(row)
                elif isinstance(outcome, Rejected):
                    faults[row] = outcome
                    outcome = blank
                structs.append(outcome)
        lines = [value or b"" for value in values] if empty else cast("list[bytes]", values)
        column = pl.Series(lines, dtype=pl.Binary)
        line_bytes = column.bin.size().to_numpy().astype(np.int64)
        for fault in (*_too_deep(lines, line_bytes), *_broken_utf8(lines, column)):
            faults[fault.row] = fault
            structs[fault.row] = blank
        columns = dict(self._layout.columns(structs))
        texts = pl.DataFrame([as_texts(path, columns[path]) for path in self._texts])
        ns, digits = timestamp.parse(self._first_times(columns), self._formats)
        return Decoded(texts, ns, digits, lines, line_bytes, dict(sorted(faults.items())), tuple(empty))

    def _first_times(self, columns: Mapping[str, Column]) -> Column:
        column, *others = (columns[path] for path in self._times)
        for other in others:
            column = [second if first is None else first for first, second in zip(column, other, strict=True)]
        return column

    def _decode_slowly(self, row: int, value: bytes) -> object:
        """Say why the typed decoder refused a value, or decode it after all.

        orjson's bound on nesting is a constant. msgspec's depends on how deep the caller's stack is, and what becomes
        of a record must not: so orjson decides, and msgspec then gets the room that it needs.
        """
        if broken := _fault_of_utf8(row, value):
            return broken
        try:
            whole = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            return _fault_of_json(row, error)
        if not isinstance(whole, dict):
            return Rejected(row, Reason.NOT_OBJECT, f"the value is a JSON {_JSON_TYPES[type(whole)]}, no object")
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(limit + _ORJSON_DEPTH_MAX)
        try:
            return self._decode(value)
        except msgspec.DecodeError as error:  # a number that only one of them can hold
            return Rejected(row, Reason.NOT_JSON, str(error))
        finally:
            sys.setrecursionlimit(limit)


class _Layout:
    """One level of the field tree: its Struct type, and how its columns are taken out again."""

    def __init__(self, tree: Fields, prefix: str = "") -> None:
        self._paths = [prefix + key for key in tree]
        self._children = [_Layout(below, f"{prefix}{key}.") if below else None for key, below in tree.items()]
        fields: list[tuple[str, Any, Any]] = [
            (f"f{n}", object, msgspec.field(name=key, default=None)) for n, key in enumerate(tree)
        ]
        # An object of another shape is no error but an absent field, so even a parent of named fields is typed loosely
        # where it stands, and tightly (for msgspec skips what is not named) where it is an object.
        for n, child in enumerate(self._children):
            if child is not None:
                shapes = child.struct | str | int | float | bool | list[msgspec.Raw] | None
                fields[n] = (f"f{n}", shapes, msgspec.field(name=list(tree)[n], default=None))
        # Instances hold strings and numbers, no cycles: gc=False spares the collector a look at each.
        self.struct: type[msgspec.Struct] = msgspec.defstruct("Named", fields, gc=False)
        self.blank = self.struct()

    def columns(self, structs: Sequence[Any]) -> Iterable[tuple[str, Column]]:
        # All values in one list, and every so-many-th of it: zip(*…) would make an iterator per row.
        values = list(chain.from_iterable(map(msgspec.structs.astuple, structs)))
        for n, (path, child) in enumerate(zip(self._paths, self._children, strict=True)):
            column = values[n :: len(self._paths)]
            if child is None:
                yield path, column
            else:
                blank, struct = child.blank, child.struct
                yield from child.columns([value if type(value) is struct else blank for value in column])


def _broken_utf8(values: Sequence[bytes], column: pl.Series) -> Iterator[Rejected]:
    """Find the values that are no UTF-8; msgspec does not look into the strings that it skips."""
    try:
        column.cast(pl.String)
    except pl.exceptions.ComputeError:
        suspects = np.flatnonzero(~np.fromiter(map(bytes.isascii, values), np.bool_, len(values)))
        yield from filter(None, (_fault_of_utf8(row, values[row]) for row in suspects.tolist()))


def _too_deep(values: Sequence[bytes], value_bytes: Int64s) -> Iterator[Rejected]:
    """Find the values nested deeper than orjson goes; how deep msgspec goes, each version of Python decides."""
    for row in np.flatnonzero(value_bytes > 2 * _ORJSON_DEPTH_MAX).tolist():
        value = values[row]
        if value.count(b"[") + value.count(b"{") > _ORJSON_DEPTH_MAX:
            try:
                orjson.loads(value)
            except orjson.JSONDecodeError as error:
                if (fault := _fault_of_json(row, error)).reason is Reason.TOO_DEEP:
                    yield fault


def _fault_of_json(row: int, error: orjson.JSONDecodeError) -> Rejected:
    return Rejected(row, Reason.TOO_DEEP if "depth" in error.msg else Reason.NOT_JSON, str(error))


def _fault_of_utf8(row: int, value: bytes) -> Rejected | None:
    try:
        value.decode()
    except UnicodeDecodeError as error:
        return Rejected(row, Reason.INVALID_UTF8, f"{error.reason} at byte {error.start}")
    return None


def as_texts(name: str, column: Column) -> pl.Series:
    """Return a column as strings: text as it is, anything else as its JSON text, None as null.

    Returns: a String series named `name`, of the same length.
    """
    if not any(column) and column.count(None) == len(column):  # most fields that a request ID may come from are absent
        return pl.Series(name, [None], dtype=pl.String).new_from_index(0, len(column))
    # polars is shown nothing but text: it would look into lists of lists, at a cost that grows with their depth cubed.
    if not _TEXT_OR_NONE.issuperset(map(type, column)):
        column = [value if value is None or type(value) is str else _json_text(value) for value in column]
    return pl.Series(name, column, dtype=pl.String, strict=True)


def _json_text(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # an integer of more than 64 bits, which only msgspec writes digit by digit
        return msgspec.json.encode(value).decode()
