"""The two costliest stages of `prepare()` in Rust, where `make native` has put the package `shipper-native`.

Rust knows records of the common form only, and leaves the others to Python. So what becomes of a record never depends
on whether it is there: docs/decisions/0016-native-code.md.
"""

import contextlib
from typing import Any

LIBRARY: Any = None
"""The package; None where it is not installed."""

VERSION = "0.1.0"
"""The version that this shipper works with, and no other: both are built from one checkout."""

with contextlib.suppress(ImportError):
    import shipper_native

    LIBRARY = shipper_native


def is_used(*, wanted: bool) -> bool:
    """Say whether the two stages run in Rust."""
    return wanted and LIBRARY is not None and LIBRARY.__version__ == VERSION


def describe(*, wanted: bool) -> str:
    """Say the same for people: the version, or why not."""
    if not wanted:
        return "no: workers.native is false"
    if LIBRARY is None:
        return "no: not installed"
    if not is_used(wanted=wanted):
        return f"no: {LIBRARY.__version__} is installed, and this shipper works with {VERSION}"
    return VERSION
