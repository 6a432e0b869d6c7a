"""Kafka down, then back: its broker ends or is killed, a leader is lost, commits are refused, records are deleted.

Broken on purpose, and seen red: a topic made again goes on at the old offset; what retention deleted is not counted; a
refused commit is forgotten with the next batch.
"""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer
from confluent_kafka.cimpl import NewPartitions, NewTopic

from chaos.cluster import SETTINGS, admin, change, committed, flows, leaders, loaded, metric, reasons
from chaos.load import Load, healthy
from chaos.stage import PARTITIONS, make_shipping
from kafka_member import delete_records, make_again, produce
from messages import StoredMessage
from shipper.devstack.generate import generate
from shipper.devstack.kafka import KafkaServer
from shipper.devstack.loki import LokiServer
from shipping import WAIT_S, Running, read_topic

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.loki]

_GONE = re.compile(r"/(\d+): (\d+) records from offset (\d+) on were deleted")
LOOKS = 6


def values(number: int, seed: int) -> list[bytes | None]:
    now_ms = time.time_ns() // 1_000_000
    chunks = generate(number, seed=seed, first_ms=now_ms - 10_000, last_ms=now_ms, malformed=0.01)
    return [value for chunk in chunks for value in chunk.values]


@contextmanager
def stopped(running: Running) -> Iterator[None]:
    """Keep all workers from doing anything, for less time than the supervisor waits for a heartbeat."""
    workers = running.workers()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)


def test_a_broker_that_ends_or_is_killed_costs_nothing_and_a_worker_that_dies_meanwhile_comes_back(
    own_kafka: KafkaServer, loki: LokiServer, tmp_path: Path
) -> None:
    shipping = make_shipping(own_kafka, loki.url, tmp_path)
    with shipping.run() as running:
        with loaded(running):
            own_kafka.stop()
            running.wait_for(lambda status: status["state"] == "degraded")
            assert "no Kafka broker" in reasons(running)
            os.kill(running.workers()[0], signal.SIGKILL)  # its successor begins while there is no Kafka
            running.wait_for(lambda status: status["workers"][0]["restarts"] == 1)
            own_kafka.start()
            flows(running)
            own_kafka.kill()
            running.wait_for(lambda status: status["state"] == "degraded")
            own_kafka.start()
        shipping.judge()


def test_a_leader_that_is_lost_moves_its_partitions_and_costs_nothing(
    own_kafka: KafkaServer, loki: LokiServer, server_dir: Callable[[str], Path], tmp_path: Path
) -> None:
    shipping = make_shipping(own_kafka, loki.url, tmp_path)
    committed(shipping)  # the topic of committed offsets is made now, where it is not there: on the one broker
    with KafkaServer(server_dir("second-kafka"), settings=SETTINGS, joins=own_kafka) as second:
        replicated = f"{shipping.topic}-2"
        change(shipping, shipping.topic, replicated)
        shipping.topic = replicated
        client = admin(own_kafka.bootstrap)
        replicas = [[second.node_id, own_kafka.node_id], [own_kafka.node_id, second.node_id]] * (PARTITIONS // 2)
        new = NewTopic(replicated, num_partitions=PARTITIONS, replica_assignment=replicas)
        client.create_topics([new])[replicated].result(WAIT_S)
        with shipping.run() as running, loaded(running):
            assert set(leaders(shipping)) == {own_kafka.node_id, second.node_id}
            second.kill()
            running.until(lambda: set(leaders(shipping)) == {own_kafka.node_id} or None)
            flows(running)
            second.start()
        shipping.judge()


def test_refused_commits_are_an_alarm_until_they_are_taken_and_new_partitions_are_shipped(
    kafka: KafkaServer, loki: LokiServer, tmp_path: Path
) -> None:
    shipping = make_shipping(kafka, loki.url, tmp_path)
    with shipping.run() as running:
        with loaded(running):
            client = admin(kafka.bootstrap)
            client.create_partitions([NewPartitions(shipping.topic, PARTITIONS + 2)])[shipping.topic].result(WAIT_S)
            with foreign_member(shipping.bootstrap, shipping.label, shipping.dead_letters):
                running.until(lambda: "kafka.group_id of its own" in reasons(running) or None)
                before = committed(shipping)
                for _ in range(LOOKS):
                    flows(running, 100)
                    assert "kafka.group_id of its own" in reasons(running)
                    assert committed(shipping) == before
            running.until(lambda: not reasons(running) or None)
            for partition in (PARTITIONS, PARTITIONS + 1):
                produce(kafka.bootstrap, shipping.topic, values(200, seed=partition), partition=partition)
            running.wait_for(lambda status: len(status["partitions"]) == PARTITIONS + 2)
        shipping.judge()


@contextmanager
def foreign_member(bootstrap: str, group_id: str, topic: str) -> Iterator[None]:
    """Somebody else's consumer in the group: Kafka takes no commits but its members'."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group_id, "enable.auto.commit": False})
    with closing(consumer):
        consumer.subscribe([topic])
        deadline = time.monotonic() + WAIT_S
        while not consumer.assignment():
            assert time.monotonic() < deadline
            consumer.poll(0.1)
        yield


def test_what_retention_deleted_unread_is_said_and_counted_record_by_record(
    kafka: KafkaServer, loki: LokiServer, tmp_path: Path
) -> None:
    shipping = make_shipping(kafka, loki.url, tmp_path)
    with shipping.run() as running:
        with Load(kafka.bootstrap, shipping.topic, rate=1_000) as load:
            running.wait_for(lambda status: status["totals"]["delivered"] > 500)
            with stopped(running):
                enough = load.confirmed + 1_500
                running.until(lambda: load.confirmed > enough or None)
                before = {place(record): record for record in read_topic(kafka.bootstrap, shipping.topic)}
                for partition in {number for number, _ in before}:
                    end = max(offset for number, offset in before if number == partition) + 1
                    delete_records(kafka, shipping.topic, before=end - 20, partition=partition)
        healthy(running)
        said = [match for line in running.lines() if (match := _GONE.search(line["message"]))]
        lost = {
            (int(number), offset)
            for number, count, due in (match.groups() for match in said)
            for offset in range(int(due), int(due) + int(count))
        }
        assert 0 < len(lost) == metric(running, "shipper_records_lost_to_retention_total")
        assert all(line["level"] == "error" for line in running.lines() if _GONE.search(line["message"]))
    records = before | {place(record): record for record in read_topic(kafka.bootstrap, shipping.topic)}
    shipping.judge([record for at, record in records.items() if at not in lost])


def test_a_topic_deleted_and_made_again_is_shipped_from_its_start_and_said(
    kafka: KafkaServer, loki: LokiServer, tmp_path: Path
) -> None:
    """Two partitions are shorter than they were, which Kafka tells at the next fetch; two are longer already."""
    shipping = make_shipping(kafka, loki.url, tmp_path)
    for partition, count in enumerate((600, 600, 50, 50)):
        produce(kafka.bootstrap, shipping.topic, values(count, seed=partition), partition=partition)
    with shipping.run() as running:
        healthy(running)
        earlier = read_topic(kafka.bootstrap, shipping.topic)
        with stopped(running):
            make_again(kafka, shipping.topic, PARTITIONS)
            for partition, count in enumerate((50, 50, 600, 600)):
                produce(kafka.bootstrap, shipping.topic, values(count, seed=10 + partition), partition=partition)
        with Load(kafka.bootstrap, shipping.topic, rate=500):
            running.until(lambda: "was deleted and made again" in running.log() or None)
        healthy(running)
    shipping.judge(earlier + read_topic(kafka.bootstrap, shipping.topic))


def place(record: StoredMessage) -> tuple[int, int]:
    return record.partition(), record.offset()
