"""The ends of processes: what was logged is delivered, kept or shown, and an app's own ways stay its own."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from reading import WAIT_S, numbers, read
from servicelog.spill import Spill
from shipper.devstack.kafka import KafkaServer, make_topic

NOBODY = "127.0.0.1:9"  # the port of "discard": nothing listens


def run(
    program: str, kafka: str, topic: str, ends_with: int = 0, more: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a service that logs; `log(n)` is there."""
    begin = """
        import os, signal, sys, time
        import servicelog
        servicelog.configure(service="chat-service", logging=False)
        logger = servicelog.get_logger("test")
        def log(n): logger.info("m", n=n)
    """
    given = {"SERVICELOG_KAFKA": kafka, "SERVICELOG_TOPIC": topic, "SERVICELOG_FLUSH_S": "30", **(more or {})}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(begin) + textwrap.dedent(program)],
        capture_output=True, text=True, timeout=WAIT_S, check=False, env={**os.environ, **given},
    )  # fmt: skip
    assert done.returncode == ends_with, done.stderr
    return done


def shown(stderr: str) -> list[int]:
    """The field `n` of the lines on stderr."""
    return numbers([json.loads(line) for line in stderr.splitlines() if line.startswith("{")])


@pytest.fixture
def topic(kafka: KafkaServer) -> str:
    return make_topic(kafka.bootstrap, 1)


def test_every_end_of_a_process_delivers(kafka: KafkaServer, topic: str) -> None:
    ends = {
        "log(0)": 0,
        "log(1); sys.exit(3)": 3,
        "log(2); raise SystemError": 1,
        "log(3); os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)": -signal.SIGTERM,
    }
    for program, code in ends.items():
        run(program, kafka.bootstrap, topic, code)
    assert numbers(read(kafka.bootstrap, topic)) == [0, 1, 2, 3]


def test_a_services_own_sigterm_handler_is_left_alone(kafka: KafkaServer, topic: str) -> None:
    program = """
        def on_sigterm(*_):
            log(1)
            sys.exit(7)
        signal.signal(signal.SIGTERM, on_sigterm)
        servicelog.configure(service="chat-service", logging=False)
        assert signal.getsignal(signal.SIGTERM) is on_sigterm
        log(0)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    """
    run(program, kafka.bootstrap, topic, 7)
    assert numbers(read(kafka.bootstrap, topic)) == [0, 1]


def test_a_service_under_uvicorn_is_followed_to_its_end(kafka: KafkaServer, topic: str) -> None:
    program = """
        import http.client, socket, threading
        import uvicorn
        from fastapi import FastAPI
        from servicelog.asgi import AccessLog
        servicelog.configure(service="chat-service")
        api = FastAPI()
        @api.get("/rooms/{n}")
        def room(n: int):
            log(n)
            if n: raise ValueError("token=SECRET")
        listening = socket.create_server(("127.0.0.1", 0))
        def ask():
            for path in ("/rooms/0", "/rooms/1"):
                client = http.client.HTTPConnection(*listening.getsockname())
                client.request("GET", path, headers={"X-Request-ID": path})
                answer = client.getresponse()
                assert answer.headers["X-Request-ID"] == path, answer.headers
            os.kill(os.getpid(), signal.SIGTERM)
        threading.Thread(target=ask).start()
        app = AccessLog(api)
        uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False)).run(sockets=[listening])
    """
    done = run(program, kafka.bootstrap, topic, -signal.SIGTERM)
    records = read(kafka.bootstrap, topic)
    assert "SECRET" not in done.stderr + json.dumps(records)
    first, access, second, failed = [one for one in records if not one["context"].startswith(("uvicorn", "asyncio"))]
    assert (first["requestId"], first["metadata"], access["route"]) == ("/rooms/0", {"n": 0}, "/rooms/{n}")
    assert (second["requestId"], failed["requestId"], failed["status"]) == ("/rooms/1", "/rooms/1", 500)
    assert "in room" in failed["error"]["stack"]
    assert sum("error" in one for one in records) == 1


def test_children_of_a_fork_send_their_own_records_and_the_parent_its_own(kafka: KafkaServer, topic: str) -> None:
    program = """
        import multiprocessing
        log(0)
        while not servicelog.metrics().sent: time.sleep(0.01)
        log(1)
        child = os.fork()
        if not child:
            log(2)
            sys.exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        process = multiprocessing.get_context("fork").Process(target=log, args=(3,))
        process.start()
        process.join()
        assert process.exitcode == 0
        log(4)
    """
    run(program, kafka.bootstrap, topic)
    came = numbers(read(kafka.bootstrap, topic))
    assert sorted(came) == [0, 1, 2, 3, 4]
    assert [n for n in came if n in (0, 1, 4)] == [0, 1, 4]


def test_without_kafka_the_end_comes_in_time_and_shows_what_was_not_delivered() -> None:
    program = """
        logger.warn("Bearer abcdefghijSECRET", n=-1, password="SECRET", at="https://u:SECRET@h")
        for n in range(300): log(n)
    """
    done = run(program, NOBODY, "logs", more={"SERVICELOG_FLUSH_S": "0.3"})
    assert "SECRET" not in done.stderr
    assert "301 records did not reach Kafka before the end" in done.stderr
    assert set(shown(done.stderr)) == set(range(-1, 300))


def test_what_one_process_kept_the_next_one_sends_first(kafka: KafkaServer, topic: str, tmp_path: Path) -> None:
    spill = {"SERVICELOG_WHEN_FULL": "spill", "SERVICELOG_SPILL_FOLDER": str(tmp_path)}
    few = {**spill, "SERVICELOG_QUEUE_BYTES_MAX": "40000"}
    run("for n in range(100): log(n); time.sleep(0.001)", NOBODY, topic, more=few)
    killed = """
        for n in range(100, 400):
            log(n)
            while servicelog.metrics().queued_bytes > 20_000: time.sleep(0.01)
        while not servicelog.metrics().spilled_total: time.sleep(0.01)
        print(servicelog.metrics().spilled_total - servicelog.metrics().taken_over)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    run(killed, NOBODY, topic, -signal.SIGKILL, few)
    run("log(400)", kafka.bootstrap, topic, more=spill)
    came = numbers(read(kafka.bootstrap, topic))
    assert came[:100] == list(range(100))
    assert came == sorted(set(came))
    assert len(came) > 101, "of the process that was killed, what was on disk"
    assert came[-1] == 400
    assert not list(tmp_path.iterdir())


def test_two_processes_do_not_take_each_others_files(tmp_path: Path) -> None:
    first = Spill(tmp_path, "chat-service", 10_000)
    first.append([b"a", b"b"])
    second = Spill(tmp_path, "chat-service", 10_000)
    assert second.records == 0
    other = Spill(tmp_path, "auth-service", 10_000)
    first.close()
    assert other.records == 0
    third = Spill(tmp_path, "chat-service", 10_000)
    assert third.records == 2
    segment = third.take()
    assert segment is not None
    assert list(segment.read()) == [b"a", b"b"]


def test_a_spill_is_bounded_and_a_torn_end_costs_only_itself(tmp_path: Path) -> None:
    spill = Spill(tmp_path, "chat-service", 1_000)
    assert spill.append([b"x" * 92] * 20) == 10
    assert spill.append([b"y" * 92]) == 0
    spill.close()
    (file,) = tmp_path.glob("*.spill")
    file.write_bytes(file.read_bytes()[:-1])
    assert Spill(tmp_path, "chat-service", 1_000).records == 9
