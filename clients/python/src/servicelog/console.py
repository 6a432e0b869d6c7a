"""Lines on stderr: a bounded number in each second, and what is said in between. One thread writes them."""

import contextlib
import sys
import time
from collections import deque
from typing import Final

_WAITING_MAX: Final = 1_000


def say(text: str) -> None:
    """Write a sentence of the library itself."""
    with contextlib.suppress(Exception):  # stderr may be closed, or nobody's
        sys.stderr.write(f"servicelog: {text}\n")
        sys.stderr.flush()


class Console:
    """Log lines on stderr, at most `lines_per_s`; those beyond are counted."""

    def __init__(self, lines_per_s: int) -> None:
        self._lines_per_s = lines_per_s
        self._lines: deque[bytes] = deque()
        self._allowed = float(lines_per_s)
        self._at_s = time.monotonic()
        self.hidden = 0

    def show(self, record: bytes) -> None:
        """Have a record shown; never blocks."""
        if len(self._lines) < max(_WAITING_MAX, self._lines_per_s):
            self._lines.append(record)
        else:
            self.hidden += 1

    def write_out(self, *, everything: bool = False) -> None:
        """Write the lines that wait, as many as are allowed by now."""
        now_s = time.monotonic()
        self._allowed = min(float(self._lines_per_s), self._allowed + (now_s - self._at_s) * self._lines_per_s)
        self._at_s = now_s
        number = len(self._lines) if everything else min(len(self._lines), int(self._allowed))
        if number:
            self._allowed -= number
            lines = b"".join(self._lines.popleft() + b"\n" for _ in range(number))
            with contextlib.suppress(Exception):  # the same
                sys.stderr.write(lines.decode())
                sys.stderr.flush()
