"""A worker as the source's listener: what it shows, and when it has caught up."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from shipper.kafka.dlq import DeadLetters
from shipper.logs import Log
from shipper.loki.client import Pusher
from shipper.pipeline import Rules
from shipper.process.counters import Counters
from shipper.process.parts import Parts
from shipper.process.report import Report
from shipper.process.worker import Worker
from shipper.records import TopicPartition
from shipper.settings import Kafka, Settings

AT = TopicPartition("logs", 0)


class PolledError(Exception):
    """What was asked of the source: records at most, seconds."""


class Silent:
    """A source that gives nothing, and whose partitions end at 10."""

    eof_offsets: dict[TopicPartition, int] = {}  # noqa: RUF012 - never written to

    def poll(self, records_max: int, wait_s: float, _: int) -> list[object]:
        raise PolledError(records_max, wait_s)

    def hold_back(self, _: object) -> None: ...
    def open(self) -> None: ...
    def pause_some(self, _: object) -> None: ...
    def ends_now(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 10)


class Desk:
    """A worker in a group, with a clock of its own."""

    def __init__(self, *, until_caught_up: bool, **kafka: Any) -> None:  # noqa: ANN401 - keys of [kafka]
        self.now_s = 1000.0
        self.counters = Counters.create(1, ["logs"])
        pusher = SimpleNamespace(limit=lambda _: None, is_behind=False)
        parts = Parts(
            source=lambda _: cast("Any", Silent()),
            pusher=cast("Pusher", pusher),
            letters=cast("DeadLetters", SimpleNamespace()),
            is_orphan=lambda: False,
            clock=lambda: self.now_s,
        )
        rules = Rules.compile(Settings(kafka=Kafka(assignment="group", **kafka)))
        report = Report(self.counters.row(0), Log(), clock=lambda: self.now_s)
        self.worker = Worker(rules, parts, report, topics=["logs"], until_caught_up=until_caught_up)
        self.worker.open()

    @property
    def committed(self) -> int:
        (look,) = self.counters.read(0).partitions()
        return look.committed


def test_a_member_whose_partitions_were_just_taken_waits_for_new_ones_before_it_has_caught_up() -> None:
    desk = Desk(until_caught_up=True)
    desk.worker.on_assigned({AT: 0})
    desk.now_s += 100
    desk.worker.on_lost([AT])
    assert not desk.worker.is_done
    desk.now_s += 14
    assert not desk.worker.is_done
    desk.now_s += 2
    assert desk.worker.is_done


@pytest.mark.parametrize("late", [4, 500])
def test_the_late_answer_to_a_commit_of_an_old_holding_is_not_shown(late: int) -> None:
    desk = Desk(until_caught_up=False)
    desk.worker.on_assigned({AT: 0})
    desk.worker.on_lost([AT])
    desk.worker.on_assigned({AT: 0})
    desk.worker.on_committed({AT: late})
    assert desk.committed == 0


def test_a_batch_waits_as_long_as_is_configured() -> None:
    desk = Desk(until_caught_up=False, batch_records_max=7, batch_wait_s=12.5)
    with pytest.raises(PolledError) as asked:
        desk.worker.turn()
    assert asked.value.args == (7, 12.5)
