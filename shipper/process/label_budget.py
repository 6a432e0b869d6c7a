"""How many values each label has had: what is counted here is said, and decides nothing about what is sent."""

from collections.abc import Iterable

_SEEN_MAX = 10_000
"""Values remembered of a label: enough to know that it is no label."""


class LabelBudget:
    """The distinct values of each label, up to a bound.

    Args:
        values_max: how many of them are no reason to worry.
    """

    def __init__(self, values_max: int) -> None:
        self.values_max = values_max
        self._seen: dict[str, set[str]] = {}

    def see(self, label: str, values: Iterable[str]) -> list[str]:
        """Take note of values; return those that were never seen before, in alphabetical order."""
        seen = self._seen.setdefault(label, set())
        new = sorted(set(values) - seen)[: _SEEN_MAX - len(seen)]
        seen.update(new)
        return new

    def seen(self, label: str) -> int:
        """How many distinct values a label has had."""
        return len(self._seen.get(label, ()))
