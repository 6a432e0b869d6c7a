"""Runs a program that dies when its parent does: `python leash.py PARENT_PID PROGRAM [ARGUMENT…]`.

A test run that is killed with SIGKILL cannot stop its servers; the kernel can. The signal is bound to the *thread* that
started this program, so servers are started from a thread that lives as long as they shall.

This file is run by its path and imports nothing of the project: it costs a few milliseconds.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>; it survives the exec below


def main() -> None:
    """Bind this process's life to the parent's, then become the program."""
    parent_pid, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # A parent that died before the call above leaves no signal behind, only another parent.
    if os.getppid() == parent_pid:
        os.execvp(program[0], program)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
