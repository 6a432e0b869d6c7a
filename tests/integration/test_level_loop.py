"""The loop closes: a level set through the log API is in force in a running service, and is over when its time is."""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from building_node import ROOT
from kept_api import WAIT_S, KeptApi, kept_settings, make_tokens
from shipper.api.principal import Role
from shipper.devstack.kafka import KafkaServer

pytestmark = pytest.mark.kafka

_PYTHON = """
import time, servicelog
servicelog.configure()
while True:
    servicelog.get_logger("app.db.pool").debug("a detail")
    servicelog.get_logger("app.db.pool").info("a line")
    time.sleep(0.05)
"""
_NODE = """
import { configure, getLogger } from "./clients/node/dist/index.js";
configure();
setInterval(() => {
  getLogger("app.db.pool").debug("a detail");
  getLogger("app.db.pool").info("a line");
}, 50);
"""


@contextmanager
def service(*command: str, env: dict[str, str]) -> Iterator["queue.Queue[str]"]:
    """Run a service; gives the levels of the records that it writes."""
    running = subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert running.stderr
    levels: queue.Queue[str] = queue.Queue()

    def read(lines: Iterator[str]) -> None:
        for line in lines:
            levels.put(json.loads(line)["level"] if line.startswith("{") else line)

    reader = threading.Thread(target=read, args=(running.stderr,), daemon=True)
    reader.start()
    try:
        yield levels
    finally:
        running.kill()
        running.wait(WAIT_S)
        reader.join(WAIT_S)


def until_level(levels: "queue.Queue[str]", wanted: str) -> None:
    while (found := levels.get(timeout=WAIT_S)) != wanted:
        assert found in {"debug", "info"}, found


@pytest.fixture(scope="module")
def api(kafka: KafkaServer) -> Iterator[KeptApi]:
    settings = kept_settings(kafka.bootstrap)
    library = {"role": Role.SERVICE, "services": ["python", "node"]}
    with KeptApi(settings, make_tokens(settings, {"operator": {"role": Role.OPERATOR}, "library": library})) as started:
        yield started


@pytest.mark.parametrize("language", ["python", pytest.param("node", marks=pytest.mark.node)])
def test_a_level_is_in_force_in_a_running_service_and_over_when_its_time_is(
    language: str, api: KeptApi, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    program = [sys.executable, "-c", _PYTHON]
    if language == "node":
        program = [str(request.getfixturevalue("node")), "--input-type=module", "-e", _NODE]
    (tmp_path / "token").write_text(api.who["library"].removeprefix("Bearer "))
    env = {
        "SERVICELOG_SERVICE": language,
        "SERVICELOG_LEVEL_URL": f"{api.url}/v1/levels/{language}",
        "SERVICELOG_LEVEL_TOKEN_FILE": str(tmp_path / "token"),
    }

    def set_for(time: str) -> None:
        body = {"level": "debug", "for": time, "why": "to see the pool's details"}
        assert api.ask("operator", "PUT", f"/v1/levels/{language}/app.db", json=body).status_code == 200

    with service(*program, env=env) as levels:
        until_level(levels, "info")
        set_for("15m")
        until_level(levels, "debug")
        set_for("2500ms")
        before = "debug"  # as long as it is in force, a line of debug comes before each of info
        while (found := levels.get(timeout=WAIT_S)) == "debug" or before == "debug":
            before = found
