"""`shipper check` and `shipper topics create` against real servers: open ones, guarded ones, and wrong ones."""

import uuid
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
import requests
from confluent_kafka import Consumer, Producer, TopicPartition
from rich.console import Console

from guarded import login, permit
from shipper.cli import check, topics
from shipper.devstack.kafka import KafkaServer, make_topic
from shipper.devstack.loki import LokiServer
from shipper.errors import KafkaUnavailableError
from shipper.settings import Api, ApiTopics, DeadLetter, Kafka, Settings

CheckLines = Callable[..., tuple[int, list[str]]]
Names = tuple[str, str]


@pytest.fixture
def names() -> Names:
    """Names of a log topic and a dead letter topic that nobody else has."""
    name = f"check-{uuid.uuid4().hex[:8]}"
    return name, f"{name}.dlq"


@pytest.fixture
def run_check() -> CheckLines:
    """Run `shipper check` with these overrides, and return its exit code and lines."""

    def run(bootstrap: str, loki: str, names: Names, *overrides: str) -> tuple[int, list[str]]:
        output = StringIO()
        given = (
            f"kafka.bootstrap_servers={bootstrap}",
            f"loki.url={loki}",
            f"kafka.topics={names[0]}",
            f"dead_letter.topic={names[1]}",
            f"kafka.group_id={names[0]}",
            *overrides,
        )
        code = check.run(Path("/dev/null"), given, offline=False, console=Console(file=output, highlight=False))
        return code, [line.strip() for line in output.getvalue().splitlines()]

    return run


def create_topics(bootstrap: str, names: Names, partitions: int = 2) -> list[str]:
    tables = ApiTopics(**{name: f"{names[0]}-{name}" for name in ApiTopics.__struct_fields__})
    settings = Settings(
        kafka=Kafka(bootstrap_servers=[bootstrap], topics=[names[0]]),
        dead_letter=DeadLetter(topic=names[1]),
        api=Api(topics=tables),
    )
    output = StringIO()
    topics.create(settings, partitions=partitions, replication_factor=None, console=Console(file=output))
    return output.getvalue().splitlines()


def line(lines: list[str], what: str) -> str:
    """Return the one line about this."""
    (found,) = [each for each in lines if each[2:].startswith(f"{what} ")]
    return found


def test_topics_are_created_once_and_then_compared(kafka: KafkaServer, names: Names) -> None:
    assert create_topics(kafka.bootstrap, names) == [
        f"created {names[0]}: 2 partitions, 1 of each record",
        f"created {names[1]}: 2 partitions, 1 of each record",
        *(f"created {names[0]}-{name}: 1 partitions, 1 of each record" for name in ("levels", "queries", "tokens")),
    ]
    assert create_topics(kafka.bootstrap, names) == [
        f"exists  {names[0]}: 2 partitions, 1 of each record; as it would be made",
        f"exists  {names[1]}: 2 partitions, 1 of each record; as it would be made",
        *(
            f"exists  {names[0]}-{name}: 1 partitions, 1 of each record; as it would be made"
            for name in ("levels", "queries", "tokens")
        ),
    ]


def test_a_topic_that_differs_is_told_and_left_alone(kafka: KafkaServer, names: Names) -> None:
    name = make_topic(kafka.bootstrap, 3, {"retention.ms": "1000", "max.message.bytes": "2000000"})
    told = create_topics(kafka.bootstrap, (name, names[1]))
    assert told[:4] == [
        f"exists  {name}: 3 partitions, 1 of each record; left as it is:",
        "        partitions is 3, would be 2",
        "        retention.ms is 1000, would be 604800000",
        "        compression.type is producer, would be lz4",
    ]
    # A dead letter has room for its headers beside a record that fills the log topic's bound.
    dead_letters = create_topics(kafka.bootstrap, ("logs-unused", names[1]))[1:]
    assert "        max.message.bytes is 2065536, would be 1114124" in dead_letters
    assert create_topics(kafka.bootstrap, (name, names[1]))[:4] == told[:4]


def test_too_many_copies_are_refused_with_the_way_out(kafka: KafkaServer, names: Names) -> None:
    settings = Settings(kafka=Kafka(bootstrap_servers=[kafka.bootstrap], topics=[names[0]]))
    with pytest.raises(KafkaUnavailableError, match="give a smaller --replication-factor"):
        topics.create(settings, partitions=1, replication_factor=3, console=Console(file=StringIO()))


def test_all_is_well_with_real_kafka_and_loki(
    kafka: KafkaServer, loki: LokiServer, names: Names, run_check: CheckLines
) -> None:
    create_topics(kafka.bootstrap, names)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for number in range(30):
        producer.produce(names[0], str(number).encode())
    assert producer.flush(20) == 0
    code, lines = run_check(kafka.bootstrap, loki.url, names)
    assert (code, [each for each in lines if not each.startswith("✓")]) == (0, [])
    assert kafka.bootstrap in line(lines, "Kafka")
    assert line(lines, f"topic {names[0]}").endswith("2 partitions, 1 copy; we may read it")
    assert line(lines, f"topic {names[1]}").endswith("2 partitions, 1 copy; we may write it")
    assert line(lines, f"group {names[0]}").endswith(f"30 records to ship: 30 in {names[0]}")
    assert line(lines, f"retention of {names[0]}").endswith("Kafka keeps 7 d, as long as Loki takes what is old")
    assert line(lines, "Loki version").endswith("3.7.8")
    labels = requests.get(f"{loki.url}/loki/api/v1/series", params={"match[]": '{service="check"}'}, timeout=10).json()
    assert labels["data"] == []


def test_a_log_topic_that_keeps_less_than_catching_up_may_take_is_told(
    kafka: KafkaServer, loki: LokiServer, names: Names, run_check: CheckLines
) -> None:
    short = make_topic(kafka.bootstrap, 1, {"retention.ms": "3600000"})
    create_topics(kafka.bootstrap, (short, names[1]))
    code, lines = run_check(kafka.bootstrap, loki.url, (short, names[1]))
    assert code == 0
    assert line(lines, f"retention of {short}").startswith("!")
    assert "set retention.ms of the topic to 604800000" in line(lines, f"retention of {short}")


def test_missing_topics_are_told_with_the_command_that_makes_them(
    kafka: KafkaServer, loki: LokiServer, names: Names, run_check: CheckLines
) -> None:
    code, lines = run_check(kafka.bootstrap, loki.url, names)
    assert code == 3
    for name in names:
        assert "✗" in line(lines, f"topic {name}")
        assert "create it with `shipper topics create`" in line(lines, f"topic {name}")


def test_what_the_group_has_committed_does_not_wait(
    kafka: KafkaServer, loki: LokiServer, names: Names, run_check: CheckLines
) -> None:
    create_topics(kafka.bootstrap, names, partitions=1)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for number in range(30):
        producer.produce(names[0], str(number).encode())
    assert producer.flush(20) == 0
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": names[0], "enable.auto.commit": False})
    consumer.assign([TopicPartition(names[0], 0, 0)])  # a commit without a position is refused
    consumer.commit(offsets=[TopicPartition(names[0], 0, 20)], asynchronous=False)
    consumer.close()
    _, lines = run_check(kafka.bootstrap, loki.url, names)
    assert "10 records to ship" in line(lines, f"group {names[0]}")
    _, lines = run_check(kafka.bootstrap, loki.url, names, "kafka.group_id=other", "kafka.start=latest")
    assert "0 records to ship" in line(lines, "group other")


def test_tls_to_a_port_without_it_is_told(kafka: KafkaServer, names: Names, run_check: CheckLines) -> None:
    code, lines = run_check(kafka.bootstrap, kafka_is_no_loki(kafka), names, "kafka.client.security.protocol=SSL")
    assert code == 3
    assert "hung up at the first word" in line(lines, "Kafka")
    assert "set security.protocol in [kafka.client]" in line(lines, "Kafka")
    assert "speaks no HTTP" in line(lines, "Loki")


def kafka_is_no_loki(kafka: KafkaServer) -> str:
    return f"http://{kafka.bootstrap}"


@pytest.mark.kafka
def test_a_refused_login_is_told_and_never_the_password(
    guarded: tuple[KafkaServer, str], names: Names, run_check: CheckLines, tmp_path: Path
) -> None:
    _, address = guarded
    code, lines = run_check(address, "http://127.0.0.1:1", names, *login(tmp_path / "pw", "falsch"))
    assert code == 3
    assert f"Kafka at {address} refused the login" in line(lines, "Kafka")
    assert "sasl.username and sasl.password in [kafka.client]" in line(lines, "Kafka")
    assert "falsch" not in str(lines)


@pytest.mark.kafka
def test_no_login_where_one_is_wanted_is_told(
    guarded: tuple[KafkaServer, str], names: Names, run_check: CheckLines
) -> None:
    _, address = guarded
    code, lines = run_check(address, "http://127.0.0.1:1", names)
    assert code == 3
    assert "set security.protocol in [kafka.client]" in line(lines, "Kafka")


@pytest.mark.kafka
def test_missing_permissions_are_told_each_with_its_topic_or_group(
    guarded: tuple[KafkaServer, str], names: Names, run_check: CheckLines, tmp_path: Path
) -> None:
    server, address = guarded
    create_topics(server.bootstrap, names)
    as_alice = login(tmp_path / "pw", "geheim")
    code, lines = run_check(address, "http://127.0.0.1:1", names, *as_alice)
    assert code == 3
    assert "✓" in line(lines, "Kafka")
    assert "or is hidden from this user" in line(lines, f"topic {names[0]}")

    permit(server.bootstrap, ("TOPIC", names[0], "DESCRIBE"), ("TOPIC", names[1], "DESCRIBE"))
    code, lines = run_check(address, "http://127.0.0.1:1", names, *as_alice)
    assert code == 3
    assert "✗" in line(lines, f"topic {names[0]}")
    assert "this user may not read it: grant READ" in line(lines, f"topic {names[0]}")
    assert "this user may not write it: grant WRITE" in line(lines, f"topic {names[1]}")
    assert "does not permit it to this user" in line(lines, f"group {names[0]}")

    permit(server.bootstrap, ("TOPIC", names[0], "READ"), ("TOPIC", names[1], "WRITE"), ("GROUP", names[0], "READ"))
    _, lines = run_check(address, "http://127.0.0.1:1", names, *as_alice)
    assert [each[0] for each in lines if "topic " in each or "group " in each] == ["✓", "✓", "✓"]


@pytest.fixture(scope="module")
def strict_loki(server_dir: Callable[[str], Path]) -> Iterator[LokiServer]:
    limits = {"max_line_size": "1KB", "reject_old_samples_max_age": "1h30m", "ingestion_burst_size_mb": 1}
    with LokiServer(server_dir("strict-loki"), limits=limits, auth_enabled=True) as server:
        yield server


@pytest.mark.loki
def test_a_loki_that_wants_a_tenant_is_told_and_satisfied(
    strict_loki: LokiServer, names: Names, run_check: CheckLines
) -> None:
    _, lines = run_check("127.0.0.1:1", strict_loki.url, names)
    assert "✗" in line(lines, "Loki push")
    assert "Loki wants a tenant (no org id): set loki.tenant" in line(lines, "Loki push")
    _, lines = run_check("127.0.0.1:1", strict_loki.url, names, "loki.tenant=chat")
    assert "✓" in line(lines, "Loki push")


@pytest.mark.loki
def test_limits_of_loki_that_are_lower_than_ours_are_told(
    strict_loki: LokiServer, names: Names, run_check: CheckLines
) -> None:
    code, lines = run_check("127.0.0.1:1", strict_loki.url, names, "loki.tenant=chat")
    assert code == 3
    told = [each for each in lines if "Loki limits" in each]
    assert [each[0] for each in told] == ["!", "!", "✗"]
    assert "max_line_size is 1KB there" in told[0]
    assert told[1].endswith("set it to 5400")
    assert "ingestion_burst_size_mb is 1 there" in told[2]


@pytest.mark.loki
def test_defaults_of_loki_that_cost_entries_are_told(
    server_dir: Callable[[str], Path], names: Names, run_check: CheckLines
) -> None:
    with LokiServer(server_dir("plain-loki"), as_it_comes=True) as server:
        _, lines = run_check("127.0.0.1:1", server.url, names)
    assert line(lines, "Loki limits").startswith("✓")
    streams = [each for each in lines if each.startswith("! Loki streams")]
    assert "shard_streams.enabled is true there" in streams[0]
    assert "per_stream_rate_limit is 3MB there, and ingestion_rate_mb is 4:" in streams[1]
    assert len(streams) == 2
    queries = [each for each in lines if each.startswith("! Loki queries")]
    assert "grpc_server_max_send_msg_size is 4194304 and server.grpc_server_max_recv_msg_size is 4194304" in queries[0]
    assert "query_store_max_look_back_period is 2h41m0s there" in queries[1]
