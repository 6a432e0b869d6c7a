"""Redaction: what a pattern finds is replaced before anything leaves for Loki."""

from collections.abc import Sequence

import polars as pl

from shipper.settings import Redact


def redact(texts: pl.Series, rules: Sequence[Redact]) -> pl.Series:
    """Replace all matches of every rule, in the order of the rules; null stays null.

    Patterns and replacements are those of the Rust crate `regex`: `$1` or `${name}` is a group, `$$` a dollar.
    """
    for rule in rules:
        texts = texts.str.replace_all(rule.pattern, rule.replacement)
    return texts


def redact_lines(lines: Sequence[bytes | None], rows: Sequence[int], rules: Sequence[Redact]) -> dict[int, bytes]:
    """Return row → new line, for the lines in which something was found.

    Args:
        lines: one per row of the batch, UTF-8 where a row is asked for.
        rows: the rows to look at.
        rules: what to look for.
    """
    before = pl.Series([lines[row] for row in rows], dtype=pl.Binary).cast(pl.String)
    after = redact(before, rules)
    changed = (before != after).arg_true().to_list()
    return {rows[at]: line for at, line in zip(changed, after.cast(pl.Binary).gather(changed).to_list(), strict=True)}
