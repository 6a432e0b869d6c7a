"""Delivery to a real Kafka: in order, never in the service's way, and counted."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reading import numbers, read, wait_for
from servicelog.core import Core
from servicelog.settings import load
from shipper.devstack.kafka import KafkaServer, make_topic

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def stopping_kafka(server_dir: Callable[[str], Path]) -> Iterator[KafkaServer]:
    """A Kafka that these tests stop and start."""
    with KafkaServer(server_dir("servicelog-kafka")) as server:
        yield server


def core(bootstrap: str, topic: str, **settings: object) -> Core:
    """The library as `configure` sets it up."""
    return Core(load({"service": "chat-service", "kafka": bootstrap, "topic": topic, **settings}))


def log(core: Core, n: int) -> float:
    """Log, and return how many seconds it took."""
    began_s = time.perf_counter()
    core.write("info", "m", {"n": n, "filler": "x" * 100})
    return time.perf_counter() - began_s


def slow(times: list[float]) -> float:
    """The 99th percentile."""
    return sorted(times)[len(times) * 99 // 100]


def is_accounted(core: Core) -> bool:
    """Whether every record that was logged is somewhere."""
    state = core.sink.metrics()
    there = state.sent + state.queued + state.spilled + sum(state.dropped.values())
    return state.logged + state.taken_over == there


def waiting(core: Core) -> int:
    state = core.sink.metrics()
    return state.queued + state.spilled


def test_records_arrive_in_order_and_are_counted(kafka: KafkaServer) -> None:
    topic = make_topic(kafka.bootstrap, 1)
    service = core(kafka.bootstrap, topic)
    for n in range(5_000):
        log(service, n)
    wait_for(lambda: not waiting(service), "all records are sent")
    state = service.sink.metrics()
    assert (state.logged, state.sent, state.queued_bytes, state.dropped) == (5_000, 5_000, 0, {})
    assert 0 < state.latency_ms["p50"] <= state.latency_ms["p99"] <= state.latency_ms["max"]
    log(service, 5_000)
    service.sink.close()
    assert numbers(read(kafka.bootstrap, topic)) == list(range(5_001))


def test_kafka_stopped_and_started_again(
    stopping_kafka: KafkaServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bootstrap = stopping_kafka.bootstrap
    policies: dict[str, dict[str, object]] = {
        "oldest": {"when_full": "oldest"},
        "newest": {"when_full": "newest"},
        "spill": {"when_full": "spill", "spill_folder": str(tmp_path / "spill")},
        "small": {"when_full": "spill", "spill_folder": str(tmp_path / "small"), "spill_bytes_max": 200_000},
    }
    topics = {name: make_topic(bootstrap, 1) for name in policies}
    services = {
        name: core(bootstrap, topics[name], queue_bytes_max=400_000, **settings) for name, settings in policies.items()
    }
    with_kafka = [log(service, n) for n in range(1_000) for service in services.values()]
    wait_for(lambda: not any(map(waiting, services.values())), "the first records are sent")
    stopping_kafka.stop()
    for service in services.values():
        log(service, 1_000)
    wait_for(lambda: all(one.sink.metrics().kafka_away for one in services.values()), "Kafka is away")
    without: list[float] = []
    for n in range(1_001, 5_000):
        without += [log(service, n) for service in services.values()]
        if n % 250 == 0:
            wait_for(lambda: services["spill"].sink.metrics().queued_bytes < 220_000, "the queue is on disk")
    stopping_kafka.start()
    wait_for(lambda: not any(map(waiting, services.values())), "nothing waits")
    for service in services.values():
        assert not service.sink.metrics().kafka_away
        log(service, 5_000)
        service.sink.close()

    came = {name: numbers(read(bootstrap, topic)) for name, topic in topics.items()}
    states = {name: service.sink.metrics() for name, service in services.items()}
    for name, one in came.items():
        assert is_accounted(services[name])
        assert one == sorted(set(one)), "in order, none twice"
        assert len(one) == states[name].sent
        assert one[0] == 0
        assert one[-1] == 5_000
    assert came["spill"] == list(range(5_001))
    assert states["spill"].spilled_total > 1_000
    assert states["small"].spilled_total > 0
    assert len(came["small"]) < 5_001, "there is no room for all"
    assert not list(tmp_path.glob("*/*")), "no file is left"
    assert {*range(1_001, 2_100)} < {*came["newest"]}
    assert {*range(3_900, 5_000)} < {*came["oldest"]}
    for name in ("oldest", "newest", "small"):
        assert states[name].dropped == {"queue_full": 5_001 - len(came[name])}
    said = capsys.readouterr().err
    assert said.count("Kafka is away") == said.count("Kafka is back") == 4
    assert '"n":1001,' in said
    # It is 0.02 ms; the bound is for a machine that does other things too. A call that waited for Kafka took seconds.
    assert slow(without) < 0.001 + 10 * slow(with_kafka)
