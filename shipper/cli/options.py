"""What several commands share of the command line."""

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

ConfigOption = Annotated[
    Optional[Path],  # noqa: UP045 - typer reads this at run time, also in Python 3.11
    typer.Option("--config", help="The configuration; else $SHIPPER_CONFIG, else ./config.toml, else the defaults."),
]
SetOption = Annotated[
    Optional[list[str]],  # noqa: UP045 - as above
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Wins over file and environment; may be given often."),
]


def examples(*lines: str) -> str:
    r"""Return them as an epilog; the \b keeps its line breaks."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


def new_console() -> Console:
    """Return a console for stdout that colours nothing by itself."""
    return Console(highlight=False)
