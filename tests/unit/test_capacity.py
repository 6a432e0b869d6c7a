"""`shipper capacity`: what holds for every load, and what its users see."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from shipper.cli.app import app
from shipper.tools.capacity import Constants, Load, plan

CONSTANTS = Constants.load()
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


@given(LOADS)
def test_workers_are_enough_for_the_busiest_minutes_at_the_planned_utilisation(load: Load) -> None:
    made = plan(load, CONSTANTS)
    cores_used = made["busiest"] * made["cpu_per_record"] / 1e6
    assert made["workers"] * load.utilisation >= cores_used * 0.999
    assert made["busiest"] >= load.records_per_s * load.peak * 0.999
    assert made["partitions"] >= made["workers"]
    assert made["hosts"] >= 2
    assert made["ingesters"] * CONSTANTS.ingester_cores >= made["loki_cores"] * 0.999


@given(LOADS, st.floats(1, 10))
def test_more_of_anything_never_needs_less(load: Load, factor: float) -> None:
    less = plan(load, CONSTANTS)
    for more in (
        replace(load, records_per_s=load.records_per_s * factor),
        replace(load, record_bytes=load.record_bytes * factor),
        replace(load, outage_s=load.outage_s * factor),
        replace(load, loki_days=load.loki_days * factor),
    ):
        made = plan(more, CONSTANTS)
        for name in ("workers", "partitions", "hosts", "memory", "ingesters", "s3", "kafka_disk", "network_out"):
            assert made[name] >= less[name] * 0.999, name


def run(*arguments: str) -> tuple[int, str, BaseException | None]:
    done = CliRunner().invoke(app, ["capacity", *arguments])
    return done.exit_code, done.output, done.exception


def test_json_has_every_figure_with_its_unit_and_its_reason() -> None:
    code, output, _ = run("--records-per-s", "20k", "--bytes", "350", "--format", "json")
    document = json.loads(output)
    assert code == 0
    assert document["load"]["records_per_s"] == 20_000
    assert set(document["needs"]) == {figure.name for figure in plan(Load(1, 1), CONSTANTS).figures}
    assert all(set(need) == {"value", "unit", "why"} and need["why"] for need in document["needs"].values())


def test_the_table_says_what_is_needed_and_what_was_not_measured() -> None:
    code, output, _ = run("--records-per-s", "10M", "--bytes", "320", "--streams", "6000", "--kafka-retention", "1h")
    assert code == 0
    for text in ("workers", "ingesters", "object storage", "5,000 streams", "deleted unread", "not measured"):
        assert text in " ".join(output.split())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--records-per-s", "many", "--bytes", "3"), "--records-per-s"),
        (("--records-per-s", "0", "--bytes", "3"), "--records-per-s"),
        (("--records-per-s", "1", "--bytes", "3", "--outage", "soon"), "--outage"),
    ],
)
def test_what_is_no_number_is_named_with_its_option(arguments: tuple[str, ...], named: str) -> None:
    code, _, error = run(*arguments)
    assert code != 0
    assert named in str(error)
