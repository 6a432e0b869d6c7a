"""What the demo shows while it works: a line per step, and for the long ones a picture that moves."""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from shipper.devstack.demo_shipper import Partition, Status, Worker

Show = Callable[[RenderableType, str], None]
"""Takes a picture for a terminal, and a line for everything else."""

_NAME_WIDTH, _BAR_WIDTH, _FIGURES_WIDTH = 10, 28, 24
_INDENT = (0, 0, 0, 2)
_PICTURES_PER_S = 8
_PLAIN_PERIOD_S = 3.0
_RATE_S = 2.0
_SPARK_S = 0.5
_SPARKS = "▁▂▃▄▅▆▇█"
_STATE_STYLES = {"ok": "green", "running": "green", "done": "green", "refusing": "bold red"}


class Steps:
    """Prints a line for each step when it is done: what came of it, and how long it took.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextlib.contextmanager
    def step(self, name: str, doing: str) -> Iterator[Callable[[str], None]]:
        """Show that a step is under way; the block calls what it gets with what came of it."""
        with self.moving_step(name) as (show, done):
            show(Padding(Spinner("dots", Text(doing, style="dim")), _INDENT), doing)
            yield done

    @contextlib.contextmanager
    def moving_step(self, name: str) -> Iterator[tuple[Show, Callable[[str], None]]]:
        """Show a step that moves: the block calls the first function for each picture, the second as in `step`."""
        result: list[str] = []
        started = shown = time.monotonic()

        def print_line(_: RenderableType, line: str) -> None:
            nonlocal shown
            if time.monotonic() - shown >= _PLAIN_PERIOD_S:
                shown = time.monotonic()
                self.say(name, line, mark="·")

        if self._console.is_terminal:
            with Live(console=self._console, refresh_per_second=_PICTURES_PER_S, transient=True) as live:
                yield lambda picture, _: live.update(picture), result.append
        else:
            yield print_line, result.append
        elapsed = Text(f"  {time.monotonic() - started:.1f} s", style="dim")
        self.say(name, Text.assemble(*result, elapsed), mark="✓")

    def say(self, name: str, what: str | Text, *, mark: str = " ") -> None:
        """Print a line in the form of the others; a long one is left to the terminal, so that it can be copied."""
        line = Text.assemble((f"  {mark} ", "green"), (f"{name:<{_NAME_WIDTH}}", "bold"), "  ", what)
        self._console.print(line, soft_wrap=True)


def picture_of_progress(doing: str, done: int, of: int, unit: str, elapsed_s: float) -> RenderableType:
    """Return a progress bar: how many are done, of how many; the unit is a noun in the plural."""
    grid = _grid()
    _add_progress(grid, doing, done, of, elapsed_s)
    grid.add_row("", "", f"{done / max(elapsed_s, 0.001):>9,.0f} {unit}/s")
    return Padding(grid, (1, 0, 1, 2))


class Dashboard:
    """The picture of shipping, made from one look at shipper after the other.

    Args:
        records: how many are to be shipped.
        title: from where to where, in words.
        clock: seconds from any fixed moment.

    Attributes:
        rss_bytes_max: the most memory that any worker was seen with.
    """

    def __init__(self, records: int, title: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._records, self._title, self._clock = records, title, clock
        self._started = self._idle_until = self._busy_until = self._sparked = clock()
        self._looks: deque[tuple[float, int]] = deque([(self._started, 0)])
        self._rates: deque[float] = deque(maxlen=_BAR_WIDTH)
        self.rss_bytes_max = 0

    @property
    def records_per_s(self) -> float:
        """The mean from the first record to the last: neither the start of the workers nor their last commit counts."""
        return self._looks[-1][1] / max(self._busy_until - self._idle_until, 0.001)

    def add(self, status: Status) -> None:
        """Take a look into the picture."""
        now, settled = self._clock(), status.totals.settled
        if not settled:
            self._idle_until = now
        if settled != self._looks[-1][1]:
            self._busy_until = now
        self._looks.append((now, settled))
        while now - self._looks[1][0] > _RATE_S:
            self._looks.popleft()
        if settled and now - self._sparked >= _SPARK_S:
            self._sparked = now
            self._rates.append(self._rate)
        self.rss_bytes_max = max([self.rss_bytes_max, *(worker.rss_bytes for worker in status.workers)])

    def picture(self, status: Status) -> RenderableType:
        """Return all of it, for a terminal of 80 by 24 or larger."""
        grid = _grid()
        _add_progress(grid, "shipping", status.totals.settled, self._records, self._clock() - self._started)
        peak = max(self._rates, default=0) or 1
        sparks = "".join(_SPARKS[round(rate / peak * (len(_SPARKS) - 1))] for rate in self._rates)
        grid.add_row("", Text(sparks, style="cyan"), f"{self._rate:>9,.0f} records/s")
        grid.add_row()
        for partition in status.partitions:
            _add_partition(grid, partition)
        grid.add_row()
        for worker in status.workers:
            _add_worker(grid, worker)
        return Padding(Group(Text(self._title, style="dim"), "", grid, "", _loki(status)), (1, 0, 0, 2))

    def line(self, status: Status) -> str:
        """Return the same in one line."""
        lag = sum(partition.lag_records or 0 for partition in status.partitions)
        cpu = " + ".join(f"{worker.cpu_percent:.0f} %" for worker in status.workers)
        return (
            f"{status.totals.settled:,} of {self._records:,}, {self._rate:,.0f} records/s, lag {lag:,}, "
            f"CPU {cpu}, Loki {status.loki.state}"
        )

    @property
    def _rate(self) -> float:
        """Records a second over the last two."""
        (then, before), (now, settled) = self._looks[0], self._looks[-1]
        return (settled - before) / max(now - then, 0.001)


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=_NAME_WIDTH)
    grid.add_column(width=_BAR_WIDTH)
    grid.add_column(min_width=_FIGURES_WIDTH, no_wrap=True)
    return grid


def _bar(total: float, filled: float, style: str) -> ProgressBar:
    return ProgressBar(total, min(filled, total), width=_BAR_WIDTH, complete_style=style, finished_style=style)


def _add_progress(grid: Table, doing: str, done: int, records: int, elapsed_s: float) -> None:
    bar = _bar(records, done, "green" if done >= records else "cyan")
    grid.add_row(Text(doing, style="bold"), bar, f"{done:>9,} of {records:,}", Text(f"{elapsed_s:.0f} s", style="dim"))


def _add_partition(grid: Table, partition: Partition) -> None:
    lag, size = partition.lag_records, partition.high_watermark
    if lag is None or size is None:
        said = Text(f"{'':>9} not known yet", style="dim")
    elif lag:
        said = Text(f"{lag:>9,} behind")
    else:
        said = Text(f"{'':>9} caught up", style="green") if size else Text(f"{'':>9} no records", style="dim")
    name = f"{partition.topic}/{partition.partition}"
    grid.add_row(name, _bar(size or 1, lag or 0, "blue"), said, Text(f"worker {partition.worker}", style="dim"))


def _add_worker(grid: Table, worker: Worker) -> None:
    grid.add_row(
        f"worker {worker.index}",
        _bar(100, worker.cpu_percent, "magenta"),
        f"{worker.cpu_percent:>9.0f} % CPU  {worker.rss_bytes / 1e6:>4.0f} MB",
        Text(worker.state, style=_STATE_STYLES.get(worker.state, "yellow")),
    )


def _loki(status: Status) -> Text:
    totals, loki = status.totals, status.loki
    return Text.assemble(
        f"{'Loki':<{_NAME_WIDTH}}  ",
        (loki.state, _STATE_STYLES.get(loki.state, "yellow")),
        f"   {totals.pushes:,} pushes, {totals.bytes_out / 1e6:.0f} MB sent for {totals.bytes_in / 1e6:.0f} MB read",
        f", {totals.retries:,} sent again" if totals.retries else "",
        f", {totals.dead_lettered:,} dead letters" if totals.dead_lettered else "",
        (f"\n{' ' * _NAME_WIDTH}  {loki.last_error}" if loki.last_error else "", "yellow"),
    )
