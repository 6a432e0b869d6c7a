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


def quick_rules(files: list[Path], folder: Path) -> list[Path]:
    """Write these rule files with short times, and return the copies: each second, at once, over seconds."""
    folder.mkdir(parents=True)
    written = []
    for file in files:
        rules = load(file)
        for group in rules["groups"]:
            group["interval"] = "1s"
            for rule in group["rules"]:
                rule.pop("for", None)
                rule["expr"] = rule["expr"].replace("[5m]", "[10s]")
        copy = folder / file.name
        copy.write_text(yaml.safe_dump(rules))
        written.append(copy)
    return written


def quick_alertmanager(secrets: Path, *, mail_port: int, http_url: str, password: str) -> dict[str, Any]:
    """Return Alertmanager's configuration with short times, and the tests' receivers in its files of secrets."""
    secrets.mkdir(parents=True)
    files = {
        "smtp-password": password,
        "slack-url": f"{http_url}/slack",
        "pagerduty-key": "0123456789abcdef0123456789abcdef",
        "webhook-url": f"{http_url}/webhook",
        "dead-mans-switch-url": f"{http_url}/dead-mans-switch",
    }
    for name, content in files.items():
        (secrets / name).write_text(content)
    text = ALERTMANAGER_CONFIG.read_text().replace("/etc/alertmanager/secrets", str(secrets))
    config: dict[str, Any] = yaml.safe_load(text)
    config["global"] |= {"smtp_smarthost": f"127.0.0.1:{mail_port}", "smtp_require_tls": False}
    config["templates"] = [str(ALERTMANAGER_CONFIG.parent / it) for it in config["templates"]]
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "0s", "group_interval": "1s"}
    for receiver in config["receivers"]:
        for paging in receiver.get("pagerduty_configs", ()):
            paging["url"] = f"{http_url}/pagerduty"
    return config
