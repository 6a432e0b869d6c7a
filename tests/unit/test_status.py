"""What /status, /history and /metrics say, from counters and clocks that are passed in."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shipper.process import metrics
from shipper.process.canary import CanaryReport
from shipper.process.counters import Counters
from shipper.process.forecast import Bound, Loss
from shipper.process.history import SAMPLES_MAX, History, Rates, Sample
from shipper.process.status import Look, WorkerLook, describe, summarise, unready

NOW_MS = 1_800_000_000_000
NOW_NS = 500_000_000_000


@pytest.fixture
def counters() -> Iterator[Counters]:
    counters = Counters.create(2, ["logs", "audit"], ["health checks"], ["service"])
    for index in range(2):
        row = counters.row(index)
        row.heartbeat(NOW_NS - 1_500_000_000)
        row.loki("ok", NOW_MS - 60_000)
    yield counters
    counters.close()


def look_at(counters: Counters, **changes: object) -> Look:
    look = Look(
        now_ms=NOW_MS,
        now_ns=NOW_NS,
        rows=[counters.read(index) for index in range(counters.workers)],
        workers=[WorkerLook(index, 100 + index, "running", 0, 12.34, 5.0, 1_000_000) for index in range(2)],
        topics=counters.topics,
        rules=counters.rules,
        labels=counters.labels,
    )
    return replace(look, **changes)  # type: ignore[arg-type] # the fields that a test names


def test_the_document_has_the_names_and_nesting_of_the_interface(counters: Counters) -> None:
    counters.row(0).add(consumed=100, delivered=60, filtered=20, dead_lettered=5, in_flight=15, bytes_in=3_000)
    counters.row(1).add(consumed=10, delivered=10, bytes_out=70, pushes=2, retries=1)
    counters.row(1).partition(1, 3).set(committed=90, high_watermark=100, last_settled_timestamp_ms=NOW_MS - 2_500)
    counters.limit_pushes(0, 3)
    counters.limit_pushes(1, 2)

    losses = {("audit", 3): Loss(11_520.34, Bound.ENTRY_AGE), ("audit", 4): Loss(0.0, Bound.RETENTION_MS)}
    look = look_at(counters, losses=losses)
    document = describe(look, Rates(1_234.56, 0, 5.04), version="1.2.3", started_ms=NOW_MS - 1_000)

    assert document == {
        "version": "1.2.3",
        "started_at": "2027-01-15T07:59:59.000Z",
        "state": "running",
        "totals": {
            "consumed": 110,
            "delivered": 70,
            "filtered": 20,
            "dead_lettered": 5,
            "in_flight": 15,
            "bytes_in": 3_000,
            "bytes_out": 70,
            "pushes": 2,
            "retries": 1,
        },
        "rates": {"records_per_s": 1_234.6, "bytes_per_s": 5.0},
        "partitions": [
            {
                "topic": "audit",
                "partition": 3,
                "worker": 1,
                "committed": 90,
                "high_watermark": 100,
                "lag_records": 10,
                "lag_seconds": 2.5,
                "paused": False,
                "time_to_data_loss_s": 11_520.3,
            }
        ],
        "workers": [
            {
                "index": index,
                "pid": 100 + index,
                "state": "running",
                "restarts": 0,
                "cpu_percent": 12.3,
                "rss_bytes": 1_000_000,
                "heartbeat_age_s": 1.5,
            }
            for index in range(2)
        ],
        "loki": {"state": "ok", "last_error": None, "since": "2027-01-15T07:59:00.000Z", "push_limit": 5},
        "canary": None,
    }


CANARY = CanaryReport("audit", 3, NOW_MS - 2_500, 0.4567, 12, 10, "")


def test_the_canary_is_shown_with_the_age_that_it_has_now(counters: Counters) -> None:
    look = look_at(counters, canary=CANARY)
    assert describe(look, Rates(), version="", started_ms=0)["canary"] == {
        "freshness_s": 2.5,
        "topic": "audit",
        "partition": 3,
        "latency_s": 0.457,
        "written": 12,
        "seen": 10,
        "last_error": None,
    }
    later = replace(look, now_ms=NOW_MS + 60_000)
    assert describe(later, Rates(), version="", started_ms=0)["canary"]["freshness_s"] == 62.5
    unseen = replace(look, canary=CANARY._replace(latency_s=None, error="no Loki"))
    shown = describe(unseen, Rates(), version="", started_ms=0)["canary"]
    assert (shown["latency_s"], shown["last_error"]) == (None, "no Loki")


def test_records_that_a_dead_worker_had_in_flight_are_not_counted_twice(counters: Counters) -> None:
    row = counters.row(0)
    row.add(consumed=100, delivered=40, in_flight=60)
    row.repair()
    row.add(consumed=60, delivered=60)
    totals = describe(look_at(counters), Rates(), version="", started_ms=0)["totals"]
    assert (totals["consumed"], totals["delivered"], totals["in_flight"]) == (100, 100, 0)


def test_lag_in_seconds_is_0_without_lag_and_unknown_without_a_timestamp(counters: Counters) -> None:
    row = counters.row(0)
    row.partition(0, 0).set(committed=5, high_watermark=5, last_settled_timestamp_ms=1)
    row.partition(0, 1).set(committed=4, high_watermark=5)
    row.partition(0, 2)
    row.partition(0, 3).set(committed=4, high_watermark=5, last_settled_timestamp_ms=NOW_MS + 5_000)
    partitions = describe(look_at(counters), Rates(), version="", started_ms=0)["partitions"]
    assert {p["time_to_data_loss_s"] for p in partitions} == {None}
    assert [(p["lag_records"], p["lag_seconds"]) for p in partitions] == [(0, 0.0), (1, None), (None, None), (1, 0.0)]


def test_lag_in_seconds_is_the_age_of_what_waits_however_long_nothing_came_before(counters: Counters) -> None:
    row = counters.row(0)
    hours_ago = NOW_MS - 7_200_000
    for partition, oldest_ms in enumerate((NOW_MS - 800, hours_ago - 5_000, -1)):
        row.partition(0, partition).set(
            committed=4, high_watermark=5, last_settled_timestamp_ms=hours_ago, oldest_timestamp_ms=oldest_ms
        )
    partitions = describe(look_at(counters), Rates(), version="", started_ms=0)["partitions"]
    assert [p["lag_seconds"] for p in partitions] == [0.8, 7_205.0, 7_200.0]


def test_a_partition_is_shown_once_with_the_worker_that_has_it_now(counters: Counters) -> None:
    for partition in (0, 1):
        counters.row(0).partition(0, partition).set(committed=1, high_watermark=9)
    counters.row(0).repair()
    counters.row(1).partition(0, 0).set(committed=3, high_watermark=9)
    dead, alive = WorkerLook(0, None, "restarting", 1), WorkerLook(1, 101, "running", 0)

    both = look_at(counters, workers=[dead, alive]).partitions()
    assert [(place.look.partition, place.worker, place.look.lag_records) for place in both] == [(0, 1, 6), (1, 0, 8)]
    # Once the worker runs again, what it was not given again is another host's.
    later = look_at(counters, workers=[replace(dead, state="running"), alive]).partitions()
    assert [(place.look.partition, place.worker) for place in later] == [(0, 1)]


@pytest.mark.parametrize(
    ("states", "draining", "state"),
    [
        (("running", "running"), False, "running"),
        (("running", "done"), False, "running"),
        (("running", "starting"), False, "starting"),
        (("running", "restarting"), False, "degraded"),
        (("starting", "draining"), False, "degraded"),
        (("stopped", "draining"), True, "draining"),
        ((), False, "starting"),
    ],
)
def test_the_state_follows_from_the_workers(
    counters: Counters,
    states: tuple[str, ...],
    draining: bool,  # noqa: FBT001 - a table's column
    state: str,
) -> None:
    workers = [WorkerLook(index, 1, worker, 0) for index, worker in enumerate(states)]  # type: ignore[arg-type] # literals
    look = look_at(counters, workers=workers, draining=draining)
    assert look.state == state
    assert bool(unready(look)) == (state != "running") or not states


def test_loki_is_seen_as_by_the_worker_that_sees_it_worst(counters: Counters) -> None:
    counters.row(0).loki("retrying", NOW_MS - 9_000, "503")
    counters.row(1).loki("refusing", NOW_MS - 2_000, "401 for tenant a")
    look = look_at(counters)
    loki = describe(look, Rates(), version="", started_ms=0)["loki"]
    assert loki == {
        "state": "refusing",
        "last_error": "401 for tenant a",
        "since": "2027-01-15T07:59:58.000Z",
        "push_limit": 0,
    }
    assert look.state == "degraded"
    assert unready(look) == ["Loki refuses: 401 for tenant a"]


def test_kafka_away_is_unready_with_its_reason(counters: Counters) -> None:
    counters.row(1).kafka("retrying", NOW_MS, "no broker")
    assert unready(look_at(counters)) == ["Kafka does not answer as it should: no broker"]


def test_rates_are_those_of_the_last_ten_seconds() -> None:
    history = History()
    assert history.rates() == Rates()
    for second in range(30):
        consumed = 100 * min(second, 20)
        history.record(Sample(second * 10**9, second * 1_000, consumed, consumed // 2, consumed * 300, 7, 1, 50.0, 10))
    # From second 19 to second 29: 1,900 → 2,000 records.
    assert history.rates() == Rates(10.0, 5.0, 3_000.0)


def test_history_is_bounded_and_goes_on_where_the_caller_left_off() -> None:
    history = History()
    for second in range(SAMPLES_MAX + 100):
        history.record(Sample(second * 10**9, second * 1_000, second * 10, second * 9, 0, second, 1, 50.0, 10))
    columns = history.columns()
    assert {len(column) for column in columns.values()} == {SAMPLES_MAX - 1}
    assert set(columns["records_per_s"]) == {10.0}
    newest = history.columns(since_ms=int(columns["t"][-3]))
    assert newest["t"] == columns["t"][-2:]
    assert newest["lag_records"] == [SAMPLES_MAX + 98, SAMPLES_MAX + 99]


def test_a_sample_sums_over_workers_and_keeps_growing_through_a_crash(counters: Counters) -> None:
    row = counters.row(0)
    row.add(consumed=100, delivered=40, in_flight=60)
    row.partition(0, 0).set(committed=40, high_watermark=140)
    counters.row(1).partition(0, 1).set(committed=40, high_watermark=45)
    before = summarise(look_at(counters))
    row.repair()
    after = summarise(look_at(counters))
    assert (before.lag_records, before.in_flight, before.rss_bytes) == (105, 60, 2_000_000)
    assert before.cpu_percent == pytest.approx(24.68)
    assert after.consumed >= before.consumed


def test_metrics_are_prometheus_text_with_the_same_numbers(counters: Counters) -> None:
    row = counters.row(1)
    row.add(consumed=100, delivered=60, filtered=20, dead_lettered=5, in_flight=15, prepare_ns=2_500_000_000)
    row.count("filtered", "health checks", 20)
    row.count("dead_lettered", "too_old", 5)
    row.count("pushes", "rate_limited")
    row.observe_push(0.02)
    row.observe_push(30.0)
    row.partition(1, 3).set(committed=90, high_watermark=100, last_settled_timestamp_ms=NOW_MS - 2_500)
    counters.row(0).partition(0, 1)

    look = look_at(counters, losses={("audit", 3): Loss(11_520.34, Bound.ENTRY_AGE)}, canary=CANARY)
    text = metrics.render(look, version="1.2.3", started_ms=NOW_MS).decode()
    order = ("version", "topic", "partition", "worker", "rule", "reason", "outcome", "state", "le")
    samples = {
        (sample.name, tuple(sample.labels[label] for label in order if label in sample.labels)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    assert samples["shipper_info", ("1.2.3",)] == 1
    assert samples["shipper_records_consumed_total", ("1",)] == 100
    assert samples["shipper_records_filtered_total", ("1", "health checks")] == 20
    assert samples["shipper_records_dead_lettered_total", ("1", "too_old")] == 5
    assert samples["shipper_pushes_total", ("1", "rate_limited")] == 1
    assert samples["shipper_prepare_seconds_total", ("1",)] == 2.5
    assert samples["shipper_push_duration_seconds_bucket", ("1", "0.025")] == 1
    assert samples["shipper_push_duration_seconds_bucket", ("1", "+Inf")] == 2
    assert samples["shipper_push_duration_seconds_count", ("1",)] == 2
    assert samples["shipper_push_duration_seconds_sum", ("1",)] == pytest.approx(30.02)
    assert samples["shipper_partition_lag_records", ("audit", "3", "1")] == 10
    assert samples["shipper_partition_lag_seconds", ("audit", "3", "1")] == 2.5
    assert ("shipper_partition_lag_records", ("logs", "1", "0")) not in samples
    assert samples["shipper_partition_time_to_data_loss_seconds", ("audit", "3", "1")] == 11_520.34
    assert ("shipper_partition_time_to_data_loss_seconds", ("logs", "1", "0")) not in samples
    assert samples["shipper_worker_heartbeat_age_seconds", ("0",)] == 1.5
    assert samples["shipper_canary_freshness_seconds", ()] == 2.5
    assert samples["shipper_canary_latency_seconds", ()] == 0.4567
    assert samples["shipper_loki_state", ("ok",)] == 1
    assert samples["shipper_state", ("degraded",)] == 0


def test_every_metric_is_documented_and_every_documented_metric_is_there(counters: Counters) -> None:
    counters.row(0).partition(0, 0).set(committed=1, high_watermark=2, last_settled_timestamp_ms=NOW_MS)
    look = look_at(counters, losses={("logs", 0): Loss(60.0, Bound.ENTRY_AGE)}, canary=CANARY)
    text = metrics.render(look, version="1", started_ms=NOW_MS).decode()
    assert set(re.findall(r"^# HELP (\S+) \S", text, re.MULTILINE)) == {metric.name for metric in metrics.METRICS}
    for family in text_string_to_metric_families(text):
        assert family.samples, family.name
        (described,) = (metric for metric in metrics.METRICS if metric.name.removesuffix("_total") == family.name)
        assert described.kind == family.type
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(described.labels)
    document = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert document.read_text() == metrics.document(), "run: python -m shipper.process.metrics > docs/metrics.md"
