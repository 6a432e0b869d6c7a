from collections import Counter
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.kafka.assignment import Start, pinned, start_offset, workers_count


@given(partitions=st.integers(0, 60), workers=st.lists(st.integers(1, 7), min_size=1, max_size=5))
def test_every_partition_has_exactly_one_worker_whatever_hosts_there_are(partitions: int, workers: list[int]) -> None:
    taken = Counter(
        partition
        for node_index, count in enumerate(workers)
        for worker in range(count)
        for partition in pinned(
            range(partitions), worker=worker, workers=count, node_index=node_index, node_count=len(workers)
        )
    )
    assert taken == Counter(range(partitions))


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 60), st.integers(0, 30))
def test_new_partitions_move_none_of_the_old(workers: int, node_count: int, before: int, more: int) -> None:
    for worker in range(workers):
        old = pinned(range(before), worker=worker, workers=workers, node_index=0, node_count=node_count)
        new = pinned(range(before + more), worker=worker, workers=workers, node_index=0, node_count=node_count)
        assert [partition for partition in new if partition < before] == list(old)


def test_one_host_deals_its_partitions_to_the_workers_in_turn() -> None:
    assert pinned([3, 1, 0, 2, 4], worker=1, workers=2) == (1, 3)


@given(partitions=st.integers(1, 100), node_count=st.integers(1, 8), cores=st.integers(1, 64))
def test_no_host_has_more_workers_than_partitions_and_none_idles(partitions: int, node_count: int, cores: int) -> None:
    workers = workers_count(0, cores=cores, partitions=partitions, node_count=node_count)
    assert 1 <= workers <= max(cores, 1)
    for worker in range(workers):  # host 0 has the largest share
        assert pinned(range(partitions), worker=worker, workers=workers, node_index=0, node_count=node_count)


@pytest.mark.parametrize(
    ("configured", "cores", "partitions", "node_count", "workers"),
    [
        (0, 8, 12, 1, 8),
        (0, 8, 3, 1, 3),
        (0, 8, 12, 3, 4),
        (0, 8, 13, 3, 5),
        (2, 8, 12, 1, 2),
        (6, 2, 12, 1, 6),
        (6, 2, 4, 1, 4),
        (0, 8, 0, 1, 1),
    ],
)
def test_workers_are_one_per_core_unless_configured_and_never_more_than_partitions(
    configured: int, cores: int, partitions: int, node_count: int, workers: int
) -> None:
    assert workers_count(configured, cores=cores, partitions=partitions, node_count=node_count) == workers


@pytest.mark.parametrize(
    ("due", "policy", "start"),
    [
        (None, "earliest", Start(100)),
        (None, "latest", Start(200)),
        (150, "latest", Start(150)),
        (100, "latest", Start(100)),
        (200, "earliest", Start(200)),
        (90, "latest", Start(100, gone=10)),
        (201, "latest", Start(100, rewound=True)),
    ],
)
def test_reading_begins_where_it_is_due_and_never_skips_what_is_there(
    due: int | None, policy: Literal["earliest", "latest"], start: Start
) -> None:
    assert start_offset(due, low=100, high=200, start=policy) == start
