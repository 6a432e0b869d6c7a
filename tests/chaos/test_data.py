"""The fault table, row "data": whatever bytes records hold, each becomes what the oracle says, and its neighbours too.

Seen red on purpose, in the test that is named for it: `decode` passing over `\xff` in fields that nobody reads; times
of Kafka's own beyond 2262 taken as they come; an empty `label_values.demote_matching`; a label over its budget unsaid.
"""

import json
import random
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import Producer

from hostile import HOSTILE
from hostile_fields import LEVELS, TEXTS, TIMESTAMPS
from judging import judge
from messages import StoredMessage
from oracle import Outcome, acceptable
from shipper import config
from shipper.devstack.generate import generate
from shipper.devstack.kafka import KafkaServer, TopicFactory
from shipper.devstack.loki import LokiServer
from shipping import Shipping, Written, each_record, write

pytestmark = [pytest.mark.slow, pytest.mark.loki]

NOW = datetime.now(UTC)
_THEN, _LATELY = b"2025-10-09T08:53:19.500Z", f"{NOW - timedelta(minutes=5):%Y-%m-%dT%H:%M:%S.500Z}".encode()
_STREAMS_MAX = 40

MakeShipping = Callable[..., Shipping]


@pytest.fixture
def shipping_to(kafka: KafkaServer, topic: TopicFactory, tmp_path: Path) -> MakeShipping:
    """Make a setting: topics of its own, their records kept whatever their age."""

    def make(loki: LokiServer, sections: str = "") -> Shipping:
        kept = {"retention.ms": "-1", "message.timestamp.after.max.ms": str(2**63 - 1)}
        return Shipping(
            tmp_path,
            bootstrap=kafka.bootstrap,
            loki_url=loki.url,
            topic=topic(3, kept),
            dead_letters=topic(1, {**kept, "max.message.bytes": "2097152"}),
            sections=sections,
        )

    return make


def hostile_values() -> list[bytes | None]:
    """All that the engine's tests know to be hostile, its times moved to now where they are not what it is about."""
    values: list[bytes | None] = [one.value and one.value.replace(_THEN, _LATELY) for one in HOSTILE.values()]
    values += [f'{{"timestamp":{text},"service":"auth-service"}}'.encode() for text in TIMESTAMPS]
    values += [f'{{"level":{text}}}'.encode() for text in LEVELS]
    values += [f'{{"service":{text},"userId":{text}}}'.encode() for text in TEXTS]
    return values


def mixed(share: float, seed: int) -> Iterator[Written]:
    """Every hostile value once, in random order, as this share of all records; the others are as they should be."""
    random_ = random.Random(seed)  # noqa: S311 - not for secrets
    values = hostile_values()
    random_.shuffle(values)
    good = int(len(values) / share) - len(values)
    now_ms = int(NOW.timestamp() * 1_000)
    chunks = generate(good, seed=seed, first_ms=now_ms - 300_000, last_ms=now_ms) if good else iter(())
    every = good / len(values)
    for row, record in enumerate(
        Written(value, key) for chunk in chunks for key, value in zip(chunk.keys, chunk.values, strict=True)
    ):
        while values and len(values) > (good - row) / every:
            yield Written(values.pop())
        yield record
    yield from map(Written, values)


@pytest.mark.parametrize("percent", [1, 50, 100])
def test_hostile_bytes_become_what_the_oracle_says_and_so_do_their_neighbours(
    percent: int, loki: LokiServer, shipping_to: MakeShipping
) -> None:
    shipping = shipping_to(loki)
    write(shipping.bootstrap, shipping.topic, mixed(percent / 100, seed=percent))
    shipping.run_until_caught_up()
    judged = shipping.judge()
    assert judged.total() == int(len(hostile_values()) / (percent / 100))
    assert judged["filtered"] == 2, "the tombstone, and the empty one"
    assert judged["dead_lettered"] > 20, "times that Loki would not take"


CLOCKS = {
    # The time, and what becomes of it: the reason of its letter, or None where Loki takes it.
    "1970-01-01T00:00:00.000Z": "too_old",
    "1970-01-01T00:00:00.001Z": "too_old",
    "2001-09-09T01:46:40Z": "too_old",
    f"{NOW - timedelta(days=8):%Y-%m-%dT%H:%M:%S.123Z}": "too_old",
    f"{NOW - timedelta(minutes=20):%Y-%m-%dT%H:%M:%S.123Z}": None,
    f"{NOW + timedelta(minutes=5):%Y-%m-%dT%H:%M:%S.123Z}": None,
    f"{NOW + timedelta(hours=2):%Y-%m-%dT%H:%M:%S.123Z}": "too_new",
    f"{NOW + timedelta(days=365):%Y-%m-%dT%H:%M:%S.123Z}": "too_new",
    "2262-04-11T23:47:15.999Z": "too_new",
    "2262-04-12T00:00:00Z": None,  # no time that can be said in 64 bits of nanoseconds: Kafka's own counts
    "9999-12-31T23:59:59Z": None,
}
KAFKA_CLOCKS_MS = {
    1: "too_old",
    int((NOW - timedelta(days=30)).timestamp() * 1_000): "too_old",
    int((NOW + timedelta(days=365)).timestamp() * 1_000): "too_new",
    9_223_372_035_999: "too_new",
    253_402_300_799_000: "too_new",
}


def test_clocks_far_off_make_the_right_letters_and_harm_no_neighbour(
    loki: LokiServer, shipping_to: MakeShipping
) -> None:
    shipping = shipping_to(loki)
    producer = Producer({"bootstrap.servers": shipping.bootstrap, "linger.ms": 5})
    for number in range(300):
        for clock in CLOCKS:
            value = json.dumps({"timestamp": clock, "service": "clock-service", "message": f"{number}"})
            producer.produce(shipping.topic, value)
            producer.produce(shipping.topic, json.dumps({"service": "good-service", "message": f"{number} {clock}"}))
        producer.poll(0)
    for clock_ms in KAFKA_CLOCKS_MS:
        producer.produce(shipping.topic, b'{"service":"clock-service"}', timestamp=clock_ms)
    assert producer.flush(60) == 0

    shipping.run_until_caught_up()

    judged = shipping.judge()
    letters = Counter(reason for _, _, reason in shipping.letters())
    expected = Counter({reason: 300 * number for reason, number in Counter(filter(None, CLOCKS.values())).items()})
    assert letters == expected + Counter(KAFKA_CLOCKS_MS.values())
    assert judged["shipped"] == 300 * (len(CLOCKS) + sum(reason is None for reason in CLOCKS.values()))


@pytest.fixture
def narrow_loki(server_dir: Callable[[str], Path]) -> Iterator[LokiServer]:
    """A Loki that takes few streams."""
    with LokiServer(server_dir("narrow-loki"), limits={"max_global_streams_per_user": _STREAMS_MAX}) as server:
        yield server


def test_ids_in_a_label_make_no_streams_and_stop_nothing(narrow_loki: LokiServer, shipping_to: MakeShipping) -> None:
    shipping = shipping_to(narrow_loki)
    random_ = random.Random(1)  # noqa: S311 - not for secrets
    ids = (
        lambda: str(uuid.UUID(int=random_.getrandbits(128))),
        lambda: f"{random_.getrandbits(128):032x}",
        lambda: f"order-{random_.randrange(10**8, 10**9)}",
        lambda: f"/api/users/{random_.randrange(10**6, 10**7)}/rooms",
    )
    good = ("auth-service", "chat-service", "api-v2", "10.0.0.17:8080")
    values = (
        {"service": random_.choice(ids)() if random_.random() < 0.5 else random_.choice(good), "level": "info", "n": n}
        for n in range(20_000)
    )
    write(shipping.bootstrap, shipping.topic, (Written(json.dumps(value).encode()) for value in values))

    shipping.run_until_caught_up()

    shipping.judge()
    services = Counter(entry.labels["service"] for entry in shipping.stored())
    assert set(services) == {*good, "other"}
    assert services["other"] > 5_000


def test_a_label_that_explodes_is_said_and_a_list_of_its_values_ends_it(
    loki: LokiServer, shipping_to: MakeShipping
) -> None:
    shipping = shipping_to(loki)
    before = shipping.settings
    with shipping.run() as running:

        def ship_names(first: int) -> None:
            values = (f'{{"service":"user-{n % 150}-name","n":{n}}}' for n in range(first, first + 3_000))
            write(shipping.bootstrap, shipping.topic, (Written(value.encode()) for value in values))
            running.wait_for(lambda status: status["totals"]["delivered"] == first + 3_000)
            running.wait_for(lambda status: all(partition["lag_records"] == 0 for partition in status["partitions"]))

        ship_names(0)
        said = [line for line in running.lines() if "label_values.budget" in line["message"]]
        assert said, running.log()
        assert (said[0]["level"], said[0]["context"]["label"]) == ("error", "service")
        assert said[0]["context"]["examples"]

        shipping.config.write_text(
            f'{shipping.config.read_text()}\n[label_values.allowed]\nservice = ["user-7-name", "user-8-name"]'
        )
        after = config.load(shipping.config, env={})
        workers = set(running.workers())
        running.process.send_signal(signal.SIGHUP)
        running.until(lambda: True if workers.isdisjoint(running.workers()) else None)
        ship_names(3_000)

    def expect(record: StoredMessage) -> Outcome:
        number = json.loads(record.value() or b"")["n"]
        return acceptable(record, before if number < 3_000 else after, now_ns=time.time_ns())[0]

    verdict = judge(
        lambda: each_record(shipping.bootstrap, shipping.topic), expect, shipping.stored, shipping.letters()
    )
    assert verdict.is_clean, verdict
    services = Counter(entry.labels["service"] for entry in shipping.stored())
    assert services["other"] == 148 * 20
    assert services["user-7-name"] == 40
