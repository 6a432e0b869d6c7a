"""`shipper check`: a line for each thing that must be right before a start."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from shipper import config
from shipper.cli import check_kafka, check_loki
from shipper.cli.finding import Finding, Mark
from shipper.errors import CannotStartError, ConfigError
from shipper.kafka.trial import try_settings
from shipper.pipeline import Rules
from shipper.settings import Settings

_STYLES = {Mark.OK: "green", Mark.NOTE: "yellow", Mark.FAILED: "red"}
_ASCII_MARKS = {Mark.OK: "ok", Mark.NOTE: "!", Mark.FAILED: "FAILED"}
_WHAT_WIDTH = 18


def run(path: Path | None, overrides: Sequence[str], *, offline: bool, console: Console) -> int:
    """Check, print a line for each finding as it comes, and return the exit code.

    Args:
        path: the configuration, as `config.find` takes it.
        overrides: what `--set` gave.
        offline: leave Kafka and Loki alone.
        console: where to print.

    Returns: 0 if nothing failed, the exit code of ConfigError or CannotStartError otherwise.
    """
    try:
        settings = config.load(path, env=os.environ, overrides=overrides)
        Rules.compile(settings)
        try_settings(settings)
        file = config.find(path, os.environ)
        _print(Finding(Mark.OK, "configuration", f"{file or 'built-in defaults'}; {_summary(settings)}"), console)
        if offline:
            return 0
        failed = False
        for finding in _outside(settings):
            failed |= finding.mark is Mark.FAILED
            _print(finding, console)
    except ConfigError as error:
        for line in str(error).splitlines():
            _print(Finding(Mark.FAILED, "configuration", line), console)
        return ConfigError.exit_code
    return CannotStartError.exit_code if failed else 0


def _outside(settings: Settings) -> Iterator[Finding]:
    yield from check_kafka.findings(settings)
    yield from check_loki.findings(settings.loki)


def _summary(settings: Settings) -> str:
    labels = ", ".join([*settings.labels.fields, *settings.labels.static])
    rules = f"{len(settings.filters)} filters, {len(settings.redact)} redactions"
    return f"{', '.join(settings.kafka.topics)} to {settings.loki.url}, labels {labels}, {rules}"


def _print(finding: Finding, console: Console) -> None:
    mark = _ASCII_MARKS[finding.mark] if console.options.ascii_only else finding.mark.value
    line = Text.assemble((mark, _STYLES[finding.mark]), f" {finding.what:<{_WHAT_WIDTH}} {finding.detail}")
    console.print(line, soft_wrap=True)
