"""Tables in compacted topics, on a real Kafka: what is written is there for all, and two writers never both win."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import Message, Producer

from shipper.devstack.kafka import KafkaServer, TopicFactory
from shipper.errors import CannotStartError
from shipper.kafka.table import Table
from shipper.kafka.table_writer import ConflictError, TableWriter, transactional_id
from shipper.settings import Kafka

pytestmark = pytest.mark.kafka
WAIT_S = 60.0


class Instance:
    """One process's view of a table, and its writer."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        kafka = Kafka(bootstrap_servers=[bootstrap])
        self.table = Table(kafka, topic, timeout_s=WAIT_S)
        self.table.start()
        self.put = TableWriter(kafka, self.table, timeout_s=WAIT_S).put

    def rows(self) -> dict[str, bytes]:
        return {key: row.value for key, row in self.table.items()}


@pytest.fixture
def name(topic: TopicFactory) -> str:
    return topic(1, {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"})


@pytest.fixture
def instance(kafka: KafkaServer, name: str) -> Iterator[Callable[[], Instance]]:
    started: list[Instance] = []

    def start() -> Instance:
        started.append(Instance(kafka.bootstrap, name))
        return started[-1]

    yield start
    for each in started:
        each.table.stop()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


def test_what_was_written_is_read_at_once_by_the_writer_soon_by_others_and_after_a_restart(
    instance: Callable[[], Instance],
) -> None:
    one, other = instance(), instance()
    heard: list[str] = []
    other.table.listen(heard.append)
    written = one.put("a", b"1")
    assert one.table.get("a") == written
    one.put("b", b"2")
    one.put("b", None)
    until(lambda: heard == ["a", "b", "b"])
    assert other.rows() == one.rows() == {"a": b"1"}
    assert other.put("a", b"3") is not None
    until(lambda: one.rows() == {"a": b"3"})
    assert instance().rows() == {"a": b"3"}


def test_a_write_wins_only_if_the_row_is_as_it_was_seen(instance: Callable[[], Instance]) -> None:
    one, other = instance(), instance()
    first = one.put("a", b"1", expected=None)
    assert first is not None
    second = other.put("a", b"2", expected=first.version)
    assert second is not None
    for expected in (first.version, None, "0"):
        with pytest.raises(ConflictError) as refused:
            one.put("a", b"lost", expected=expected)
        assert refused.value.row == second
    one.put("a", None, expected=second.version)
    with pytest.raises(ConflictError):
        other.put("a", b"lost", expected=second.version)
    assert other.table.get("a") is None
    assert other.put("a", b"3", expected=None) is not None


def test_of_many_writers_in_many_instances_each_increment_counts_once(instance: Callable[[], Instance]) -> None:
    instances = [instance() for _ in range(3)]

    def add(one: Instance) -> None:
        for _ in range(4):
            while True:
                row = one.table.get("n")
                count = int(row.value) if row else 0
                try:
                    one.put("n", b"%d" % (count + 1), expected=row.version if row else None)
                    break
                except ConflictError:
                    continue

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(add, instances * 2))
    until(lambda: all(one.rows() == {"n": b"24"} for one in instances))


def test_who_lags_behind_reads_what_others_wrote_before_it_decides(
    instance: Callable[[], Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    late, other = instance(), instance()
    first = late.put("a", b"1")
    assert first is not None
    may_read = threading.Event()
    take, catch_up = late.table._take, late.table.catch_up

    def take_later(messages: list[Message]) -> None:
        assert may_read.wait(WAIT_S)
        take(messages)

    def caught_up() -> None:
        may_read.set()
        catch_up()

    monkeypatch.setattr(late.table, "_take", take_later)
    monkeypatch.setattr(late.table, "catch_up", caught_up)
    other.put("a", b"2", expected=first.version)
    with pytest.raises(ConflictError):
        late.put("a", b"lost", expected=first.version)
    assert other.rows() == {"a": b"2"}


def test_what_a_writer_that_died_left_open_holds_up_nobody_and_is_never_read(
    kafka: KafkaServer, name: str, instance: Callable[[], Instance]
) -> None:
    killed = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": transactional_id(name)})
    killed.init_transactions(WAIT_S)
    killed.begin_transaction()
    killed.produce(name, b"half", "a")
    assert killed.flush(WAIT_S) == 0
    one = instance()
    assert one.rows() == {}
    one.put("b", b"1")
    assert one.rows() == {"b": b"1"}
    with pytest.raises(Exception, match="fenced"):
        killed.commit_transaction(WAIT_S)
    assert instance().rows() == {"b": b"1"}


def test_a_topic_that_is_no_table_is_refused_with_the_way_out(kafka: KafkaServer, topic: TopicFactory) -> None:
    table = Table(Kafka(bootstrap_servers=[kafka.bootstrap]), topic(2))
    with pytest.raises(CannotStartError, match="2 partitions, and a table has one"):
        table.start()
