"""What a check found: one line."""

from enum import Enum
from typing import NamedTuple


class Mark(Enum):
    """How a check went; the value is what stands before the line."""

    OK = "✓"
    NOTE = "!"
    """Worth knowing, and no reason not to start."""
    FAILED = "✗"


class Finding(NamedTuple):
    """One line of `shipper check`.

    Attributes:
        mark: how it went.
        what: what was looked at, in few words.
        detail: what was seen, or what is wrong and the way out, in one sentence.
    """

    mark: Mark
    what: str
    detail: str
