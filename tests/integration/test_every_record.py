"""200,000 records of every kind from a real Kafka into a real Loki, each found again or accounted for."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostile import HOSTILE
from shipper.devstack.generate import generate
from shipper.devstack.kafka import KafkaServer, TopicFactory
from shipper.devstack.loki import LokiServer
from shipping import CODECS, Shipping, Written, write

RECORDS = 200_000
PARTITIONS = 5


def everything(seed: int) -> Iterator[Written]:
    """Realistic records with, in between, what breaks log shippers."""
    random_ = random.Random(seed)  # noqa: S311 - not for secrets
    now_ms = time.time_ns() // 1_000_000
    hostile = [one.value for one in HOSTILE.values()]
    repeated = b'{"timestamp":"%s","service":"auth-service","level":"info","message":"same again"}' % (
        time.strftime("%Y-%m-%dT%H:%M:%S.500Z", time.gmtime()).encode()
    )
    for chunk in generate(RECORDS, seed=seed, first_ms=now_ms - 600_000, last_ms=now_ms, malformed=0.01, poisonous=12):
        for key, value in zip(chunk.keys, chunk.values, strict=True):
            yield Written(value, key)
            match random_.randrange(2_000):
                case 0:
                    yield from (Written(one, key) for one in (value, value, repeated, repeated, repeated))
                case 1:
                    yield Written(random_.choice(hostile), key)
                case 2:
                    yield Written(None, key)
                case 3:
                    text = "héllo wörld 日本語 🎉 " * random_.randrange(1, 9)
                    yield Written(f'{{"service":"chat-service","level":"INFO","message":"{text}"}}'.encode(), key)
                case 4:
                    headers: list[tuple[str, str | bytes | None]] = [("requestId", f"req-{random_.random()}".encode())]
                    yield Written(b'{"service":"user-service","level":30,"message":"by header"}', key, headers)
                case 5 if random_.random() < 0.3:
                    filling = random_.randbytes(100_000).hex().encode()
                    yield Written(b'{"service":"api-gateway","level":"warn","message":"%s"}' % filling, key)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_record_is_in_loki_once_or_dead_lettered_or_filtered(
    kafka: KafkaServer, loki: LokiServer, topic: TopicFactory, tmp_path: Path
) -> None:
    shipping = Shipping(
        tmp_path,
        bootstrap=kafka.bootstrap,
        loki_url=loki.url,
        topic=topic(PARTITIONS),
        dead_letters=topic(2, {"max.message.bytes": "2097152"}),
    )
    write(kafka.bootstrap, shipping.topic, everything(seed=7), CODECS)

    shipping.run_until_caught_up()

    judged = shipping.judge()
    assert judged["shipped"] > RECORDS
    assert judged["dead_lettered"] >= 12
    assert judged["filtered"] > 50


@pytest.mark.slow
def test_filters_redaction_and_the_dead_letter_policy_hold_on_the_real_thing(
    kafka: KafkaServer, loki: LokiServer, topic: TopicFactory, tmp_path: Path
) -> None:
    shipping = Shipping(
        tmp_path,
        bootstrap=kafka.bootstrap,
        loki_url=loki.url,
        topic=topic(3),
        dead_letters=topic(1),
        sections="""
            [malformed]
            policy = "dead_letter"
            [[filters]]
            name = "chatter"
            below_level = "info"
            action = "sample"
            share = 0.2
            [[filters]]
            name = "health"
            field = "route"
            matches = "^/health"
            [[redact]]
            name = "user"
            pattern = "usr_[0-9a-f]+"
            replacement = "usr_*"
        """,
    )
    now_ms = time.time_ns() // 1_000_000
    chunks = list(generate(20_000, seed=3, first_ms=now_ms - 60_000, last_ms=now_ms, malformed=0.01))
    records = (Written(value, key) for chunk in chunks for key, value in zip(chunk.keys, chunk.values, strict=True))
    write(kafka.bootstrap, shipping.topic, records)

    shipping.run_until_caught_up()

    judged = shipping.judge()
    assert judged["dead_lettered"] == sum(chunk.truth.malformed.total() for chunk in chunks)
    assert judged["filtered"] > 1_000
    assert judged["shipped"] > 10_000


@pytest.mark.slow
def test_a_group_ships_the_same_as_pinned_workers(
    kafka: KafkaServer, loki: LokiServer, topic: TopicFactory, tmp_path: Path
) -> None:
    shipping = Shipping(tmp_path, bootstrap=kafka.bootstrap, loki_url=loki.url, topic=topic(4), dead_letters=topic(1))
    shipping.config.write_text(shipping.config.read_text().replace("[kafka]", '[kafka]\nassignment = "group"'))
    now_ms = time.time_ns() // 1_000_000
    chunks = generate(20_000, seed=4, first_ms=now_ms - 60_000, last_ms=now_ms, malformed=0.01)
    records = (Written(value, key) for chunk in chunks for key, value in zip(chunk.keys, chunk.values, strict=True))
    write(kafka.bootstrap, shipping.topic, records)

    shipping.run_until_caught_up()

    assert shipping.judge()["shipped"] == 20_000
