"""Shows what is being got: one moving line for each part on a terminal, a line now and then elsewhere."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

Report = Callable[[str, str], None]
"""Takes a part's name and the last line that its tool said."""

_PLAIN_PERIOD_S = 20


class PlainReport:
    """Prints a part's command lines and its end at once, and of all other lines one in twenty seconds.

    Args:
        console: where to.
        clock: seconds from any fixed moment.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._started: dict[str, float] = {}
        self._printed: dict[str, float] = {}

    def __call__(self, part: str, said: str) -> None:
        """Print the line, or leave it out."""
        now = self._clock()
        elapsed_s = now - self._started.setdefault(part, now)
        weighty = said.startswith(("$ ", "missing")) or said == "ready"
        if weighty or now - self._printed.get(part, now - _PLAIN_PERIOD_S) >= _PLAIN_PERIOD_S:
            self._printed[part] = now
            self._console.print(f"{part}: {elapsed_s:.0f} s: {said}", markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def report_to(console: Console, names: Sequence[str]) -> Iterator[Report]:
    """Show progress on these parts while the block runs."""
    if not names or not console.is_terminal:
        yield PlainReport(console)
        return
    said_column = TextColumn("{task.fields[said]}", markup=False, table_column=Column(no_wrap=True, ratio=1))
    with Progress(
        SpinnerColumn(finished_text="·"),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        said_column,
        console=console,
        expand=True,
    ) as progress:
        tasks = {name: progress.add_task(name, total=1, said="waits for its turn", start=False) for name in names}

        def report(part: str, said: str) -> None:
            progress.start_task(tasks[part])
            done = said == "ready" or said.startswith("missing")
            progress.update(tasks[part], said=said, completed=int(done))

        yield report
