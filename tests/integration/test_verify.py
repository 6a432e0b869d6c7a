"""`shipper verify` on real Kafka and real Loki: what is lost, doubled or buried is told by its coordinates."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from confluent_kafka import Consumer, Producer, TopicPartition

from loki_proto import Entry, Stream, encode_push
from shipper.devstack.kafka import KafkaServer, TopicFactory
from shipper.devstack.loki import LokiServer
from shipper.devstack.standin import LokiStandIn
from shipping import Shipping, Written, write

PARTITIONS = 3
RECORDS = 600
LABELS = {"service": "a", "level": "info"}


@pytest.fixture(params=["stand-in", "loki"])
def loki_url(request: pytest.FixtureRequest, server_dir: Any) -> Iterator[str]:  # noqa: ANN401 - a fixture's function
    if request.param == "loki":
        server: LokiServer = request.getfixturevalue("loki")
        yield server.url
        return
    with LokiStandIn(server_dir("stand-in")) as standin:
        yield standin.url


@pytest.fixture
def shipping(kafka: KafkaServer, loki_url: str, topic: TopicFactory, tmp_path: Path) -> Shipping:
    """A topic whose records are shipped, all of them; some are dead letters, some are filtered."""
    made = Shipping(
        tmp_path,
        bootstrap=kafka.bootstrap,
        loki_url=loki_url,
        topic=topic(PARTITIONS),
        dead_letters=topic(1),
        sections="[loki.limits]\nline_bytes_max = 1000\n",
    )
    now_ms = time.time_ns() // 10**6 - 60_000
    records = [Written(line(number, now_ms + number)) for number in range(RECORDS)]
    records += [Written(line(number, now_ms, b" " * 1_000)) for number in range(5)]
    records += [Written(None), Written(b"no JSON")]
    write(made.bootstrap, made.topic, records)
    made.run_until_caught_up()
    return made


def line(number: int, at_ms: int, filling: bytes = b"") -> bytes:
    return b'{"timestamp":%d,"service":"a","level":"info","userId":"u%d","message":"%d%s"}' % (
        at_ms,
        number,
        number,
        filling,
    )


def push(shipping: Shipping, labels: dict[str, str], *entries: Entry) -> None:
    """Push entries past the shipper."""
    pairs = sorted({**labels, "test": shipping.label}.items())
    stream = Stream("{" + ", ".join(f'{name}="{value}"' for name, value in pairs) + "}", entries)
    answer = requests.post(
        f"{shipping.loki_url}/loki/api/v1/push",
        data=encode_push([stream]),
        headers={"Content-Type": "application/x-protobuf"},
        timeout=30,
    )
    assert answer.status_code == 204, answer.text


def write_and_pass_over(shipping: Shipping, *values: bytes) -> set[tuple[int, int]]:
    """Write records and commit them without shipping them, as a broken shipper would; return where they are."""
    places: set[tuple[int, int]] = set()
    producer = Producer({"bootstrap.servers": shipping.bootstrap})
    for number, value in enumerate(values):
        producer.produce(
            shipping.topic,
            value,
            partition=number % PARTITIONS,
            on_delivery=lambda _, record: places.add((int(record.partition() or 0), int(record.offset() or 0))),
        )
    assert producer.flush(60) == 0
    consumer = Consumer({"bootstrap.servers": shipping.bootstrap, "group.id": shipping.label})
    ends = [TopicPartition(shipping.topic, partition, offset + 1) for partition, offset in sorted(places)]
    consumer.commit(offsets=ends, asynchronous=False)
    consumer.close()
    return places


def test_what_is_lost_and_what_is_too_much_is_told_by_its_coordinates(shipping: Shipping) -> None:
    assert shipping.judge() == Counter(shipped=RECORDS + 1, dead_lettered=5, filtered=1)

    # One record in each partition that nobody ships, though it counts as shipped, and one that has no letter.
    now_ms = time.time_ns() // 10**6
    values = [line(n, now_ms) for n in range(PARTITIONS)] + [line(9, now_ms, b" " * 1_000)]
    lost = write_and_pass_over(shipping, *values)
    # A double with another timestamp, one with other metadata, and an entry of nobody's.
    shifted = Entry(now_ms * 10**6 - 999_999, line(5, 5).decode(), (("user_id", "u5"),))
    other_metadata = Entry(now_ms * 10**6 - 777_777, line(6, 6).decode(), (("user_id", "u7"),))
    push(shipping, LABELS, shifted, other_metadata)
    push(shipping, {"service": "b", "level": "warn"}, Entry(now_ms * 10**6, "nobody's"))

    found = shipping.verify(code=1)
    assert {(one["partition"], one["offset"]) for one in found["missing"]} == lost
    reasons = Counter(one["reason"] for one in found["missing"])
    assert reasons == Counter({"not in Loki": PARTITIONS, "no dead letter (line_too_long)": 1})
    assert {one["line"][:190] for one in found["missing"]} == {value.decode()[:190] for value in values}
    assert found["totals"]["missing"] == PARTITIONS + 1
    assert found["totals"]["found"] == RECORDS + 1
    told = {(one["line"], one["labels"]["service"]) for one in found["unexpected"]}
    assert told == {(shifted.line, "a"), (other_metadata.line, "a"), ("nobody's", "b")}
    assert found["totals"]["unexpected"] == 3

    # A range in which nothing of this lies is proved still; and only that range is judged.
    at, first = min(lost)
    before = shipping.verify("--partition", str(at), "--from-offset", "0", "--to-offset", str(first))
    assert before["totals"]["records"] == first
    since = shipping.verify("--since", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_ms / 1000 - 3600)), code=1)
    assert since["totals"]["missing"] == PARTITIONS + 1


def test_the_table_says_the_same_and_a_group_without_commits_is_said(
    kafka: KafkaServer, loki: LokiServer, topic: TopicFactory, tmp_path: Path
) -> None:
    shipping = Shipping(
        tmp_path, bootstrap=kafka.bootstrap, loki_url=loki.url, topic=topic(PARTITIONS), dead_letters=topic(1)
    )

    def verify() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "shipper", "verify", "--config", str(shipping.config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    write(shipping.bootstrap, shipping.topic, [Written(line(1, time.time_ns() // 10**6))] * 3)
    unshipped = verify()
    assert (unshipped.returncode, unshipped.stdout) == (3, "")
    assert "has committed nothing" in unshipped.stderr
    shipping.run_until_caught_up()
    proved = verify()
    assert (proved.returncode, proved.stderr) == (0, ""), proved.stderr
    assert "✓ Nothing is missing of 3 records: 3 in Loki" in proved.stdout
    write_and_pass_over(shipping, line(2, time.time_ns() // 10**6))
    lost = verify()
    assert lost.returncode == 1
    assert f"✗ missing     {shipping.topic}/0/" in lost.stdout
    assert "✗ 1 of 4 records are missing" in lost.stdout
