"""Filters: records that a named rule drops or thins out."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from shipper.records import Bools, Int32s, Int64s
from shipper.settings import Filter
from shipper.transform import level


def matching(rule: Filter, text: pl.Expr) -> pl.Expr:
    """Say which records a rule matches; a record without the field is matched by none.

    Args:
        rule: with exactly one of any_of, matches and below_level, as the config promises.
        text: the field, String; null where absent.
    """
    if rule.any_of is not None:
        matched = text.is_in(rule.any_of)
    elif rule.matches is not None:
        matched = text.str.contains(rule.matches)
    else:
        matched = level.normalised(text).is_in(level.below(rule.below_level or ""))
    return matched.fill_null(value=False)


def apply(
    rules: Sequence[Filter], matched: Mapping[str, pl.Series], partitions: Int32s, offsets: Int64s, going: Bools
) -> tuple[Bools, dict[str, int]]:
    """Decide which records go on.

    Args:
        rules: in the order in which they are asked; the first that drops a record is the one that counts.
        matched: rule name → Boolean column, one per row.
        partitions: partition of each row, int32.
        offsets: offset of each row, int64.
        going: rows that are still on their way.

    Returns: rows that go on, and rule name → rows dropped by it.
    """
    dropped: dict[str, int] = {}
    for rule in rules:
        out = going & matched[rule.name].to_numpy()
        if rule.action == "sample":
            out &= ~is_in_sample(partitions, offsets, rule.share)
        if count := int(out.sum()):
            dropped[rule.name] = count
            going = going & ~out
    return going, dropped


def is_in_sample(partitions: Int32s, offsets: Int64s, share: float) -> Bools:
    """Choose a share of records by a hash of where they stand in Kafka: the same ones each time they are read.

    Source: SplitMix64, Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014), its mixing step.
    """
    if share >= 1:
        return np.ones(len(offsets), np.bool_)
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is meant
        mixed = (partitions.astype(np.uint64) << np.uint64(48)) ^ offsets.astype(np.uint64)
        mixed = mixed + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return np.asarray(mixed < np.uint64(int(share * 2**64)), np.bool_)
