"""Labels: which stream an entry belongs to. Worked out once per distinct combination of values, not per record.

A value that would make a stream of its own for every request is demoted: the label says `other`, and the value goes
into structured metadata. The value alone decides that, never how many others there were: see docs/decisions/0014.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from shipper.records import Int64s
from shipper.settings import LabelValues, Redact
from shipper.transform import level
from shipper.transform.enrich import REPLACEMENT_CHARACTER
from shipper.transform.redact import redact

UNKNOWN = "unknown"
"""The value of a label whose field is absent."""

OTHER = "other"
"""The value of a label whose own was demoted."""

DEMOTED = "{}_demoted"
"""The metadata name under which a label's demoted value is found."""

_KNOWN_BYTES_MAX = (
    16 * 1024 * 1024
)  # for what is remembered: some 30,000 streams; Loki allows a tenant 5,000 by default
_KNOWN_BYTES = 512  # what a combination takes beside its raw texts
_ROW = ""  # no label can be named so
# A string as Go quotes it, which is how LogQL reads label values.
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", **{chr(code): f"\\u{code:04x}" for code in (*range(32), 127)}})


def label_string(labels: Mapping[str, str]) -> bytes:
    """Write labels as Loki reads them, sorted by name: `{a="b", c="d"}`, byte-identical every time."""
    pairs = (f'{name}="{value.translate(_ESCAPES)}"' for name, value in sorted(labels.items()))
    return ("{" + ", ".join(pairs) + "}").encode()


@dataclass(frozen=True, slots=True)
class _Group:
    """What becomes of one combination of raw texts: its label string, its label values, those that were demoted."""

    labels: bytes
    values: tuple[str, ...]
    demoted: tuple[str | None, ...]


@dataclass(frozen=True)
class Grouped:
    """Rows by stream.

    Attributes:
        labels: the label strings in sorted order.
        stream_of_row: for each row the index of its own.
        demoted: label → each row's demoted value, null where there is none; only labels that have any.
        values: label → its distinct values.
    """

    labels: tuple[bytes, ...]
    stream_of_row: Int64s
    demoted: dict[str, pl.Series] = field(default_factory=dict)
    values: dict[str, frozenset[str]] = field(default_factory=dict)


class Labeller:
    """Turns the raw texts of the label fields into label strings, sorted by name and byte-identical every time."""

    def __init__(
        self,
        names: Sequence[str],
        static: Mapping[str, str],
        value_bytes_max: int,
        rules: Sequence[Redact],
        values: LabelValues,
    ) -> None:
        """Fix what does not change.

        Args:
            names: the labels that come from fields, in the order of the columns that `group` is given.
            static: the labels that are the same for every record.
            value_bytes_max: where a label value is cut, in bytes of UTF-8, on a character boundary.
            rules: redaction of label values, after levels are normalised and before values are cut.
            values: which values are demoted, after they are cut.
        """
        self._names = tuple(names)
        self._static = dict(static)
        self._value_bytes_max = value_bytes_max
        self._rules = tuple(rules)
        self._demoted_pattern = values.demote_matching
        self._allowed = {name: frozenset(allowed) for name, allowed in values.allowed.items()}
        self._known: dict[tuple[str | None, ...], _Group] = {}
        self._known_bytes = 0

    def group(self, columns: pl.DataFrame, rows: int) -> Grouped:
        """Find each row's stream.

        Args:
            columns: raw texts of each label's field, null where absent; no column if all labels are static.
            rows: number of rows.
        """
        if not columns.width:
            return Grouped((label_string(self._static),), np.zeros(rows, np.int64))
        members = columns.with_row_index(_ROW).group_by(columns.columns, maintain_order=True).agg(_ROW)
        groups = self._groups(members.drop(_ROW))
        streams = {labels: index for index, labels in enumerate(sorted({group.labels for group in groups}))}
        group_of_row = np.empty(rows, np.int64)
        of_group = members[_ROW]
        group_of_row[of_group.explode().to_numpy()] = np.repeat(np.arange(len(groups)), of_group.list.len().to_numpy())
        demoted = {
            name: pl.Series([group.demoted[n] for group in groups], dtype=pl.String).gather(group_of_row)
            for n, name in enumerate(self._names)
            if any(group.demoted[n] is not None for group in groups)
        }
        return Grouped(
            tuple(streams),
            np.array([streams[group.labels] for group in groups], np.int64)[group_of_row],
            demoted,
            {name: frozenset(group.values[n] for group in groups) for n, name in enumerate(self._names)},
        )

    def _groups(self, distinct: pl.DataFrame) -> list[_Group]:
        """Return what becomes of each combination; those that were seen before are known."""
        rows: list[tuple[str | None, ...]] = distinct.rows()
        is_new = [row not in self._known for row in rows]
        if any(is_new):
            if self._known_bytes > _KNOWN_BYTES_MAX:
                self._known.clear()
                self._known_bytes, is_new = 0, [True] * len(rows)
            new = distinct.filter(pl.Series(is_new))
            self._known_bytes += len(new) * _KNOWN_BYTES + int(new.estimated_size())
            self._known.update(zip(new.rows(), self._work_out(new), strict=True))
        return list(map(self._known.__getitem__, rows))

    def _work_out(self, distinct: pl.DataFrame) -> Iterator[_Group]:
        """Make label values of raw texts: normalised, redacted, cut; and apart from them those that are demoted."""
        values, demoted = [], []
        for name, texts in zip(self._names, distinct.iter_columns(), strict=True):
            column = [text or UNKNOWN for text in texts.to_list()]
            if name in level.LABELS:
                column = [level.normalise(text) for text in column]
            if self._rules:
                column = redact(pl.Series(column, dtype=pl.String), self._rules).to_list()
            column = [self._cut(text.replace(REPLACEMENT_CHARACTER, " ")) or UNKNOWN for text in column]
            is_demoted = self._is_demoted(name, column)
            demoted.append([value if demote else None for value, demote in zip(column, is_demoted, strict=True)])
            values.append([OTHER if demote else value for value, demote in zip(column, is_demoted, strict=True)])
        for own, kept_apart in zip(zip(*values, strict=True), zip(*demoted, strict=True), strict=True):
            yield _Group(label_string(self._static | dict(zip(self._names, own, strict=True))), own, kept_apart)

    def _is_demoted(self, name: str, column: Sequence[str]) -> list[bool]:
        """Say of each value whether it is none for a label: the value and the settings alone decide."""
        if name in self._allowed:
            return [value != UNKNOWN and value not in self._allowed[name] for value in column]
        if not self._demoted_pattern:
            return [False] * len(column)
        found: list[bool] = pl.Series(column, dtype=pl.String).str.contains(self._demoted_pattern).to_list()
        return [is_found and value != UNKNOWN for is_found, value in zip(found, column, strict=True)]

    def _cut(self, value: str) -> str:
        return value.encode()[: self._value_bytes_max].decode(errors="ignore")
