"""The supervisor with workers that crash, hang, stall, refuse and drain: real processes, real signals."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil
import pytest

from process.runner import ROOT, Supervised, running, settings, supervised
from shipper import native

pytestmark = pytest.mark.slow


def test_status_adds_up_at_every_look_and_a_killed_worker_comes_back_with_its_counts(tmp_path: Path) -> None:
    with supervised(tmp_path, kafka={"does": "rest"}) as shipper:
        before = shipper.wait_for(running)
        os.kill(before["workers"][0]["pid"], signal.SIGKILL)
        shipper.wait_for(lambda status: status["workers"][0]["restarts"] == 1)
        after = shipper.wait_for(lambda status: status["state"] == "running")
        assert after["workers"][0]["pid"] != before["workers"][0]["pid"]
        assert after["workers"][1]["pid"] == before["workers"][1]["pid"]
        assert after["totals"]["delivered"] >= before["totals"]["delivered"]
        assert "perhaps out of memory?" in shipper.log()
        # Two resting workers hold 300 records each; what the dead one held is no longer in flight.
        shipper.wait_for(lambda status: {partition["committed"] for partition in status["partitions"]} == {50_000})
        shipper.wait_for(lambda status: status["totals"]["in_flight"] == 600)


def cpu_seconds(shipper: Supervised) -> float:
    with urlopen(f"{shipper.url}/metrics", timeout=5) as answer:  # noqa: S310 - http, ours
        text = answer.read().decode()
    found = re.search(r'^shipper_worker_cpu_seconds_total\{worker="0"\} (\S+)$', text, re.MULTILINE)
    assert found
    return float(found[1])


def test_cpu_seconds_never_go_down_over_a_restart(tmp_path: Path) -> None:
    with supervised(tmp_path, kafka={"does": "rest"}) as shipper:
        shipper.wait_for(lambda status: {partition["committed"] for partition in status["partitions"]} == {50_000})
        seen = [cpu_seconds(shipper)]
        assert seen[0] > 0
        os.kill(shipper.status()["workers"][0]["pid"], signal.SIGKILL)

        def came_back(status: dict[str, Any]) -> bool:
            seen.append(cpu_seconds(shipper))
            return status["workers"][0]["restarts"] == 1 and running(status)

        shipper.wait_for(came_back)
        assert seen == sorted(seen)


def test_sigterm_drains_and_ends_with_0(tmp_path: Path) -> None:
    options = settings(tmp_path)
    options["canary"] = {"every_s": 1}
    with supervised(tmp_path, settings=options) as shipper:
        status = shipper.wait_for(lambda status: running(status) and status["canary"])
        assert status["canary"]["freshness_s"] >= 42
        shipper.send(signal.SIGTERM)
        assert shipper.exit_code() == 0
        assert not shipper.answers()
    ends = [json.loads(line) for line in shipper.log().splitlines()]
    assert ends[-1]["context"]["exit_code"] == 0


def test_the_log_says_at_the_start_whether_stages_run_in_rust(tmp_path: Path) -> None:
    with supervised(tmp_path) as shipper:
        shipper.wait_for_log("shipper runs")
        (start,) = (line for line in shipper.log().splitlines() if "shipper runs" in line)
        assert json.loads(start)["context"]["native"] == native.describe(wanted=True)


def test_ctrl_c_in_a_terminal_reaches_all_and_still_drains(tmp_path: Path) -> None:
    with supervised(tmp_path) as shipper:
        shipper.wait_for(running)
        os.killpg(shipper.process.pid, signal.SIGINT)
        assert shipper.exit_code() == 0


def test_a_second_sigterm_ends_at_once_with_1(tmp_path: Path) -> None:
    with supervised(tmp_path, kafka={"does": "deaf"}, patience={"end_s": 600.0}) as shipper:
        shipper.wait_for(running)
        shipper.send(signal.SIGTERM)
        shipper.wait_for(lambda status: status["state"] == "draining")
        shipper.send(signal.SIGTERM)
        assert shipper.exit_code() == 1


def test_a_worker_that_does_not_drain_in_time_is_killed_and_the_exit_code_says_so(tmp_path: Path) -> None:
    with supervised(tmp_path, kafka={"does": "deaf", "worker": 1}, patience={"end_s": 0.1}) as shipper:
        shipper.wait_for(running)
        shipper.send(signal.SIGTERM)
        assert shipper.exit_code() == 1
        assert "workers.drain_timeout_s" in shipper.log()


def test_a_bad_config_found_by_a_worker_stops_all_with_2(tmp_path: Path) -> None:
    with supervised(tmp_path, kafka={"does": "bad config", "worker": 1}) as shipper:
        assert shipper.exit_code() == 2


def test_a_worker_that_cannot_start_stops_all_with_3(tmp_path: Path) -> None:
    with supervised(tmp_path, kafka={"does": "refuse", "worker": 1}) as shipper:
        assert shipper.exit_code() == 3


def test_a_worker_that_ran_once_is_restarted_whatever_it_exits_with(tmp_path: Path) -> None:
    with supervised(tmp_path, kafka={"does": "exit 3", "worker": 0, "lives": 2}) as shipper:
        shipper.wait_for(lambda status: status["workers"] and status["workers"][0]["restarts"] == 2 and running(status))
        assert shipper.log().count("ended with exit code 3") == 2


def test_an_unasked_end_is_a_crash(tmp_path: Path) -> None:
    with supervised(tmp_path, kafka={"does": "exit 0", "worker": 0, "lives": 1}) as shipper:
        shipper.wait_for(lambda status: status["workers"] and status["workers"][0]["restarts"] == 1 and running(status))


def test_until_caught_up_ends_with_0_when_all_workers_are_done(tmp_path: Path) -> None:
    with supervised(tmp_path, until_caught_up=True) as shipper:
        assert shipper.exit_code() == 0
        assert shipper.log().count("worker caught up") == 2


def test_a_hung_worker_says_where_it_hangs_and_is_restarted(tmp_path: Path) -> None:
    kafka = {"does": "hang in C", "worker": 1, "lives": 1}
    with supervised(tmp_path, kafka=kafka, patience={"heartbeat_s": 1.0}) as shipper:
        shipper.wait_for(lambda status: status["workers"] and status["workers"][1]["restarts"] == 1 and running(status))
        line = shipper.line_with("killed by the supervisor: no heartbeat")
        assert line["context"]["worker"] == 1
        assert re.search(r"Current thread .*\n.*fake_workers.py\", line \d+ in misbehave", line["context"]["stacks"])


def test_a_stopped_worker_that_can_say_nothing_is_killed_all_the_same(tmp_path: Path) -> None:
    kafka = {"does": "stop", "worker": 1, "lives": 1}
    with supervised(tmp_path, kafka=kafka, patience={"heartbeat_s": 1.0}) as shipper:
        shipper.wait_for(lambda status: status["workers"] and status["workers"][1]["restarts"] == 1 and running(status))
        assert "none came" in shipper.line_with("killed by the supervisor: no heartbeat")["context"]["stacks"]


def test_a_crash_in_a_library_leaves_the_stacks_in_the_log(tmp_path: Path) -> None:
    kafka = {"does": "crash in C", "worker": 1, "lives": 1}
    with supervised(tmp_path, kafka=kafka) as shipper:
        shipper.wait_for(lambda status: status["workers"] and status["workers"][1]["restarts"] == 1 and running(status))
        stacks = shipper.line_with("killed by SIGSEGV")["context"]["stacks"]
        assert "in misbehave" in stacks


def test_sigusr1_logs_the_stacks_of_one_worker_or_of_all_and_harms_nobody(tmp_path: Path) -> None:
    with supervised(tmp_path) as shipper:
        before = shipper.wait_for(running)
        os.kill(before["workers"][1]["pid"], signal.SIGUSR1)
        shipper.wait_for_log("as SIGUSR1 asked for")
        assert shipper.line_with("as SIGUSR1 asked for")["context"]["worker"] == 1
        shipper.send(signal.SIGUSR1)
        shipper.wait_for(lambda _: shipper.log().count("as SIGUSR1 asked for") == 3)
        lines = [line for line in map(json.loads, shipper.log().splitlines()) if "stacks" in line["context"]]
        assert sorted(line["context"]["worker"] for line in lines) == [0, 1, 1]
        assert all("in turn" in line["context"]["stacks"] for line in lines)
        assert [worker["restarts"] for worker in shipper.status()["workers"]] == [0, 0]


def test_a_supervisor_out_of_descriptors_goes_on_and_starts_its_worker_when_it_has_some(tmp_path: Path) -> None:
    reload = tmp_path / "config.json"
    reload.write_text(json.dumps(settings(tmp_path)))
    with supervised(tmp_path, reload=str(reload)) as shipper:
        before = shipper.wait_for(running)
        psutil.Process(shipper.process.pid).rlimit(psutil.RLIMIT_NOFILE, (3, 1024))
        os.kill(before["workers"][0]["pid"], signal.SIGKILL)
        shipper.wait_for_log("worker could not be started")
        shipper.send(signal.SIGHUP)
        shipper.wait_for_log("SIGHUP: the config is kept as it was: [Errno 24]")
        psutil.Process(shipper.process.pid).rlimit(psutil.RLIMIT_NOFILE, (1024, 1024))
        after = shipper.wait_for(lambda status: status["workers"][0]["restarts"] == 1 and running(status))
        assert after["workers"][1]["pid"] == before["workers"][1]["pid"]


def test_a_worker_that_never_gets_going_is_killed_and_restarted(tmp_path: Path) -> None:
    kafka = {"does": "never starts", "worker": 1, "lives": 1}
    with supervised(tmp_path, kafka=kafka, patience={"start_s": 4.0}) as shipper:
        shipper.wait_for(lambda status: status["state"] == "starting")
        shipper.wait_for(lambda status: status["workers"][1]["restarts"] == 1 and running(status))
        assert "it did not get going" in shipper.log()


def test_a_silent_stall_is_restarted(tmp_path: Path) -> None:
    kafka = {"does": "stall", "worker": 1, "lives": 1}
    with supervised(tmp_path, kafka=kafka, patience={"progress_s": 1.5}) as shipper:
        shipper.wait_for(lambda status: status["workers"] and status["workers"][1]["restarts"] == 1 and running(status))
        assert "in turn" in shipper.line_with("no progress for")["context"]["stacks"]


def test_loki_down_is_degraded_and_unready_but_restarts_nobody(tmp_path: Path) -> None:
    with supervised(tmp_path, kafka={"does": "loki down"}, patience={"progress_s": 0.5}) as shipper:
        status = shipper.wait_for(lambda status: status["state"] == "degraded" and status["loki"]["since"])
        assert status["loki"]["state"] == "retrying"
        shipper.wait_for(lambda status: all(worker["state"] == "running" for worker in status["workers"]))
        with pytest.raises(HTTPError) as refused:
            shipper.get("/readyz")
        assert refused.value.code == 503
        assert "connection refused" in json.load(refused.value)["reasons"][0]
        assert shipper.get("/healthz") == {"alive": True}
        samples = len(shipper.get("/history")["t"])
        shipper.wait_for(lambda _: len(shipper.get("/history")["t"]) > samples + 2)
        assert [worker["restarts"] for worker in shipper.status()["workers"]] == [0, 0]


def test_sighup_takes_a_good_config_worker_by_worker(tmp_path: Path) -> None:
    changed = settings(tmp_path)
    changed["labels"] = {"static": {"env": "changed"}}
    reload = tmp_path / "config.json"
    reload.write_text(json.dumps(changed))
    with supervised(tmp_path, reload=str(reload)) as shipper:
        before = shipper.wait_for(running)
        shipper.send(signal.SIGHUP)

        def replaced(status: dict[str, list[dict[str, int | str]]]) -> bool:
            assert any(worker["state"] == "running" for worker in status["workers"])
            old = {worker["pid"] for worker in before["workers"]}
            return not old & {worker["pid"] for worker in status["workers"] if worker["state"] == "running"}

        after = shipper.wait_for(lambda status: replaced(status) and status["state"] == "running")
        assert after["totals"]["delivered"] > before["totals"]["delivered"]
        assert [worker["restarts"] for worker in after["workers"]] == [0, 0]


def test_sighup_with_another_number_of_workers_stops_all_before_it_starts_any(tmp_path: Path) -> None:
    reload = tmp_path / "config.json"
    reload.write_text(json.dumps(settings(tmp_path, workers=3, tag="of three")))
    with supervised(tmp_path, reload=str(reload)) as shipper:
        shipper.wait_for(running)
        shipper.send(signal.SIGHUP)
        after = shipper.wait_for(lambda status: len(status["workers"]) == 3 and running(status))
        assert {(p["partition"], p["worker"]) for p in after["partitions"]} == {(0, 0), (1, 1), (2, 2), (3, 0)}
        assert shipper.log().count("of three") == 3


def test_sighup_with_a_bad_config_or_kafka_away_changes_nothing(tmp_path: Path) -> None:
    reload = tmp_path / "config.json"
    reload.write_text('{"workers": {"cuont": 1}}')
    with supervised(tmp_path, reload=str(reload)) as shipper:
        before = shipper.wait_for(running)
        shipper.send(signal.SIGHUP)
        shipper.wait_for_log("cuont")
        reload.write_text(json.dumps(settings(tmp_path, survey="unreachable")))
        shipper.send(signal.SIGHUP)
        shipper.wait_for_log("no Kafka broker can be reached")
        after = shipper.status()
        assert [worker["pid"] for worker in after["workers"]] == [worker["pid"] for worker in before["workers"]]
        shipper.send(signal.SIGTERM)
        assert shipper.exit_code() == 0


def test_kafka_away_at_the_start_is_one_sentence_and_3(tmp_path: Path) -> None:
    with supervised(tmp_path, kafka={"survey": "unreachable"}) as shipper:
        assert shipper.exit_code() == 3
        assert shipper.log() == "no Kafka broker can be reached at nowhere:9092\n"


def test_an_address_in_use_is_one_sentence_and_3(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = settings(tmp_path)
        options["status"]["listen"] = f"127.0.0.1:{taken.getsockname()[1]}"
        with supervised(tmp_path, settings=options) as shipper:
            assert shipper.exit_code() == 3
            assert "status.listen" in shipper.log()
            assert len(shipper.log().splitlines()) == 1


def test_never_more_workers_than_partitions_and_polars_threads_are_bounded(tmp_path: Path) -> None:
    with supervised(tmp_path, kafka={"workers": 8, "partitions": 3}) as shipper:
        status = shipper.wait_for(running)
        assert len(status["workers"]) == 3
        assert shipper.log().count('"threads":"1"') == 3


def test_the_supervisor_loads_neither_polars_nor_the_kafka_client() -> None:
    program = "import sys, shipper.process.supervisor; print({'polars', 'confluent_kafka'} & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    assert found.stdout == "set()\n"
