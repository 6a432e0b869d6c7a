"""Real workers between a real Kafka and a real Loki: killed, drained, stopped where they should, servers late."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Consumer, TopicPartition

from messages import StoredMessage
from shipper.devstack.generate import generate
from shipper.devstack.kafka import KafkaServer, TopicFactory
from shipper.devstack.loki import LokiServer
from shipper.devstack.server import free_port
from shipping import Running, Shipping, Written, read_topic, write

PARTITIONS = 4

pytestmark = pytest.mark.slow


def records(number: int, seed: int = 1) -> Iterator[Written]:
    now_ms = time.time_ns() // 1_000_000
    for chunk in generate(number, seed=seed, first_ms=now_ms - 60_000, last_ms=now_ms, malformed=0.01, poisonous=3):
        yield from map(Written, chunk.values, chunk.keys)


def committed(shipping: Shipping) -> dict[int, int]:
    """Ask Kafka for the group's offsets: partition → next offset, 0 where nothing was committed."""
    consumer = Consumer({"bootstrap.servers": shipping.bootstrap, "group.id": shipping.label})
    answer = consumer.committed([TopicPartition(shipping.topic, number) for number in range(PARTITIONS)], timeout=20)
    consumer.close()
    return {at.partition: max(at.offset, 0) for at in answer}


def ends(shipping: Shipping) -> dict[int, int]:
    """Ask Kafka where the partitions end."""
    consumer = Consumer({"bootstrap.servers": shipping.bootstrap, "group.id": "nobody"})
    marks = {
        n: consumer.get_watermark_offsets(TopicPartition(shipping.topic, n), timeout=20) for n in range(PARTITIONS)
    }
    consumer.close()
    return {number: high for number, (_, high) in marks.items()}


def all_settled(status: dict[str, Any]) -> bool:
    return caught_up(status) and all(p["high_watermark"] > 0 for p in status["partitions"])


def caught_up(status: dict[str, Any]) -> bool:
    """Whether nothing is left to ship, once something was; a partition may have been empty all the time."""
    partitions = status["partitions"]
    return (
        len(partitions) == PARTITIONS
        and all(p["lag_records"] == 0 for p in partitions)
        and any(p["high_watermark"] > 0 for p in partitions)
    )


@pytest.fixture
def shipping(kafka: KafkaServer, loki: LokiServer, topic: TopicFactory, tmp_path: Path) -> Shipping:
    return Shipping(
        tmp_path,
        bootstrap=kafka.bootstrap,
        loki_url=loki.url,
        topic=topic(PARTITIONS),
        dead_letters=topic(1, {"max.message.bytes": "2097152"}),
    )


def spread(written: Iterator[Written]) -> Iterator[Written]:
    """Give every partition records: without a key, a fast producer may put them all in two (it sticks to one)."""
    return (Written(record.value, key=f"{number % 64}".encode()) for number, record in enumerate(written))


def test_a_worker_that_is_killed_comes_back_and_nothing_is_lost_or_stored_twice(shipping: Shipping) -> None:
    write(shipping.bootstrap, shipping.topic, spread(records(120_000)))
    with shipping.run() as running:
        for kills in range(3):
            _wait_until_delivered(running, (kills + 1) * 10_000)
            os.kill(running.workers()[kills % 2], signal.SIGKILL)
        status = running.wait_for(all_settled)
        assert sum(worker["restarts"] for worker in status["workers"]) == 3
        assert status["state"] == "running"
        running.process.send_signal(signal.SIGTERM)
        assert running.exit_code() == 0

    assert shipping.judge()["shipped"] > 100_000
    assert committed(shipping) == ends(shipping)


@contextlib.contextmanager
def frozen(loki: LokiServer) -> Iterator[None]:
    """Keep Loki from answering, for less time than a push waits."""
    os.kill(loki.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(loki.pid, signal.SIGCONT)


def test_sigterm_drains_what_is_in_flight_and_commits_it(shipping: Shipping, loki: LokiServer) -> None:
    write(shipping.bootstrap, shipping.topic, spread(records(100_000)))
    with shipping.run() as running:
        _wait_until_delivered(running, 5_000)
        with frozen(loki):
            running.wait_for(lambda status: status["totals"]["in_flight"] > 10_000)
            running.process.send_signal(signal.SIGTERM)
            time.sleep(7)  # longer than a worker that gives up waits for its last pushes
        assert running.exit_code() == 0
        assert "given back" not in running.log()

    offsets = committed(shipping)
    assert 0 < sum(offsets.values()) < 100_000, "it must have been stopped in the middle for this to show anything"
    shipping.judge(_before(offsets, read_topic(shipping.bootstrap, shipping.topic)))

    shipping.run_until_caught_up()
    shipping.judge()


def test_until_caught_up_stops_exactly_where_kafka_ended_at_the_start(shipping: Shipping, loki: LokiServer) -> None:
    write(shipping.bootstrap, shipping.topic, spread(records(120_000)))
    targets = ends(shipping)
    with frozen(loki), shipping.run("--until-caught-up") as running:
        running.wait_for(lambda status: len(status["partitions"]) == PARTITIONS and status["totals"]["in_flight"])
        write(shipping.bootstrap, shipping.topic, spread(records(30_000, seed=2)))
        os.kill(loki.pid, signal.SIGCONT)
        assert running.exit_code() == 0, running.log()

    assert committed(shipping) == targets
    shipping.judge(_before(targets, read_topic(shipping.bootstrap, shipping.topic)))


def test_workers_leave_by_themselves_when_the_supervisor_is_killed(shipping: Shipping) -> None:
    write(shipping.bootstrap, shipping.topic, spread(records(50_000)))
    with shipping.run() as running:
        running.wait_for(lambda status: status["totals"]["delivered"] > 1_000)
        workers = running.workers()
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait()
        _, alive = psutil.wait_procs([psutil.Process(pid) for pid in workers if psutil.pid_exists(pid)], timeout=30)
        assert not alive

    shipping.run_until_caught_up()
    shipping.judge()


def test_loki_away_at_the_start_is_waited_for_and_seen_in_the_status(
    shipping: Shipping, server_dir: Callable[[str], Path]
) -> None:
    late = LokiServer(server_dir("late-loki"))
    shipping.config.write_text(shipping.config.read_text().replace(shipping.loki_url, late.url))
    shipping.loki_url = late.url
    write(shipping.bootstrap, shipping.topic, spread(records(30_000)))
    with shipping.run() as running:
        status = running.wait_for(lambda status: status["loki"]["state"] == "retrying")
        assert "refused" in status["loki"]["last_error"]
        assert sum(committed(shipping).values()) == 0
        with late:
            status = running.wait_for(all_settled)
            assert status["loki"]["state"] == "ok"
            shipping.judge()


def test_loki_killed_in_the_middle_loses_nothing_it_acknowledged(
    shipping: Shipping, server_dir: Callable[[str], Path]
) -> None:
    # Keyed by service: all records of a stream are in one partition, so two workers never write to the same stream
    # (docs/decisions/0008). Lanes see to it that one worker's pushes do not.
    with LokiServer(server_dir("killed-loki")) as own:
        shipping.config.write_text(shipping.config.read_text().replace(shipping.loki_url, own.url))
        shipping.loki_url = own.url
        write(shipping.bootstrap, shipping.topic, records(100_000))
        with shipping.run() as running:
            running.wait_for(lambda status: status["totals"]["delivered"] > 10_000)
            own.kill()
            own.start()
            running.wait_for(caught_up)
        shipping.judge()


def test_kafka_away_at_the_start_is_one_sentence_and_exit_code_3(shipping: Shipping) -> None:
    away = f"127.0.0.1:{free_port()}"
    shipping.config.write_text(shipping.config.read_text().replace(shipping.bootstrap, away))
    with shipping.run() as running:
        assert running.exit_code() == 3
    fatal = [line for line in running.log().splitlines() if away in line]
    assert fatal, running.log()
    assert "Traceback" not in running.log()


def test_memory_stays_bounded_while_loki_is_away(shipping: Shipping) -> None:
    shipping.config.write_text(
        shipping.config.read_text().replace(shipping.loki_url, f"http://127.0.0.1:{free_port()}")
    )
    write(shipping.bootstrap, shipping.topic, spread(records(400_000)))
    with shipping.run() as running:
        status = _wait_until_paused(running)
    assert all(worker["rss_bytes"] < 300e6 for worker in status["workers"]), status["workers"]
    assert status["totals"]["delivered"] == 0


def _wait_until_paused(running: Running) -> dict[str, Any]:
    return running.wait_for(lambda status: any(partition["paused"] for partition in status["partitions"]))


def _before(offsets: Mapping[int, int], stored: Sequence[StoredMessage]) -> list[StoredMessage]:
    return [record for record in stored if record.offset() < offsets[record.partition()]]


def _wait_until_delivered(running: Running, records: int) -> None:
    running.wait_for(lambda status: status["totals"]["delivered"] > records)
