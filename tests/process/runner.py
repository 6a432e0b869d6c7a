"""A supervisor with fake workers in a process of its own, and what a test does with it.

`python -m process.runner '{"settings": {…}, …}'` runs it; `Supervised` is a test's handle on it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import msgspec

from shipper.errors import ConfigError, ShipperError
from shipper.process import supervisor
from shipper.process.backoff import Backoff
from shipper.process.spawn import Programs
from shipper.process.watchdog import Patience
from shipper.settings import Settings

ROOT = Path(__file__).parents[2]
WAIT_S = 90.0
FAKE = "process.fake_workers"


def main() -> int:
    options = json.loads(sys.argv[1])
    reload_file = Path(options.get("reload", "/nowhere"))

    def reload() -> Settings:
        try:
            return msgspec.json.decode(reload_file.read_bytes(), type=Settings)
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{reload_file.name}: {error}") from error

    try:
        return supervisor.run(
            msgspec.convert(options["settings"], Settings),
            until_caught_up=options.get("until_caught_up", False),
            reload=reload,
            ready=lambda url: print(url, flush=True),  # noqa: T201 - how the test learns the port
            programs=Programs(
                worker=f"{FAKE}:main",
                survey=f"{FAKE}:survey",
                retention=f"{FAKE}:retention",
                canary=f"{FAKE}:canary",
            ),
            patience=Patience(**options.get("patience", {})),
            backoff=lambda: Backoff(first_s=0.05, max_s=0.2),
        )
    except ShipperError as error:
        print(error, file=sys.stderr)  # noqa: T201 - as the command line does
        return error.exit_code


class Supervised:
    """A running supervisor: its status, its log, and signals to it."""

    def __init__(self, process: "subprocess.Popen[str]", log_path: Path) -> None:
        self.process = process
        self.log_path = log_path
        assert process.stdout
        self.url = process.stdout.readline().strip()

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        with urlopen(self.url + path, timeout=5) as answer:  # noqa: S310 - http, ours
            return json.load(answer)

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = self.get("/status")
        totals = document["totals"]
        assert totals["consumed"] == (
            totals["delivered"] + totals["filtered"] + totals["dead_lettered"] + totals["in_flight"]
        )
        return document

    def wait_for(self, reached: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Look at the status until `reached`; every look must add up."""
        deadline = time.monotonic() + WAIT_S
        while True:
            status = self.status()
            if reached(status):
                return status
            assert time.monotonic() < deadline, f"not reached: {status}\n{self.log()}"
            time.sleep(0.05)

    def wait_for_log(self, text: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while text not in self.log():
            assert time.monotonic() < deadline, f"not logged: {text}\n{self.log()}"
            time.sleep(0.05)

    def log(self) -> str:
        return self.log_path.read_text()

    def line_with(self, text: str) -> dict[str, Any]:
        """Give the one line of the log that says this; every line of it is JSON."""
        (line,) = (line for line in map(json.loads, self.log().splitlines()) if text in line["message"])
        return dict(line)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def exit_code(self) -> int:
        return self.process.wait(timeout=WAIT_S)

    def answers(self) -> bool:
        try:
            self.get("/healthz")
        except HTTPError:
            return True
        except (URLError, OSError):
            return False
        return True


def running(status: Mapping[str, Any]) -> bool:
    return bool(status["state"] == "running" and status["totals"]["delivered"])


@contextlib.contextmanager
def supervised(tmp_path: Path, *, kafka: Mapping[str, Any] | None = None, **options: Any) -> Iterator[Supervised]:  # noqa: ANN401
    """Start a supervisor; at the end it and its workers are killed."""
    options.setdefault("settings", settings(tmp_path, **(kafka or {})))
    log_path = tmp_path / "log.jsonl"
    with log_path.open("w") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-m", "process.runner", json.dumps(options)],
            cwd=ROOT / "tests",
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=log_file,
            text=True,
            start_new_session=True,
        )
    try:
        yield Supervised(process, log_path)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=WAIT_S)


def settings(tmp_path: Path, **client: Any) -> dict[str, Any]:  # noqa: ANN401
    """Settings of two workers; `client` is how they behave, with `_` for the dots."""
    workers = client.pop("workers", 2)
    return {
        "kafka": {"client": {f"fake.{key}": value for key, value in client.items()}},
        "workers": {"count": workers, "drain_timeout_s": 2.0},
        "status": {"listen": "127.0.0.1:0"},
        "loki": {"timeout_s": 0.1},  # a worker may take as long as a push may
        # A folder for what the fake workers must remember from one life to the next.
        "dead_letter": {"topic": str(tmp_path)},
    }


if __name__ == "__main__":
    sys.exit(main())
