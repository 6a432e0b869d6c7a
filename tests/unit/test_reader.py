"""What one poll takes, from a consumer whose queue the tests fill."""

from collections import deque
from collections.abc import Callable
from typing import cast

import pytest
from confluent_kafka import Consumer, Message

from shipper.kafka.reader import Reader
from shipper.records import TopicPartition

MIB = 1024 * 1024


class ScriptedConsumer:
    """A queue that holds `ready_bytes` at most, refilled from `coming` after each call; waiting moves the clock."""

    def __init__(self, *coming: bytes, ready_bytes: int = 8 * MIB) -> None:
        self.now_s = 0.0
        self.coming, self.ready = deque(coming), deque[bytes]()
        self.ready_bytes = ready_bytes
        self.consumed = 0
        self.asked: list[tuple[int, float]] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self.reader = Reader(cast("Consumer", self), lambda: self.now_s)
        self.fill()

    def fill(self) -> None:
        held = sum(map(len, self.ready))
        while self.coming and held < self.ready_bytes:
            self.ready.append(self.coming.popleft())
            held += len(self.ready[-1])

    def consume(self, records: int, timeout: float) -> list[Message]:
        self.asked.append((records, timeout))
        self.meanwhile()
        values = [self.ready.popleft() for _ in range(min(records, len(self.ready)))]
        if timeout and len(values) < records:
            self.now_s += timeout
        first, self.consumed = self.consumed, self.consumed + len(values)
        self.fill()
        return [Message("logs", (first + row) % 2, first + row, value=value) for row, value in enumerate(values)]

    def sizes(self, records_max: int = 10_000, wait_s: float = 0.25, bytes_max: int = 4 * MIB) -> list[int]:
        return list(map(len, self.reader.read(records_max, wait_s, bytes_max)))


def test_a_poll_ends_with_the_records_that_were_asked_for() -> None:
    consumer = ScriptedConsumer(*[b"x" * 350] * 25_000)
    assert [len(consumer.sizes()) for _ in range(3)] == [10_000, 10_000, 5_000]


def test_chunks_of_small_records_are_large() -> None:
    consumer = ScriptedConsumer(*[b"x" * 350] * 50_000)
    for _ in range(5):
        consumer.sizes()
    assert len(consumer.asked) < 5 * 3


def test_records_that_are_large_all_of_a_sudden_take_no_more_than_was_ready() -> None:
    large = 190_000
    consumer = ScriptedConsumer(*[b"x" * 300] * 10_500, *[b"x" * large] * 2_000)
    consumer.sizes(records_max=10_000)
    while consumer.ready:
        assert sum(consumer.sizes()) < 4 * MIB + consumer.ready_bytes + large


def test_records_that_stay_large_keep_to_the_bound() -> None:
    large = 190_000
    consumer = ScriptedConsumer(*[b"x" * large] * 500)
    consumer.sizes()
    while consumer.ready:
        assert sum(consumer.sizes()) < 4 * MIB + large


def test_a_record_larger_than_the_bound_comes_alone() -> None:
    consumer = ScriptedConsumer(*[b"x" * 5_000] * 3)
    consumer.sizes()
    consumer.coming.extend([b"x" * 5_000] * 3)
    consumer.fill()
    assert [consumer.sizes(bytes_max=1_000) for _ in range(4)] == [[5_000], [5_000], [5_000], []]


@pytest.mark.parametrize("wait_s", [0, 0.25])
def test_an_empty_poll_waits_as_long_as_it_may_and_no_longer(wait_s: float) -> None:
    consumer = ScriptedConsumer()
    assert (consumer.sizes(wait_s=wait_s), consumer.now_s) == ([], wait_s)


def test_a_trickle_ends_with_the_time() -> None:
    consumer = ScriptedConsumer()

    def trickle() -> None:
        consumer.now_s += 0.05
        consumer.ready.append(b"x")

    consumer.meanwhile = trickle
    assert 0 < len(consumer.sizes()) <= 10
    assert consumer.now_s <= 0.25 + 2 * 0.05


def test_without_a_wait_what_is_ready_comes() -> None:
    consumer = ScriptedConsumer(b"a", b"b")
    assert consumer.sizes(wait_s=0) == [1, 1]


def test_values_that_are_null_or_empty_are_read_on_and_on() -> None:
    consumer = ScriptedConsumer(*[b""] * 10_000)
    assert len(consumer.sizes()) == 10_000


def test_what_was_taken_of_a_partition_that_leaves_meanwhile_is_not_returned() -> None:
    consumer = ScriptedConsumer(*[b"x" * MIB] * 20, ready_bytes=2 * MIB)

    def leave() -> None:
        if consumer.consumed == 2:
            consumer.reader.forget([TopicPartition("logs", 0)])

    consumer.meanwhile = leave
    found = consumer.reader.read(4, 0.25, 20 * MIB)
    assert [it.offset() for it in found] == [1, 2, 3, 4]  # 2 and 4 came after partition 0 was given back


def test_what_comes_of_a_partition_that_came_back_is_returned() -> None:
    consumer = ScriptedConsumer(*[b"x"] * 10)
    consumer.reader.forget([TopicPartition("logs", 0)])
    assert len(consumer.sizes()) == 10
