"""`shipper capacity`: the plan as a table or as JSON."""

import json
import math
import re
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from shipper.errors import ConfigError
from shipper.tools.capacity import Constants, Load, Plan, plan

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([kMG]?)B?")
_FACTORS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_LABELS = {
    "busiest": "busiest rate",
    "cpu_per_record": "CPU per record",
    "worker_memory": "memory per worker",
    "memory": "memory of all workers",
    "network_in": "network, from Kafka",
    "network_out": "network, to Loki",
    "kafka_disk": "Kafka, on disk",
    "loki_cores": "Loki, cores to ingest",
    "ingesters": "Loki, ingesters",
    "s3_per_day": "object storage per day",
    "s3": "object storage in all",
}


def run(load: Load, *, as_json: bool, console: Console) -> int:
    """Print what the load needs; returns the exit code, 0."""
    made = plan(load, Constants.load())
    if as_json:
        console.out(json.dumps(_document(made), indent=2, ensure_ascii=False), highlight=False)
    else:
        _print(made, console)
    return 0


def number(option: str, text: str) -> float:
    """Return what `10k`, `1.5M` or `320` means.

    Raises: ConfigError if it is none of these, or zero.
    """
    found = _NUMBER.fullmatch(text.strip())
    if not found or not (value := float(found[1]) * _FACTORS[found[2]]):
        raise ConfigError(f"{option} wants a number above zero such as 320, 10k or 1.5M, not {text!r}")
    return value


def _document(made: Plan) -> dict[str, object]:
    return {
        "load": asdict(made.load),
        "needs": {
            figure.name: {"value": figure.value, "unit": figure.unit, "why": figure.why} for figure in made.figures
        },
        "warnings": list(made.warnings),
    }


def _print(made: Plan, console: Console) -> None:
    load = made.load
    title = f"{load.records_per_s:,.0f} records/s of {load.record_bytes:,.0f} bytes"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("needs", justify="right")
    table.add_column("because")
    for figure in made.figures:
        table.add_row(
            _LABELS.get(figure.name, figure.name), f"{_show(float(figure.value))} {figure.unit}".strip(), figure.why
        )
    console.print(table)
    for warning in made.warnings:
        console.print(Text(f"! {warning}", style="yellow"), soft_wrap=True)
    console.print("Measured on two cores, and modelled from there: docs/capacity.md says what is which.", style="dim")


def _show(value: float) -> str:
    """Write three digits, and all of what stands before the point."""
    return f"{value:,.0f}" if value.is_integer() else f"{value:,.{max(0, 2 - int(math.log10(max(value, 1))))}f}"
