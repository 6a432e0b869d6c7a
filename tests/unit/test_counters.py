"""The shared-memory counters: consistent at every look, whoever is killed in the middle."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shipper.process import slots
from shipper.process.counters import Counters
from shipper.process.snapshot import RowSnapshot
from shipper.records import Reason

ROOT = Path(__file__).parents[2]

# Far more updates than a worker makes (some per batch), and far more of its time spent inside them.
WRITER = """
import sys, time
from shipper.process.counters import Counters
row = Counters.attach(int(sys.argv[1])).row(0)
block = row.partition(0, 7)
print("writing", flush=True)
offset = 0
while True:
    row.add(consumed=10, in_flight=10, bytes_in=3_000)
    offset += 10
    with row:
        row.add(in_flight=-10, delivered=7, filtered=2, dead_lettered=1)
        row.count("dead_lettered", "too_old")
        block.set(committed=offset, high_watermark=offset, last_settled_timestamp_ms=offset)
    time.sleep(0.0001)
"""
DIES_IN_THE_MIDDLE = """
import os, signal, sys
from shipper.process.counters import Counters
row = Counters.attach(int(sys.argv[1])).row(0)
row.add(consumed=100, in_flight=100)
with row:
    row.add(delivered=40)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@contextmanager
def running(program: str, counters: Counters) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(counters.fd)],
        cwd=ROOT,
        pass_fds=[counters.fd],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


@pytest.fixture
def counters() -> Iterator[Counters]:
    counters = Counters.create(4, ["logs", "audit"], ["health checks", "noise"])
    yield counters
    counters.close()


def adds_up(row: RowSnapshot) -> bool:
    return row.consumed == row["delivered"] + row["filtered"] + row["dead_lettered"] + row["in_flight"]


def test_every_look_adds_up_while_a_process_writes(counters: Counters) -> None:
    with running(WRITER, counters) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == "writing\n"
        seen: set[int] = set()
        for look in range(200_000):
            if look >= 3_000 and len(seen) >= 300:
                break
            row = counters.read(0)
            assert adds_up(row)
            assert row["dead_lettered"] == row["dead_lettered.too_old"]
            for partition in row.partitions():
                assert partition.committed == partition.high_watermark == partition.last_settled_timestamp_ms
            seen.add(row.consumed)
    assert len(seen) >= 300  # the writer was writing all the while


def test_a_writer_killed_at_any_moment_leaves_a_row_that_repair_puts_in_order(counters: Counters) -> None:
    for _ in range(5):
        with running(WRITER, counters) as writer:
            assert writer.stdout
            assert writer.stdout.readline() == "writing\n"
            while not counters.read(0).consumed:
                pass
            os.kill(writer.pid, signal.SIGKILL)
            writer.wait(timeout=10)
        assert adds_up(counters.read(0))
        counters.row(0).repair()
        row = counters.read(0)
        assert adds_up(row)
        assert row["in_flight"] == 0


def test_a_writer_killed_inside_an_update_neither_hangs_nor_misleads_a_reader(counters: Counters) -> None:
    counters.row(0).add(consumed=5, delivered=5)
    before = counters.read(0)
    with running(DIES_IN_THE_MIDDLE, counters) as writer:
        assert writer.wait(timeout=10) == -signal.SIGKILL
    torn = counters.read(0)
    assert adds_up(torn)
    assert torn["delivered"] == before["delivered"]

    counters.row(0).repair()

    row = counters.read(0)
    assert adds_up(row)
    assert (row["delivered"], row["in_flight"], row["abandoned"]) == (45, 0, 60)


def test_a_reader_that_never_saw_the_row_gets_zeros_while_an_update_is_open(counters: Counters) -> None:
    with counters.row(1) as row:
        row.add(consumed=3)
        assert counters.read(1)["consumed"] == 0
        assert list(counters.read(1).partitions()) == []


def test_repair_gives_back_what_was_in_flight_and_never_lets_a_count_go_down(counters: Counters) -> None:
    row = counters.row(0)
    row.add(consumed=100, delivered=60, filtered=10, in_flight=30)
    row.repair()
    row.add(consumed=30, in_flight=30)
    row.add(delivered=30, in_flight=-30)
    look = counters.read(0)
    assert adds_up(look)
    assert look.consumed == 100
    assert (look["consumed"], look["abandoned"]) == (130, 30)


def test_a_row_left_odd_is_written_again_without_a_repair(counters: Counters) -> None:
    counters.row(0).__enter__()
    counters.row(0).add(consumed=1, in_flight=1)
    assert counters.read(0)["consumed"] == 1


def test_an_unknown_slot_is_refused_before_anything_is_written(counters: Counters) -> None:
    row = counters.row(0)
    with pytest.raises(KeyError, match="delivred"):
        row.add(consumed=1, delivred=1)
    with pytest.raises(KeyError, match="no_such_reason"):
        row.count("dead_lettered", "no_such_reason")
    assert counters.read(0)["consumed"] == 0


def test_filters_are_counted_by_their_name_and_keep_it_when_the_config_changes(counters: Counters) -> None:
    counters.row(0).count("filtered", "noise", 4)
    counters.register(["metrics", "logs"], ["new rule", "noise"], [])
    attached = Counters.attach(os.dup(counters.fd))
    attached.row(0).count("filtered", "noise", 1)
    attached.row(0).count("filtered", "new rule", 2)
    attached.row(0).count("filtered", "empty", 3)
    assert attached.rules == ("health checks", "noise", "new rule")
    assert attached.topics == ("logs", "audit", "metrics")
    kinds = counters.read(0).family("filtered")
    assert (kinds["1"], kinds["2"], kinds["empty"]) == (5, 2, 3)
    attached.close()


def test_more_filters_than_slots_are_refused_with_the_way_out(counters: Counters) -> None:
    with pytest.raises(ValueError, match="restart shipper"):
        counters.register([], [f"rule {number}" for number in range(slots.RULES_MAX)], [])


def test_rows_do_not_touch_one_another(counters: Counters) -> None:
    for index in range(counters.workers):
        counters.row(index).add(consumed=index)
        counters.row(index).partition(1, 4_000_000 + index).set(committed=index)
    for index in range(counters.workers):
        look = counters.read(index)
        assert look["consumed"] == index
        assert [(p.topic_index, p.partition, p.committed) for p in look.partitions()] == [(1, 4_000_000 + index, index)]
    with pytest.raises(IndexError, match="worker 4"):
        counters.row(4)


def test_a_revoked_partition_takes_its_lag_with_it(counters: Counters) -> None:
    row = counters.row(0)
    kept, gone = row.partition(0, 1), row.partition(0, 2)
    kept.set(committed=10, high_watermark=15)
    gone.set(committed=0, high_watermark=1_000)
    gone.free()
    assert [(p.partition, p.lag_records) for p in counters.read(0).partitions()] == [(1, 5)]
    row.partition(0, 3)
    assert [(p.partition, p.lag_records) for p in counters.read(0).partitions()] == [(1, 5), (3, None)]


def test_lag_is_unknown_before_both_offsets_are(counters: Counters) -> None:
    block = counters.row(0).partition(0, 0)
    assert [p.lag_records for p in counters.read(0).partitions()] == [None]
    block.set(committed=3)
    assert [p.lag_records for p in counters.read(0).partitions()] == [None]
    block.set(high_watermark=2)
    assert [p.lag_records for p in counters.read(0).partitions()] == [0]


def test_a_target_survives_the_death_of_the_worker(counters: Counters) -> None:
    block = counters.row(0).partition(0, 0)
    assert block.target == -1
    block.set(committed=10, high_watermark=100, target=50)
    counters.row(0).repair()
    (left,) = counters.read(0).partitions()
    assert (left.owned, left.lag_records, left.records_to_go) == (False, 90, 40)

    again = counters.row(0).partition(0, 0)

    assert again.target == 50
    (taken,) = counters.read(0).partitions()
    assert taken.owned


def test_as_many_partitions_as_documented_fit_and_one_more_is_refused(counters: Counters) -> None:
    row = counters.row(0)
    for partition in range(slots.PARTITIONS_MAX):
        row.partition(0, partition)
    with pytest.raises(ValueError, match="start more workers"):
        row.partition(0, slots.PARTITIONS_MAX)
    assert sum(1 for _ in counters.read(0).partitions()) == slots.PARTITIONS_MAX
    assert list(counters.read(1).partitions()) == []


def test_an_error_text_is_cut_on_a_character_boundary_and_outlives_its_end(counters: Counters) -> None:
    row = counters.row(0)
    row.loki("retrying", 1_000, "é" * 200)
    assert counters.read(0).peer("loki").error == "é" * 128
    row.loki("retrying", 1_000, "a" + "é" * 200)
    assert counters.read(0).peer("loki").error == "a" + "é" * 127
    row.loki("ok", 2_000)
    look = counters.read(0).peer("loki")
    assert (look.state, look.since_ms, look.error[:2]) == ("ok", 2_000, "aé")
    assert counters.read(0).peer("kafka").error == ""


def test_times_of_pushes_fall_into_their_buckets(counters: Counters) -> None:
    row = counters.row(0)
    for duration_s in (0.001, 0.005, 0.0051, 3.0, 60.0):
        row.observe_push(duration_s)
    look = counters.read(0)
    buckets = look.family("push_latency")
    assert (buckets["0"], buckets["1"], buckets["9"], buckets["11"]) == (2, 1, 1, 1)
    assert look["push_us"] == 63_011_100


def test_every_reason_and_gauge_has_a_slot(counters: Counters) -> None:
    row = counters.row(0)
    for reason in Reason:
        row.count("dead_lettered", reason)
        row.count("malformed", reason, 2)
    row.set(in_flight_bytes=5, memory_bytes_max=6)
    look = counters.read(0)
    assert set(look.family("dead_lettered").values()) == {1}
    assert set(look.family("malformed").values()) == {2}
    assert (look["in_flight_bytes"], look["memory_bytes_max"]) == (5, 6)


def test_a_strange_descriptor_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "strange"
    path.write_bytes(b"\1" * 4096)
    with path.open("r+b") as file, pytest.raises(ValueError, match="no counters"):
        Counters.attach(file.fileno())
