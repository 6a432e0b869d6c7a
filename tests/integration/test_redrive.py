"""From letters to Loki: what was refused is put back once the cause is mended, and all of it arrives."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from confluent_kafka import Producer

from dead_letters import listed
from shipper import config
from shipper.devstack.generate import generate
from shipper.devstack.kafka import KafkaServer, TopicFactory
from shipper.devstack.loki import LokiServer
from shipping import WAIT_S, Shipping, Written, write

LINE_BYTES_MAX = 4_000


def long_line(row: int) -> bytes:
    return b'{"service":"api-gateway","level":"warn","row":%d,"message":"%s"}' % (row, b"long " * 1_000)


def dlq(shipping: Shipping, *arguments: str) -> str:
    """Run `shipper dlq`, and return what it said."""
    command = [sys.executable, "-m", "shipper", "dlq", *arguments, "--config", str(shipping.config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def abandon(shipping: Shipping, values: Sequence[bytes]) -> None:
    """Write to the log topic what a redrive writes that is killed before it commits; the next one takes it back."""
    name = f"shipper-redrive-{shipping.dead_letters}"
    killed = Producer({"bootstrap.servers": shipping.bootstrap, "transactional.id": name, "log_level": 0})
    killed.init_transactions(WAIT_S)
    killed.begin_transaction()
    for value in values:
        killed.produce(shipping.topic, value)
    assert killed.flush(WAIT_S) == 0


@pytest.mark.slow
def test_letters_that_are_put_back_with_the_limit_raised_are_in_loki_once_each(
    kafka: KafkaServer, loki: LokiServer, topic: TopicFactory, tmp_path: Path
) -> None:
    shipping = Shipping(
        tmp_path,
        bootstrap=kafka.bootstrap,
        loki_url=loki.url,
        topic=topic(3),
        dead_letters=topic(2),
        sections=f"[loki.limits]\nline_bytes_max = {LINE_BYTES_MAX}\n",
    )
    now_ms = time.time_ns() // 1_000_000
    chunks = generate(3_000, seed=9, first_ms=now_ms - 60_000, last_ms=now_ms)
    records = [Written(value, key) for chunk in chunks for key, value in zip(chunk.keys, chunk.values, strict=True)]
    longs = [Written(long_line(row), b"key-%d" % row) for row in range(40)]
    write(kafka.bootstrap, shipping.topic, [*records[:1_500], *longs, *records[1_500:]])
    shipping.run_until_caught_up()
    assert shipping.judge() == Counter(shipped=3_000, dead_lettered=40)

    shipping.config.write_text(shipping.config.read_text().replace(str(LINE_BYTES_MAX), "262144"))
    shipping.settings = config.load(shipping.config, env={})
    abandon(shipping, [long_line(row) for row in range(5)])
    said = dlq(shipping, "redrive", "--reason", "line_too_long", "--yes")
    shipping.run_until_caught_up()

    assert f"40 records put back: 40 into {shipping.topic}, 0 skipped (put back before), 0 failed" in said
    assert listed(shipping.settings) == []
    assert shipping.judge() == Counter(shipped=3_040, dead_lettered=40, redriven=40)
