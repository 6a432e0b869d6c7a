"""The loop closes: a level set through the log API is in force in a running service, and is over when its time is."""

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from building_node import ROOT
from kept_api import WAIT_S, KeptApi, kept_settings, make_tokens
from shipper.api.principal import Role
from shipper.devstack.kafka import KafkaServer
from shipper.settings import Settings

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


class Line(NamedTuple):
    """A record that a service wrote."""

    level: str
    at: datetime


@contextmanager
def service(*command: str, env: dict[str, str]) -> Iterator["queue.Queue[Line]"]:
    """Run a service; gives the records that it writes."""
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
    lines: queue.Queue[Line] = queue.Queue()

    def read(texts: Iterator[str]) -> None:
        for text in texts:
            if text.startswith("{"):  # else the library says that the API is away
                record = json.loads(text)
                lines.put(Line(record["level"], datetime.fromisoformat(record["timestamp"])))

    reader = threading.Thread(target=read, args=(running.stderr,), daemon=True)
    reader.start()
    try:
        yield lines
    finally:
        running.kill()
        running.wait(WAIT_S)
        reader.join(WAIT_S)


def is_seen(lines: "queue.Queue[Line]", level: str, *, until: datetime) -> bool:
    """Say whether there is a line of this level that was written until then."""
    while (found := lines.get(timeout=WAIT_S)).level != level:
        assert found.level in {"debug", "info"}, found
        if found.at > until:
            return False
    return True


def until_over(lines: "queue.Queue[Line]") -> datetime:
    """Return when a level of debug was over: while it is in force, a line of debug comes before each of info."""
    before = "debug"
    while (found := lines.get(timeout=WAIT_S)).level == "debug" or before == "debug":
        before = found.level
    return found.at


@pytest.fixture(scope="module")
def settings(kafka: KafkaServer) -> Settings:
    return kept_settings(kafka.bootstrap)


@pytest.fixture(scope="module")
def who(settings: Settings) -> dict[str, str]:
    library = {"role": Role.SERVICE, "services": ["python", "node"]}
    return make_tokens(settings, {"operator": {"role": Role.OPERATOR}, "library": library})


@pytest.mark.parametrize("language", ["python", pytest.param("node", marks=pytest.mark.node)])
def test_a_level_is_in_force_in_a_running_service_and_over_when_its_time_is_though_the_api_has_gone(
    language: str, settings: Settings, who: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    program = [sys.executable, "-c", _PYTHON]
    if language == "node":
        program = [str(request.getfixturevalue("node")), "--input-type=module", "-e", _NODE]
    (tmp_path / "token").write_text(who["library"].removeprefix("Bearer "))
    env = {"SERVICELOG_SERVICE": language, "SERVICELOG_LEVEL_TOKEN_FILE": str(tmp_path / "token")}
    for lasts_s in (6, 60):  # the second is for a machine that is too slow for the first
        with KeptApi(settings, who) as api:
            url = f"{api.url}/v1/levels/{language}"
            with service(*program, env={**env, "SERVICELOG_LEVEL_URL": url}) as lines:
                assert is_seen(lines, "info", until=datetime.max.replace(tzinfo=UTC))
                body = {"level": "debug", "for": f"{lasts_s}s", "why": "to see the pool's details"}
                answer = api.ask("operator", "PUT", f"/v1/levels/{language}/app.db", json=body)
                set_s, expires = time.monotonic(), datetime.fromisoformat(answer.json()["expiresAt"])
                if not is_seen(lines, "debug", until=expires):
                    continue
                sys.stdout.write(f"{language}: in force {time.monotonic() - set_s:.2f} s after the answer\n")
                api.end()  # from now on nobody tells the service anything
                if datetime.now(UTC) < expires:
                    assert until_over(lines) >= expires
                    return
    pytest.fail("the level was not in force within its time")
