"""The library for Node, and the gateway that uses it: vitest's tests, with a real Kafka that they may hold up."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from shipper.devstack import parts
from shipper.devstack.kafka import KafkaServer

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def node() -> Path:
    """The program, with everything installed from package-lock.json and built."""
    program = parts.locate("node")
    _run("make", "install-node")
    _run("node_modules/.bin/tsc", "--build")
    return program


@pytest.mark.kafka
@pytest.mark.usefixtures("node")
@pytest.mark.timeout(600)
def test_every_test_of_the_library_for_node_passes(server_dir: Callable[[str], Path]) -> None:
    with KafkaServer(server_dir("kafka")) as kafka:
        told = _run(
            "node_modules/.bin/vitest",
            "run",
            "--no-color",
            KAFKA_BOOTSTRAP=kafka.bootstrap,
            KAFKA_PID=str(kafka.pid),
        )
    print(told)  # noqa: T201 - `pytest -s` shows what vitest counted
    assert " passed" in told
    assert "skipped" not in told


def _run(*command: str, **env: str) -> str:
    done = subprocess.run(
        command,
        cwd=_ROOT,
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
