"""`make chaos`: breaks a shipper between a real Kafka and a real Loki for minutes, and proves that nothing was lost.

    make chaos                                     # two minutes, seed 1
    make chaos ARGS="--minutes 20 --seed 7"
    make chaos ARGS="--only Loki --json figures.json"

Ends with 0 only if nothing was lost, doubled or made up, and everything came back by itself.
"""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.status import Status
from rich.table import Table

from chaos.faults import FAULTS, Fault
from chaos.soak import Account, soak
from chaos.world import NotHealthyError, World
from shipper.errors import ShipperError

_PLAIN_WIDTH = 120


def main(
    minutes: Annotated[float, typer.Option(help="How long faults are drawn.")] = 2.0,
    seed: Annotated[int, typer.Option(help="Draws the faults; the same seed draws the same ones.")] = 1,
    rate: Annotated[int, typer.Option(help="Records per second.")] = 2_000,
    only: Annotated[list[str] | None, typer.Option(help="Only faults whose name holds this; may be repeated.")] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="A setting for shipper, section.key=value.")] = None,
    figures: Annotated[Path | None, typer.Option("--json", help="Where to write the figures.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where data and logs stay; else they are deleted.")] = None,
) -> None:
    """Break a shipper between a real Kafka and a real Loki, and prove that nothing was lost."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PLAIN_WIDTH)
    faults = [fault for fault in FAULTS if not only or any(part.lower() in str(fault).lower() for part in only)]
    if not faults:
        console.print(f"no fault is called so; there are: {', '.join(map(str, FAULTS))}")
        raise typer.Exit(2)
    account = Account(seed, rate)
    with tempfile.TemporaryDirectory(prefix="shipper-chaos-", ignore_cleanup_errors=True) as scratch:
        try:
            _soak(console, account, faults, minutes, folder or Path(scratch), tuple(sets or ()))
        except (NotHealthyError, ShipperError, AssertionError) as error:
            account.failure = str(error)
    _print(console, account, faults)
    if figures:
        figures.write_text(json.dumps(account.document(faults), indent=1) + "\n")
    raise typer.Exit(0 if account.is_clean else 1)


def _soak(
    console: Console, account: Account, faults: list[Fault], minutes: float, folder: Path, settings: tuple[str, ...]
) -> None:
    console.print(
        f"[bold]chaos[/]: {minutes:g} minutes, seed {account.seed}, {account.rate:,} records/s, "
        f"{len(faults)} kinds of fault"
    )
    with (
        Status("starting Kafka, Loki and shipper", console=console) as status,
        World(folder, rate=account.rate, seed=account.seed, settings=settings) as world,
    ):

        def doing(what: str) -> None:
            status.update(f"{what}  [dim]({world.load.confirmed:,} records written)[/]")

        def say(line: str) -> None:
            console.print(line, markup=False, soft_wrap=True)

        soak(world, account, faults, minutes=minutes, say=say, doing=doing)


def _print(console: Console, account: Account, faults: list[Fault]) -> None:
    table = Table("fault")
    for name in ("times", "records meanwhile", "healthy after, median", "longest"):
        table.add_column(name, justify="right")
    for row in account.rows(faults):
        seconds = (f"{after_s:.1f} s" for after_s in (row.healthy_after_s_median, row.healthy_after_s_max))
        table.add_row(row.fault, f"{row.times}", f"{row.records:,}", *seconds)
    console.print(table)
    judged = account.judgement
    if judged:
        console.print(
            f"{judged.records:,} records in {account.minutes:.1f} minutes, {len(account.episodes)} times broken: "
            f"{judged.shipped:,} in Loki, {judged.dead_lettered:,} dead letters, {judged.filtered:,} filtered",
            f"drained in {account.drained_s:.1f} s, judged in {account.judged_s:.1f} s; largest process "
            f"{account.rss_bytes_max / 1e6:.0f} MB; shipper ended by itself {account.ended_unasked} times",
            sep="\n",
        )
        for example in judged.examples:
            console.print(f"  {example}", markup=False, style="red", soft_wrap=True)
        mark = "[green]✓[/]" if account.is_clean else "[red]✗[/]"
        console.print(
            f"{mark} [bold]lost {judged.lost}, duplicated {judged.duplicated}, unexpected {judged.unexpected}[/]"
        )
    if account.failure:
        console.print(f"✗ {account.failure}", markup=False, style="red", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
