"""What is in the rule files, and the programs that judge them."""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from shipper.devstack import parts

ROOT = Path(__file__).parents[1]
LOG_RULES = sorted((ROOT / "loki" / "rules").glob("*.yaml"))
METRIC_RULES = sorted((ROOT / "prometheus" / "rules").glob("*.yaml"))
METRIC_RULE_TESTS = sorted((ROOT / "prometheus" / "tests").glob("*.yaml"))
ALERTMANAGER_CONFIG = ROOT / "alertmanager" / "alertmanager.yml"
RUNBOOKS = ROOT / "docs" / "runbooks"


class Alert(NamedTuple):
    """An alert of a rule file."""

    file: str
    name: str
    expr: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


def alerts(files: list[Path]) -> Iterator[Alert]:
    """Yield every alert of these files; two of one name differ in their severity."""
    for file in files:
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                yield Alert(file.name, rule["alert"], rule["expr"], rule["labels"], rule["annotations"])


LOG_ALERTS = [*alerts(LOG_RULES)]
METRIC_ALERTS = [*alerts(METRIC_RULES)]


def load(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    """Return what a YAML file holds."""
    return yaml.safe_load(path.read_text())


def run(program: Path | str, *arguments: str) -> str:
    """Run a program that must succeed, and return what it said."""
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def promtool(*arguments: str) -> str:
    """Run the tool that Prometheus brings along."""
    return run(parts.locate("prometheus").with_name("promtool"), *arguments)


def amtool(*arguments: str) -> str:
    """Run the tool that Alertmanager brings along."""
    return run(parts.locate("alertmanager").with_name("amtool"), *arguments)
