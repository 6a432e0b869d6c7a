"""Programs for Node: the library, built from its source, and what is run with it."""

import fcntl
import os
import subprocess
import tempfile
from pathlib import Path

from shipper.devstack import parts

ROOT = Path(__file__).parents[1]


def build() -> Path:
    """Install from package-lock.json and compile; returns the program `node`. One process at a time does it."""
    program = parts.locate("node")
    with (Path(tempfile.gettempdir()) / f"shipper-node-build-{os.getuid()}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run("make", "install-node")
        run("node_modules/.bin/tsc", "--build")
    return program


def run(*command: str, **env: str) -> str:
    """Run a program at the root of the tree; returns what it said. It must end with 0."""
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
