"""The shipper: are the logs in Loki, how late, is anything lost, and what does it cost?

docs/metrics.md says what each metric is.
"""

from typing import Final

from grafana.dashboards.board import Board, Section, metric_choice
from grafana.dashboards.names import SHIPPER
from grafana.dashboards.panels import Column, Limits, Panel, Told, curve, grid, history, number
from grafana.dashboards.queries import Query, promql

_OURS: Final = 'instance=~"$shipper"'
_STATES: Final = {"0": ("ok", "green"), "1": ("retrying", "yellow"), "2": ("refusing", "red")}
_NO_LOSS: Final = -1


def _sum(metric: str, *by: str, more: str = "") -> str:
    return f"sum by ({', '.join(by)}) ({metric}{{{_OURS}{more}}})" if by else f"sum({metric}{{{_OURS}{more}}})"


def _rate(metric: str, *by: str, more: str = "") -> str:
    inner = f"rate({metric}{{{_OURS}{more}}}[$__rate_interval])"
    return f"sum by ({', '.join(by)}) ({inner})" if by else f"sum({inner})"


def _grown(metric: str, *by: str) -> str:
    inner = f"increase({metric}{{{_OURS}}}[$__range])"
    return f"sum by ({', '.join(by)}) ({inner})" if by else f"sum({inner})"


def _state(peer: str) -> Query:
    """Give the worst state of a peer as a number: its place in `_STATES`."""
    refusing = f'2 * max(shipper_{peer}_state{{{_OURS}, state="refusing"}})'
    return promql(f'{refusing} + max(shipper_{peer}_state{{{_OURS}, state="retrying"}})', peer.capitalize())


def _all_right() -> list[Panel]:
    loss = f"min(shipper_partition_time_to_data_loss_seconds{{{_OURS}}})"
    return [
        number(
            Told(
                "Shippers",
                "How many Prometheus reaches. Red: none.",
                "Fewer than you run: one is down, or Prometheus cannot reach its status address.",
            ),
            promql(f"count(shipper_info{{{_OURS}}})"),
            "short",
            Limits(1, 0.5),
            width=3,
        ),
        number(
            Told(
                "Kafka",
                "How Kafka is seen: `ok`, yellow `retrying`, or red `refusing` (no permission, no such topic).",
                "`shipper check` says what is wrong, and the way out.",
            ),
            _state("kafka"),
            "short",
            Limits(1, 2),
            words=_STATES,
            width=3,
        ),
        number(
            Told(
                "Loki",
                "How Loki is seen: `ok`, yellow `retrying`, or red `refusing` (it takes nothing as we send it).",
                "Nothing is lost while Kafka keeps the records: see the time to data loss. Then Loki's dashboard, and "
                "`shipper check`.",
            ),
            _state("loki"),
            "short",
            Limits(1, 2),
            words=_STATES,
            width=3,
        ),
        number(
            Told(
                "Freshness",
                "Age of the newest line of our own that Loki shows (the canary). Yellow from 30 s, red from 5 min. "
                "Without `canary.every_s` in the configuration there is no number.",
                "Compare it with the lag. Both high: the shipper is behind. Only this: Loki takes lines and does not "
                "show them.",
            ),
            promql(f"max(shipper_canary_freshness_seconds{{{_OURS}}})"),
            "s",
            Limits(30, 300),
            width=3,
            decimals=0,
        ),
        number(
            Told(
                "Lag",
                "Records in Kafka that are not settled yet. Yellow from 100,000, red from 1,000,000.",
                "Growing: the shipper is slower than the services. See pushes for Loki refusing, CPU for too few "
                "workers; `shipper capacity` says how many.",
            ),
            promql(_sum("shipper_partition_lag_records")),
            "short",
            Limits(100_000, 1_000_000),
            width=3,
        ),
        number(
            Told(
                "Behind by",
                "Age of the last settled record, where it is the oldest. Yellow from 30 s, red from 5 min.",
                "As for the lag. One partition alone: see the table of partitions.",
            ),
            promql(f"max(shipper_partition_lag_seconds{{{_OURS}}})"),
            "s",
            Limits(30, 300),
            width=3,
            decimals=0,
        ),
        number(
            Told(
                "Time to data loss",
                "Time until Kafka deletes a record that was not shipped, if all goes on as in the last minutes. "
                "Yellow below a day, red below 4 h.",
                "Make Kafka keep more (`retention.ms`, `retention.bytes` of the topic), then see why the shipper is "
                "behind.",
            ),
            promql(f"{loss} or (0 * count(shipper_info{{{_OURS}}}) + {_NO_LOSS})"),
            "s",
            Limits(86_400, 14_400),
            words={str(_NO_LOSS): ("none in sight", "green")},
            width=3,
        ),
        number(
            Told(
                "Lost",
                "Records that Kafka deleted before they were read, since the shipper started. Anything but 0 is bad.",
                "They are gone. The shipper's log has their offsets; give Kafka more retention before it goes on.",
            ),
            promql(_sum("shipper_records_lost_to_retention_total")),
            "short",
            Limits(1, 1),
            width=3,
        ),
    ]


def _flow() -> list[Panel]:
    return [
        curve(
            Told(
                "Records",
                "Per second: taken from Kafka, acknowledged by Loki, left out by a filter, dead-lettered.",
                "Consumed without delivered: Loki does not take them, see the pushes. None consumed while there is "
                "lag: see the workers.",
            ),
            [
                promql(_rate(f"shipper_records_{what}_total"), what.replace("_", "-"))
                for what in ("consumed", "delivered", "filtered", "dead_lettered")
            ],
            "cps",
        ),
        curve(
            Told(
                "Bytes",
                "Per second: values taken from Kafka, and what was sent to Loki, compressed.",
                "Sent near to received: lines that do not compress, or many pushes that are sent again.",
            ),
            [
                promql(_rate("shipper_received_bytes_total"), "from Kafka"),
                promql(_rate("shipper_sent_bytes_total"), "to Loki"),
            ],
            "Bps",
        ),
        curve(
            Told(
                "Lag by partition",
                "Records not settled yet.",
                "All grow: the shipper is too slow, or Loki. One: a worker that hangs, or entries that Loki refuses.",
            ),
            [promql(_sum("shipper_partition_lag_records", "topic", "partition"), "{{topic}}/{{partition}}")],
            "short",
            Limits(100_000, 1_000_000),
        ),
        curve(
            Told(
                "Freshness and lag in time",
                "Age of the newest canary in Loki; age of the last settled record. The lines are 30 s and 5 min.",
                "They rise by a second per second: nothing arrives. They go up and down: too slow at peaks only.",
            ),
            [
                promql(f"max(shipper_partition_lag_seconds{{{_OURS}}})", "lag"),
                promql(f"max(shipper_canary_freshness_seconds{{{_OURS}}})", "freshness"),
            ],
            "s",
            Limits(30, 300),
        ),
    ]


def _pushes() -> list[Panel]:
    buckets = _rate("shipper_push_duration_seconds_bucket", "le")
    return [
        curve(
            Told(
                "Pushes by outcome",
                "Push requests per second. Only `delivered` is good; all others are sent again, and nothing is lost.",
                "`rate_limited`: raise Loki's limits. `unauthorized`: the credentials. `connection`, `timeout`, "
                "`server_error`: Loki's dashboard. `refused_entries`: see the dead letters.",
            ),
            [promql(_rate("shipper_pushes_total", "outcome"), "{{outcome}}")],
            "reqps",
            stacked=True,
        ),
        curve(
            Told(
                "How long pushes take",
                "Half, 95 and 99 of 100 pushes were answered within this time. The lines are 1 s and 5 s.",
                "Loki is overloaded: its dashboard. The push limit beside falls by itself.",
            ),
            [
                promql(f"histogram_quantile({at}, {buckets})", name)
                for at, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
            ],
            "s",
            Limits(1, 5),
        ),
        curve(
            Told(
                "Pushes at once, at most",
                "What each worker allows itself; it falls while Loki is busy.",
                "At 1 for long: Loki is busy all the time.",
            ),
            [promql(f"shipper_push_limit{{{_OURS}}}", "{{instance}} worker {{worker}}")],
            "short",
        ),
        curve(
            Told(
                "Sent again",
                "Push requests per second that were sent again.",
                "They are explained by the outcomes beside.",
            ),
            [promql(_rate("shipper_push_retries_total", "instance"), "{{instance}}")],
            "reqps",
        ),
    ]


def _letters() -> list[Panel]:
    return [
        grid(
            Told(
                "Dead letters by reason",
                "Records in the range that Loki can never take; they lie in the dead letter topic. Yellow from 1, red "
                "from 100.",
                "`shipper dlq list` shows them, docs/log-format.md explains the reasons. `too_new`, `too_old`: a "
                "service's clock is wrong. When the cause is mended, `shipper dlq redrive` puts them back.",
            ),
            {"reason": "reason"},
            [
                Column(
                    "records",
                    promql(_grown("shipper_records_dead_lettered_total", "reason")),
                    "short",
                    Limits(1, 100),
                    0,
                )
            ],
            width=8,
        ),
        grid(
            Told(
                "Malformed by reason",
                "Records in the range that are no JSON object: shipped as they came, with service `unknown`.",
                "Look at them in the explorer (`What is no JSON`): a line says who wrote it. That service "
                "prints to the topic past its library.",
            ),
            {"reason": "reason"},
            [
                Column(
                    "records", promql(_grown("shipper_records_malformed_total", "reason")), "short", Limits(1, 1_000), 0
                )
            ],
            width=8,
        ),
        grid(
            Told(
                "Filtered by rule",
                "Records in the range that a rule of the configuration left out. The rule without a name: records "
                "without a value.",
                "More than you meant: the rule fits too much. `shipper check` reads the configuration.",
            ),
            {"rule": "rule"},
            [Column("records", promql(_grown("shipper_records_filtered_total", "rule")), "short", decimals=0)],
            width=8,
        ),
        curve(
            Told(
                "Dead letters",
                "Per second, by reason.",
                "A step: something was released that writes what Loki refuses. See the table for what to do.",
            ),
            [promql(_rate("shipper_records_dead_lettered_total", "reason"), "{{reason}}")],
            "cps",
            stacked=True,
        ),
        curve(
            Told(
                "Values of labels",
                "Distinct values of each label since a worker started; each makes streams in Loki. The lines are 50 "
                "and 500.",
                "A label that grows holds something that has no end: take it out of `[labels]`, into "
                "`[structured_metadata]`.",
            ),
            [promql(f"max by (label) (shipper_label_values{{{_OURS}}})", "{{label}}")],
            "short",
            Limits(50, 500),
        ),
    ]


def _workers() -> list[Panel]:
    by = ("instance", "worker")
    keys = {"instance": "shipper", "worker": "worker"}
    memory = (
        f"shipper_worker_resident_memory_bytes{{{_OURS}}} / on (instance, worker) shipper_memory_max_bytes{{{_OURS}}}"
    )
    cost = f"{_rate('shipper_worker_cpu_seconds_total', *by)} / ({_rate('shipper_records_delivered_total', *by)} > 0)"
    return [
        grid(
            Told(
                "Workers",
                "Each worker now. Heartbeat: time since its loop turned last. Memory: of its bound.",
                "Down, or a heartbeat of more than 10 s: it is restarted by itself; if it comes again, the "
                "shipper's log says where it hangs. Memory over its bound: raise `workers.memory_bytes_max`, or see "
                "what holds pushes up.",
            ),
            keys,
            [
                Column("up", promql(_sum("shipper_worker_up", *by)), "short", Limits(1, 0.5)),
                Column("restarts", promql(_sum("shipper_worker_restarts_total", *by)), "short", Limits(1, 5)),
                Column("heartbeat", promql(_sum("shipper_worker_heartbeat_age_seconds", *by)), "s", Limits(5, 10), 1),
                Column(
                    "CPU", promql(_rate("shipper_worker_cpu_seconds_total", *by)), "percentunit", Limits(0.8, 0.95), 0
                ),
                Column("memory", promql(_sum("shipper_worker_resident_memory_bytes", *by)), "bytes"),
                Column(
                    "of its bound", promql(f"sum by (instance, worker) ({memory})"), "percentunit", Limits(0.9, 1.2), 0
                ),
                Column("in flight", promql(_sum("shipper_records_in_flight", *by)), "short"),
            ],
            width=24,
        ),
        curve(
            Told(
                "CPU per record",
                "Processor time of a worker for each record that Loki took. The lines are 10 µs and 50 µs.",
                "It rises with few records: the fixed cost shows, that is no harm. At full load: lines became larger, "
                "or pushes are sent again.",
            ),
            [promql(cost, "{{instance}} worker {{worker}}")],
            "s",
            Limits(10e-6, 50e-6),
        ),
        curve(
            Told(
                "Memory against its bound",
                "Resident memory of each worker, and the bound (`workers.memory_bytes_max`).",
                "Over the bound for long: see Workers.",
            ),
            [
                promql(f"shipper_worker_resident_memory_bytes{{{_OURS}}}", "{{instance}} worker {{worker}}"),
                promql(f"max(shipper_memory_max_bytes{{{_OURS}}})", "bound"),
            ],
            "bytes",
        ),
        history(
            Told(
                "Worker is up",
                "Green: its process runs and its loop turns. Red: it does not.",
                "Red again and again: the shipper's log says why it ends. Killed without a word: too little memory.",
            ),
            promql(f"shipper_worker_up{{{_OURS}}}", "{{instance}} worker {{worker}}"),
            "short",
            Limits(1, 0.5),
            width=24,
        ),
    ]


def _partitions() -> list[Panel]:
    by = ("topic", "partition", "worker")
    loss = "shipper_partition_time_to_data_loss_seconds"
    return [
        grid(
            Told(
                "Partitions",
                "Each partition now. Paused: its worker takes no more of it for the moment. Data loss: time until "
                "Kafka deletes what was not shipped.",
                "One lags while others do not: entries that Loki refuses hold it up, or its worker hangs. All lag: "
                "more workers, or a faster Loki.",
            ),
            {"topic": "topic", "partition": "partition", "worker": "worker"},
            [
                Column("lag", promql(_sum("shipper_partition_lag_records", *by)), "short", Limits(100_000, 1_000_000)),
                Column("behind by", promql(_sum("shipper_partition_lag_seconds", *by)), "s", Limits(30, 300), 0),
                Column("paused", promql(_sum("shipper_partition_paused", *by)), "short", Limits(1, 2)),
                Column("committed", promql(_sum("shipper_partition_committed_offset", *by)), "none"),
                Column("end", promql(_sum("shipper_partition_high_watermark_offset", *by)), "none"),
                Column(
                    "data loss",
                    promql(
                        f"min by ({', '.join(by)}) ({loss}{{{_OURS}}}) or "
                        f"(0 * {_sum('shipper_partition_paused', *by)} + {_NO_LOSS})"
                    ),
                    "s",
                ),
            ],
            width=24,
            height=10,
            words={"data loss": {str(_NO_LOSS): ("none in sight", "green")}},
        )
    ]


BOARD: Final = Board(
    uid=SHIPPER,
    title="Logs: shipper",
    purpose="Are the logs in Loki, how late, is anything lost or refused, and what does it cost?",
    sections=(
        Section("Is all right?", _all_right()),
        Section("Flow", _flow()),
        Section("Pushes to Loki", _pushes()),
        Section("What was not shipped", _letters()),
        Section("Workers", _workers()),
        Section("Partitions", _partitions()),
    ),
    variables=(metric_choice("shipper", "Shipper", "instance", "shipper_info"),),
    refresh="10s",
)
