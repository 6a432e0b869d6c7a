"""Generated records are what they are said to be: checked by the oracle, and by reading them back from a broker."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence

import pytest
from confluent_kafka import Consumer, TopicPartition

from hostile import NOW_MS, NOW_NS
from messages import StoredMessage
from oracle import DeadLettered, Shipped, expect
from shipper.devstack.broker import EmbeddedBroker
from shipper.devstack.generate import Chunk, Truth, generate
from shipper.devstack.kafka import make_topic
from shipper.devstack.produce import produce_chunks
from shipper.errors import KafkaUnavailableError
from shipper.records import Reason
from shipper.settings import Kafka, Settings

RECORDS = 12_345
SERVICES = {"api-gateway", "auth-service", "user-service", "chat-service", "notification-service"}


def make(records: int = RECORDS, *, seed: int = 7, malformed: float = 0.0, poisonous: int = 0) -> list[Chunk]:
    first_ms = NOW_MS - 600_000
    return list(
        generate(records, seed=seed, first_ms=first_ms, last_ms=NOW_MS, malformed=malformed, poisonous=poisonous)
    )


def truth_of(chunks: Sequence[Chunk]) -> Truth:
    return sum((chunk.truth for chunk in chunks), Truth())


def values_of(chunks: Sequence[Chunk]) -> list[bytes]:
    return [value for chunk in chunks for value in chunk.values]


def test_the_same_seed_makes_the_same_records_and_another_makes_others() -> None:
    def records(seed: int) -> list[bytes]:
        return values_of(make(seed=seed, malformed=0.01, poisonous=3))

    assert records(7) == records(7)
    assert records(7) != records(8)


@pytest.mark.parametrize("records", [0, 1, 2, 9_999, 10_000, 10_001])
def test_there_are_exactly_as_many_records_as_were_asked_for(records: int) -> None:
    chunks = make(records, malformed=0.02, poisonous=min(records, 2))
    assert len(values_of(chunks)) == sum(len(chunk.keys) for chunk in chunks) == records
    assert truth_of(chunks).records == records


def test_the_truth_is_what_the_oracle_says() -> None:
    chunks = make(malformed=0.02, poisonous=9)
    truth, settings = Truth(), Settings()
    for offset, value in enumerate(values_of(chunks)):
        message = StoredMessage(value, ("logs", 0, offset), timestamp_ms=NOW_MS)
        outcome = expect(message, settings, now_ns=NOW_NS)
        if isinstance(outcome, Shipped):
            truth.entries[outcome.labels["service"], outcome.labels["level"]] += 1
            if "shipper_error" in outcome.metadata:
                truth.malformed[Reason(outcome.metadata["shipper_error"])] += 1
        elif isinstance(outcome, DeadLettered):
            truth.dead_letters[outcome.reason] += 1
    assert truth == truth_of(chunks)
    assert truth.dead_letters == {Reason.TOO_OLD: 3, Reason.TOO_NEW: 3, Reason.LINE_TOO_LONG: 3}
    assert truth.malformed.keys() == {Reason.NOT_JSON, Reason.NOT_OBJECT, Reason.INVALID_UTF8}
    assert 0.015 < truth.malformed.total() / RECORDS < 0.025


def test_records_look_like_those_of_the_five_services() -> None:
    chunks = make()
    records = [json.loads(value) for value in values_of(chunks)]
    keys = [key.decode() for chunk in chunks for key in chunk.keys]
    assert keys == [record["service"] for record in records]
    assert set(keys) == SERVICES
    sizes = sorted(map(len, values_of(chunks)))
    assert 280 < sizes[RECORDS // 2] < 380
    assert any("stack" in record and "\n    at " in record["stack"] for record in records)
    assert any(not record["message"].isascii() for record in records)
    assert {"info", "debug", "verbose", "warn", "warning", "error"} <= {record["level"] for record in records}
    for record in records:
        assert {"timestamp", "level", "service", "message", "context", "requestId"} <= record.keys()
        assert "<" not in record["message"].replace("<b>", "").replace("</b>", "")


def test_a_request_is_seen_in_several_services() -> None:
    services: dict[str, set[str]] = defaultdict(set)
    for value in values_of(make()):
        record = json.loads(value)
        services[record["requestId"]].add(record["service"])
    assert Counter(map(len, services.values())).keys() >= {1, 2, 3, 4}


def test_times_run_forward_from_first_to_last() -> None:
    times = [json.loads(value)["timestamp"] for value in values_of(make())]
    assert times[0] >= "2025-10-09T08:43:20.000Z"
    assert times[-1] <= "2025-10-09T08:53:20.000Z"
    assert times[-1] >= "2025-10-09T08:53:10.000Z"
    # Chunks follow one another, and inside of them records are sorted: nothing is older than the chunk before by much.
    assert times[:10_000] == sorted(times[:10_000])
    assert times[10_000:] == sorted(times[10_000:])


def test_every_record_is_written_under_the_key_of_its_service(embedded_broker: EmbeddedBroker) -> None:
    chunks = make(3_000)
    kafka = Kafka(bootstrap_servers=[embedded_broker.bootstrap], topics=[make_topic(embedded_broker.bootstrap)])
    confirmed: list[int] = []
    assert produce_chunks(kafka, chunks, on_progress=confirmed.append) == truth_of(chunks)
    assert confirmed[-1] == 3_000
    consumer = Consumer({"bootstrap.servers": embedded_broker.bootstrap, "group.id": "reader"})
    consumer.assign([TopicPartition(kafka.topics[0], 0, 0)])
    read: list[tuple[bytes | None, bytes | None]] = []
    for _ in range(100):
        read += [(message.key(), message.value()) for message in consumer.consume(1_000, timeout=0.2)]
        if len(read) >= 3_000:
            break
    consumer.close()
    assert read == [pair for chunk in chunks for pair in zip(chunk.keys, chunk.values, strict=True)]


def test_a_limited_rate_is_kept_in_every_moment(embedded_broker: EmbeddedBroker) -> None:
    kafka = Kafka(bootstrap_servers=[embedded_broker.bootstrap], topics=[make_topic(embedded_broker.bootstrap)])
    now_s, slept_s = 100.0, []

    def sleep(duration_s: float) -> None:
        nonlocal now_s
        slept_s.append(duration_s)
        now_s += duration_s

    produce_chunks(kafka, make(1_000), rate=200, clock=lambda: now_s, sleep=sleep)
    assert now_s == pytest.approx(105.0)
    assert max(slept_s) < 0.1


def test_a_missing_topic_is_said_with_the_way_out(embedded_broker: EmbeddedBroker) -> None:
    kafka = Kafka(bootstrap_servers=[embedded_broker.bootstrap], topics=["not-there"])
    with pytest.raises(KafkaUnavailableError, match=r"'not-there'.*shipper topics create"):
        produce_chunks(kafka, make(1))
