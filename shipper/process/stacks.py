"""What a worker's threads are doing: their stacks, when SIGUSR1 asks for them or a signal kills the process.

faulthandler writes them, in C and in the middle of whatever runs: it needs neither the interpreter's lock nor a turn of
any loop, so it also tells of a thread that hangs inside of a C library with the lock held. It writes to a descriptor of
anonymous memory that the supervisor made, and reads: stderr is for lines of JSON.
"""

import contextlib
import faulthandler
import fcntl
import os
import signal
import weakref

from shipper.process.memory import open_anonymous

SIGNAL = signal.SIGUSR1
_BYTES_MAX = 65_536
"""Of one log line; the thread that took the signal, which is the main one, stands last, so the end is what is kept."""


def write_on_request(fd: int) -> None:
    """In the worker: write the stacks of all threads to `fd` whenever `SIGNAL` comes, and when a crash ends it."""
    faulthandler.enable(fd)
    faulthandler.register(SIGNAL, fd)


class Stacks:
    """The supervisor's side, for all lives of one worker.

    Attributes:
        fd: what the worker writes to.
    """

    def __init__(self) -> None:
        self.fd = open_anonymous("shipper-stacks")
        weakref.finalize(self, os.close, self.fd)
        # The worker's descriptor is a copy of this one: both append, so what was taken can be cut off.
        fcntl.fcntl(self.fd, fcntl.F_SETFL, fcntl.fcntl(self.fd, fcntl.F_GETFL) | os.O_APPEND)

    def ask(self, pid: int) -> None:
        """Ask the worker for its stacks; they come within milliseconds, unless it is stopped or has no core."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, SIGNAL)

    @property
    def there(self) -> bool:
        """Whether stacks were written that nobody took."""
        return self._size > 0

    def take(self) -> str:
        """Return what was written, and forget it."""
        text = os.pread(self.fd, _BYTES_MAX, max(0, self._size - _BYTES_MAX)).decode(errors="replace")
        os.ftruncate(self.fd, 0)
        return text

    @property
    def _size(self) -> int:
        return os.fstat(self.fd).st_size
