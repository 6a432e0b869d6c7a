"""Signals as bytes in a pipe: the supervisor waits for them together with its workers' ends."""

import os
import signal
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Self


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: that a handler of Python's is set makes the interpreter write the signal's number to the pipe."""


class SignalPipe:
    """While open, the given signals do nothing but wake up whoever waits for `fileno()`.

    No handler runs code in the middle of anything. It must be opened in the main thread, as all signal handling must.
    """

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self._numbers = tuple(numbers)
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)  # as `set_wakeup_fd` demands

    def __enter__(self) -> Self:
        self._handlers = {number: signal.signal(number, _ignore) for number in self._numbers}
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def fileno(self) -> int:
        """Return the end to wait on."""
        return self._read

    def take(self) -> list[signal.Signals]:
        """Return the signals that came since the last call, in their order; never blocks."""
        try:
            numbers = os.read(self._read, 4096)
        except BlockingIOError:
            return []
        return [signal.Signals(number) for number in numbers if number in self._numbers]
