"""The servers that other tests trust: they keep what they acknowledged, they die with us, a missing one is named."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests
from confluent_kafka import Consumer, Producer, TopicPartition

from shipper.devstack.broker import EmbeddedBroker
from shipper.devstack.fetch import fetch
from shipper.devstack.kafka import KafkaServer, make_topic
from shipper.devstack.loki import LokiServer
from shipper.devstack.nginx import NginxSink
from shipper.devstack.parts import BuiltPart, PartMissingError, java
from shipper.devstack.prometheus import PrometheusServer
from shipper.devstack.server import Server, ServerFailedError, free_port

_RECORDS = 500


def produce(bootstrap: str, topic: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    for number in range(count):
        producer.produce(topic, value=f"record {number}".encode())
    assert producer.flush(30) == 0


def consume(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "nobody", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        values: list[bytes] = []
        deadline = time.monotonic() + 30
        while len(values) < count and time.monotonic() < deadline:
            values += [message.value() or b"" for message in consumer.consume(count, timeout=1) if not message.error()]
        return values
    finally:
        consumer.close()


@pytest.mark.kafka
@pytest.mark.slow
def test_kafka_keeps_its_records_over_a_sigkill_on_the_same_address(server_dir: Callable[[str], Path]) -> None:
    with KafkaServer(server_dir("kafka")) as server:
        address, topic = server.bootstrap, make_topic(server.bootstrap)
        produce(address, topic, _RECORDS)

        server.kill()
        assert not server.running
        server.start()

        assert server.bootstrap == address
        assert consume(address, topic, _RECORDS) == [f"record {number}".encode() for number in range(_RECORDS)]


@pytest.mark.slow
def test_the_embedded_broker_keeps_its_records_over_a_restart(server_dir: Callable[[str], Path]) -> None:
    with EmbeddedBroker(server_dir("broker")) as server:
        topic = make_topic(server.bootstrap)
        produce(server.bootstrap, topic, _RECORDS)

        server.restart()

        assert len(consume(server.bootstrap, topic, _RECORDS)) == _RECORDS


def push_json(url: str, test_id: str, lines: list[str], start_ns: int) -> int:
    values = [[str(start_ns + number), line] for number, line in enumerate(lines)]
    body = {"streams": [{"stream": {"test_id": test_id}, "values": values}]}
    return requests.post(f"{url}/loki/api/v1/push", json=body, timeout=30).status_code


def read_lines(url: str, test_id: str, start_ns: int) -> list[str]:
    query = {
        "query": f'{{test_id="{test_id}"}}',
        "start": str(start_ns),
        "end": str(start_ns + 10**9),
        "limit": "5000",
        "direction": "forward",
    }
    answer = requests.get(f"{url}/loki/api/v1/query_range", params=query, timeout=30)
    answer.raise_for_status()
    found = [value for stream in answer.json()["data"]["result"] for value in stream["values"]]
    return [line for _, line in sorted(found, key=lambda value: int(value[0]))]


@pytest.mark.loki
@pytest.mark.slow
def test_loki_keeps_acknowledged_entries_over_a_sigkill_and_stores_a_second_push_of_them_once(
    server_dir: Callable[[str], Path],
) -> None:
    lines, start_ns = [f"line {number}" for number in range(_RECORDS)], time.time_ns() - 60 * 10**9
    with LokiServer(server_dir("loki")) as server:
        assert push_json(server.url, "survivor", lines, start_ns) == requests.codes.no_content

        server.kill()
        server.start()

        assert read_lines(server.url, "survivor", start_ns) == lines
        assert push_json(server.url, "survivor", lines, start_ns) == requests.codes.no_content
        assert read_lines(server.url, "survivor", start_ns) == lines


def test_the_sink_reads_a_large_body_and_answers_204(nginx_sink: NginxSink) -> None:
    with requests.Session() as session:
        for _ in range(3):
            answer = session.post(f"{nginx_sink.url}/loki/api/v1/push", data=bytes(5_000_000), timeout=30)
            assert answer.status_code == requests.codes.no_content


def test_prometheus_scrapes_what_it_is_given(prometheus: Callable[..., PrometheusServer]) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    server = prometheus(scrape=[nobody])

    deadline = time.monotonic() + 30
    health: list[tuple[str, str]] = []
    while ("down" not in dict(health).values()) and time.monotonic() < deadline:
        targets = requests.get(f"{server.url}/api/v1/targets", timeout=5).json()["data"]["activeTargets"]
        health = [(target["labels"]["instance"], target["health"]) for target in targets]
        time.sleep(0.1)
    assert health == [(nobody, "down")]


def shell_part(script: str) -> BuiltPart:
    return BuiltPart("shell", "1", recipe="kafka", steps=(("sh", "-c", script),), keep="made", program="made")


def test_a_part_that_several_processes_want_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIPPER_PARTS_DIR", str(tmp_path / "parts"))
    part = shell_part(f"echo once >> {tmp_path}/builds; echo whole > made")
    with ThreadPoolExecutor(4) as pool:
        places = [future.result() for future in [pool.submit(fetch, part) for _ in range(4)]]
    assert {place.read_text() for place in places} == {"whole\n"}
    assert (tmp_path / "builds").read_text() == "once\n"


def test_a_build_that_fails_says_why_and_leaves_nothing_that_looks_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHIPPER_PARTS_DIR", str(tmp_path))
    with pytest.raises(PartMissingError, match=r"exit code 3 \(no space left\).*shell\.log"):
        fetch(shell_part("touch made; echo no space left; exit 3"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shell-1.lock", "shell.log"]


def test_a_java_that_is_too_old_for_kafka_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "bin" / "java"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(PartMissingError, match=f"needs Java 17, and {old} is version 11"):
        java()


class BrokenServer(Server):
    name = "broken"

    def _command(self) -> list[str]:
        return [sys.executable, "-c", "print('the disk is full'); raise SystemExit(9)"]

    def _is_ready(self) -> bool:
        return False


def test_a_server_that_ends_at_its_start_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(ServerFailedError, match=r"(?s)exit code 9.*the disk is full"):
        BrokenServer(tmp_path).start()


_STARTS_A_BROKER_AND_SAYS_ITS_PID = """
import pathlib, sys, time
from shipper.devstack.broker import EmbeddedBroker
from shipper.devstack.fetch import fetch
server = EmbeddedBroker(pathlib.Path(sys.argv[1])).start()
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_a_server_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = [sys.executable, "-c", _STARTS_A_BROKER_AND_SAYS_ITS_PID, str(tmp_path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs([server], timeout=10)
        assert not alive


def run_pytest_without_parts(folder: Path, *, require_real: bool) -> subprocess.CompletedProcess[str]:
    (folder / "bin").mkdir()
    env = {
        **os.environ,
        "PATH": str(folder / "bin"),
        "SHIPPER_PARTS_DIR": str(folder / "parts"),
        "SHIPPER_REQUIRE_REAL": "1" if require_real else "0",
    }
    this_test = f"{__file__}::test_kafka_keeps_its_records_over_a_sigkill_on_the_same_address"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", this_test]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_a_missing_part_is_named_in_capitals_with_its_cost_and_the_way_out(tmp_path: Path) -> None:
    done = run_pytest_without_parts(tmp_path, require_real=False)
    assert done.returncode == pytest.ExitCode.OK, done.stdout
    assert "KAFKA IS MISSING: 1 TESTS DID NOT RUN" in done.stdout
    assert "make parts" in done.stdout
    assert "1 skipped" in done.stdout


@pytest.mark.slow
def test_a_missing_part_is_a_failure_where_real_parts_are_required(tmp_path: Path) -> None:
    done = run_pytest_without_parts(tmp_path, require_real=True)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "KAFKA IS MISSING: 1 TESTS DID NOT RUN" in done.stdout
