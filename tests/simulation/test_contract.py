"""The simulated consumer answers to the contract that Kafka and the embedded broker answer to: the same tests."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest

import kafka_member
from contract import test_kafka_contract as reading
from contract import test_kafka_contract_groups as groups
from contract import test_kafka_contract_starts as starts
from kafka_member import Member
from shipper.kafka.identity import Identity
from shipper.kafka.source import Source
from simulation.broker import TOPIC, Broker
from simulation.consumer import SimulatedConsumer
from simulation.world import World

PINNED: dict[str, Any] = {"assignment": "pinned"}
GROUP: dict[str, Any] = {"assignment": "group"}
PROMISES: Sequence[tuple[Callable[..., None], dict[str, Any]]] = [
    (reading.test_records_come_in_order_and_whole_with_their_offsets, {}),
    (reading.test_workers_read_every_partition_once, {}),
    (reading.test_closing_commits_what_is_acknowledged_and_no_more, {}),
    (reading.test_a_paused_source_is_polled_and_loses_nothing, {}),
    (reading.test_a_partition_that_reached_its_target_stays_paused, {}),
    (reading.test_watermarks_are_where_a_partition_begins_and_ends, {}),
    (reading.test_the_end_of_a_partition_is_reported, {}),
    (starts.test_committed_offsets_are_kept_for_the_next_consumer, PINNED),
    (starts.test_committed_offsets_are_kept_for_the_next_consumer, GROUP),
    (starts.test_latest_begins_at_the_end_and_a_restart_skips_nothing, {}),
    (starts.test_records_deleted_before_they_were_read_are_said_loudly, {}),
    (starts.test_records_deleted_before_anything_was_committed_are_said_loudly, {}),
    (starts.test_records_deleted_while_paused_are_said_loudly_and_reading_goes_on, {}),
    (starts.test_a_committed_offset_behind_the_end_begins_anew_and_is_said, {}),
    (groups.test_members_share_and_who_stays_takes_over_from_what_was_committed, {}),
    (groups.test_revoking_commits_the_acknowledged_prefix_and_no_more, {}),
    (groups.test_a_member_that_comes_back_in_time_moves_no_partition, {}),
]


class Server:
    """What a contract's test takes for a broker; it holds one topic, made when the test asks for it."""

    bootstrap = "simulated"
    name = "member"
    reaches_kafka = True

    def __init__(self) -> None:
        self.world = World(0)
        self.broker = Broker(self.world, 0)

    def touch(self, _: str) -> None:
        """Never die."""

    def make_topic(self, _: str, partitions: int = 1) -> str:
        self.broker = Broker(self.world, partitions)
        return TOPIC

    def produce(self, _: str, __: str, values: Sequence[bytes | None], *, partition: int = 0) -> None:
        for value in values:
            self.broker.append(partition, value)

    def delete_records(self, _: object, __: str, *, before: int, partition: int = 0) -> None:
        self.broker.delete_before(partition, before)

    def identify(self, _: float) -> dict[str, Identity]:
        return {TOPIC: Identity("", len(self.broker.logs))}

    def make_consumer(self, settings: dict[str, Any]) -> Any:  # noqa: ANN401 - stands for a consumer
        return SimulatedConsumer(self.world, self.broker, self, lambda: 0, settings)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    for module in (reading, groups, starts):
        monkeypatch.setattr(module, "make_topic", server.make_topic)
        monkeypatch.setattr(module, "produce", server.produce)
    for module in (reading, starts):
        monkeypatch.setattr(module, "delete_records", server.delete_records)
    simulated = partial(Source, make_consumer=server.make_consumer, identify=server.identify, sleep=server.world.sleep)
    monkeypatch.setattr(kafka_member, "Source", simulated)
    return server


@pytest.fixture
def join(server: Server) -> Iterator[Callable[..., Member]]:
    members: list[Member] = []

    def open_member(*topics: str, **more: Any) -> Member:  # noqa: ANN401 - keys of [kafka], and of the source
        members.append(Member(server.bootstrap, topics, "group", **more))
        members[-1].source.open()
        return members[-1]

    yield open_member
    for member in members:
        member.leave()


@pytest.mark.parametrize(("promise", "more"), PROMISES, ids=[promise.__name__ for promise, _ in PROMISES])
def test_the_simulated_consumer_keeps_the_contract(
    promise: Callable[..., None], more: dict[str, Any], server: Server, join: Callable[..., Member]
) -> None:
    promise(server, join, **more)
