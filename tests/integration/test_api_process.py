"""`shipper api` as a process: it starts with what it needs or says what is missing, and a drain is no failure."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from kept_api import WAIT_S, kept_settings, until
from shipper.devstack.kafka import KafkaServer
from shipper.devstack.server import HOST, free_port, spawn_leashed


def environment(bootstrap: str, port: int) -> dict[str, str]:
    return {"SHIPPER_KAFKA__BOOTSTRAP_SERVERS": bootstrap, "SHIPPER_API__LISTEN": f"{HOST}:{port}"}


@pytest.mark.kafka
def test_it_makes_its_topics_answers_those_it_knows_and_drains_with_0(kafka: KafkaServer, tmp_path: Path) -> None:
    topics = kept_settings(kafka.bootstrap).api.topics
    port = free_port()
    env = environment(kafka.bootstrap, port) | {
        f"SHIPPER_API__TOPICS__{name.upper()}": getattr(topics, name) for name in topics.__struct_fields__
    }
    make = [sys.executable, "-m", "shipper", "api", "token", "create", "first", "--role", "admin"]
    made = subprocess.run(
        make, env={**os.environ, **env}, cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_S, check=True
    )
    who = {"authorization": f"Bearer {made.stdout.strip()}"}
    running = spawn_leashed([sys.executable, "-m", "shipper", "api"], log=tmp_path / "log", env=env)

    def answers() -> bool:
        assert running.poll() is None, (tmp_path / "log").read_text()
        try:
            return httpx.get(f"http://{HOST}:{port}/v1/levels", headers=who, timeout=WAIT_S).status_code == 200
        except httpx.TransportError:
            return False

    until(answers)
    running.send_signal(signal.SIGTERM)
    assert running.wait(WAIT_S) == 0
    assert made.stdout.strip() not in (tmp_path / "log").read_text()


def test_without_kafka_it_says_so_and_ends_with_3(tmp_path: Path) -> None:
    env = {**os.environ, **environment(f"{HOST}:{free_port()}", free_port())}
    command = [sys.executable, "-m", "shipper", "api"]
    told = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert (told.returncode, "no Kafka broker can be reached" in told.stderr) == (3, True)
    assert "Traceback" not in told.stderr
