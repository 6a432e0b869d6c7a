"""What is in TypeScript, installed from package-lock.json and built."""

import fcntl
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*command: str, **env: str) -> str:
    """Run a command in the checkout; returns what it says, and must end well."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def build() -> None:
    """Install what is needed, and compile; one process at a time, since tests run in several."""
    with (ROOT / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run("make", "install-node")
        run("node_modules/.bin/tsc", "--build")
