"""Labels: which stream an entry belongs to. Worked out once per distinct combination of values, not per record."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import polars as pl

from shipper.records import Int64s
from shipper.settings import Redact
from shipper.transform import level
from shipper.transform.enrich import REPLACEMENT_CHARACTER
from shipper.transform.redact import redact

UNKNOWN = "unknown"
"""The value of a label whose field is absent."""

_MEMO_SIZE = 65_536  # label strings kept; far more than the streams that a Loki tenant may have (5,000 by default)
_ROW = ""  # no label can be named so
# A string as Go quotes it, which is how LogQL reads label values.
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", **{chr(code): f"\\u{code:04x}" for code in (*range(32), 127)}})


class Labeller:
    """Turns the raw texts of the label fields into label strings, sorted by name and byte-identical every time."""

    def __init__(
        self, names: Sequence[str], static: Mapping[str, str], value_bytes_max: int, rules: Sequence[Redact]
    ) -> None:
        """Fix what does not change.

        Args:
            names: the labels that come from fields, in the order of the columns that `group` is given.
            static: the labels that are the same for every record.
            value_bytes_max: where a label value is cut, in bytes of UTF-8, on a character boundary.
            rules: redaction of label values, after levels are normalised and before values are cut.
        """
        self._names = tuple(names)
        self._static = dict(static)
        self._value_bytes_max = value_bytes_max
        self._rules = tuple(rules)
        self._label_string = lru_cache(_MEMO_SIZE)(self._write)

    def group(self, columns: pl.DataFrame, rows: int) -> tuple[tuple[bytes, ...], Int64s]:
        """Find each row's stream.

        Args:
            columns: raw texts of each label's field, null where absent; no column if all labels are static.
            rows: number of rows.

        Returns: the label strings in sorted order, and for each row the index of its own.
        """
        if not columns.width:
            return (self._label_string(()),), np.zeros(rows, np.int64)
        groups = columns.with_row_index(_ROW).group_by(columns.columns, maintain_order=True).agg(_ROW)
        strings = [self._label_string(values) for values in self._values(groups.select(columns.columns))]
        streams = {labels: index for index, labels in enumerate(sorted(set(strings)))}
        members = groups[_ROW]
        stream_of_row = np.empty(rows, np.int64)
        stream_of_group = np.array([streams[labels] for labels in strings], np.int64)
        stream_of_row[members.explode().to_numpy()] = np.repeat(stream_of_group, members.list.len().to_numpy())
        return tuple(streams), stream_of_row

    def _values(self, groups: pl.DataFrame) -> list[tuple[str, ...]]:
        """Return the label values of each group, levels normalised and secrets redacted."""
        values = []
        for name, texts in zip(self._names, groups.iter_columns(), strict=True):
            column = [text or UNKNOWN for text in texts.to_list()]
            if name in level.LABELS:
                column = [level.normalise(text) for text in column]
            if self._rules:
                column = redact(pl.Series(column, dtype=pl.String), self._rules).to_list()
            column = [text.replace(REPLACEMENT_CHARACTER, " ") for text in column]
            values.append(column)
        return list(zip(*values, strict=True))

    def _write(self, values: tuple[str, ...]) -> bytes:
        labels = self._static | {
            name: self._cut(value) or UNKNOWN for name, value in zip(self._names, values, strict=True)
        }
        pairs = (f'{name}="{value.translate(_ESCAPES)}"' for name, value in sorted(labels.items()))
        return ("{" + ", ".join(pairs) + "}").encode()

    def _cut(self, value: str) -> str:
        return value.encode()[: self._value_bytes_max].decode(errors="ignore")
