"""`shipper capacity`: a plan worked out by hand, what holds for every load, and what its users see."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from shipper.cli.app import app
from shipper.tools.capacity import Constants, Load, plan

SIMPLE = Constants(
    worker_us=2.0,
    worker_ns_per_byte=4.0,
    stream_us=10.0,
    batch_records=10_000,
    scaling=0.5,
    worker_mb=100.0,
    partition_kb=500.0,
    lz4=0.25,
    snappy=0.3,
    loki_us=5.0,
    loki_ns_per_byte=10.0,
    chunk=0.1,
    streams_per_ingester=1_000,
    ingester_cores=4,
)
SHIPPED = Constants.load()
LOADS = st.builds(
    Load,
    records_per_s=st.floats(1, 1e7),
    record_bytes=st.floats(50, 250_000),
    peak=st.floats(1, 10),
    streams=st.integers(1, 100_000),
    outage_s=st.floats(0, 86_400),
    catch_up_s=st.floats(600, 86_400),
    utilisation=st.floats(0.1, 1),
    host_cores=st.integers(2, 64),
)
# 100,000 records/s of 500 bytes, one stream: a record costs 2 + 4 · 0.5 + 10 / 10,000 = 4.001 µs.
LOAD = Load(
    records_per_s=100_000,
    record_bytes=500,
    peak=2.0,
    streams=1,
    outage_s=7_200,
    catch_up_s=3_600,
    utilisation=0.5,
    kafka_days=2,
    loki_days=30,
    kafka_copies=2,
    loki_copies=3,
    host_cores=5,
)


def test_a_plan_is_what_a_hand_makes_of_it() -> None:
    needs = {figure.name: figure.value for figure in plan(LOAD, SIMPLE).figures}
    assert needs == pytest.approx(
        {
            "busiest": 300_000,  # the outage takes twice as long as its catching up
            "cpu_per_record": 4.001,
            "workers": 5,  # 300,000 · 4.001 µs = 1.2003 cores, by 0.5 and by 0.5: 4.8012
            "partitions": 10,
            "hosts": 3,  # four workers on each, so two, and one that may fail
            "worker_memory": 101,
            "memory": 505,
            "network_in": 12.5,
            "network_out": 15,
            "kafka_disk": 100_000 * 500 * 0.25 * 2 * 86_400 * 2 / 1e9,
            "loki_cores": 18,  # 300,000 · 10 µs · 3 copies / 0.5
            "ingesters": 5,
            "s3_per_day": 432,
            "s3": 12_960,
        }
    )


@pytest.mark.parametrize(
    ("change", "grows"),
    [
        ({"records_per_s": 200_000}, ["busiest", "workers", "ingesters", "s3", "network_in"]),
        ({"record_bytes": 5_000}, ["cpu_per_record", "workers", "loki_cores", "network_out", "kafka_disk"]),
        ({"streams": 5_000}, ["cpu_per_record", "ingesters"]),
        ({"outage_s": 36_000}, ["busiest", "workers"]),
        ({"peak": 9.0}, ["busiest", "workers"]),
        ({"utilisation": 0.2}, ["workers", "loki_cores"]),
        ({"kafka_days": 9.0}, ["kafka_disk"]),
        ({"kafka_copies": 3}, ["kafka_disk"]),
        ({"loki_days": 90.0}, ["s3"]),
        ({"loki_copies": 6}, ["loki_cores", "ingesters"]),
    ],
)
def test_more_of_it_needs_more(change: dict[str, float], grows: list[str]) -> None:
    less, more = plan(LOAD, SIMPLE), plan(replace(LOAD, **change), SIMPLE)  # type: ignore[arg-type]  # whole or not
    assert [name for name in grows if more[name] <= less[name]] == []


@given(LOADS)
def test_workers_are_enough_for_the_busiest_minutes_at_the_planned_utilisation(load: Load) -> None:
    made = plan(load, SHIPPED)
    busiest = max(load.records_per_s * load.peak, load.records_per_s * (1 + load.outage_s / load.catch_up_s))
    cores = busiest * (SHIPPED.worker_us + SHIPPED.worker_ns_per_byte * load.record_bytes / 1_000) / 1e6
    scaling = SHIPPED.scaling if made["workers"] > 1 else 1.0
    assert made["workers"] * load.utilisation * scaling >= cores * 0.999
    assert made["partitions"] >= made["workers"]
    assert (made["hosts"] - 1) * max(load.host_cores - 1, 1) >= made["workers"]
    assert made["ingesters"] * SHIPPED.ingester_cores >= made["loki_cores"] * 0.999


def test_the_constants_that_come_with_it_say_when_and_where_they_were_measured() -> None:
    assert SHIPPED.worker_us > 0
    assert 0 < SHIPPED.scaling <= 1


def run(*arguments: str) -> tuple[int, str, BaseException | None]:
    done = CliRunner().invoke(app, ["capacity", *arguments])
    return done.exit_code, done.output, done.exception


def test_json_has_every_figure_with_its_unit_and_its_reason() -> None:
    code, output, _ = run("--records-per-s", "20k", "--bytes", "350", "--format", "json")
    document = json.loads(output)
    assert code == 0
    assert document["load"]["records_per_s"] == 20_000
    assert set(document["needs"]) == {figure.name for figure in plan(LOAD, SHIPPED).figures}
    assert all(set(need) == {"value", "unit", "why"} and need["why"] for need in document["needs"].values())


def test_the_table_says_what_is_needed_and_what_was_not_measured() -> None:
    code, output, _ = run("--records-per-s", "10M", "--bytes", "320", "--streams", "6000", "--kafka-retention", "1h")
    assert code == 0
    for text in ("workers", "ingesters", "object storage", "5,000 streams", "deleted unread", "not measured", "4 MB/s"):
        assert text in " ".join(output.split())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--records-per-s", "many", "--bytes", "3"), "--records-per-s"),
        (("--records-per-s", "0", "--bytes", "3"), "--records-per-s"),
        (("--records-per-s", "1", "--bytes", "3", "--outage", "soon"), "--outage"),
        (("--records-per-s", "1", "--bytes", "3", "--catch-up", "0s"), "--catch-up"),
    ],
)
def test_what_is_no_number_is_named_with_its_option(arguments: tuple[str, ...], named: str) -> None:
    code, _, error = run(*arguments)
    assert code != 0
    assert named in str(error)
