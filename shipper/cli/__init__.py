"""The command line; `app` has the commands.

Nothing is imported here but what the interpreter has loaded anyway, so that `main` is in charge of Ctrl-C at once.
"""

import os
import signal
import sys

from shipper.errors import INTERRUPTED

__all__ = ["main"]


def main() -> None:
    """Run the command line; the entry point. Ctrl-C ends it quietly, while it still loads its libraries too."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # else it is ignored, as in the background of a shell, and stays so
        signal.signal(signal.SIGINT, _end)
    from shipper.cli import app  # noqa: PLC0415 - this takes a third of a second, in which Ctrl-C would print a traceback

    signal.signal(signal.SIGINT, before)
    try:
        app.run_app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _end(*_: object) -> None:
    # Nothing was begun yet. An exception could be caught, or printed, by whatever is just being imported.
    os._exit(INTERRUPTED)
