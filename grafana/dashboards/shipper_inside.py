"""Inside the shipper: what it did not ship and why, its workers, its partitions; and how its metrics are asked for."""

from typing import Final

from grafana.dashboards.panels import Column, Limits, Panel, Told, curve, grid, history
from grafana.dashboards.queries import promql

OURS: Final = 'instance=~"$shipper"'
"""The shippers that are chosen."""

NO_LOSS: Final = -1
"""Stands for no time to data loss: nothing will be lost."""


def total(metric: str, *by: str, more: str = "") -> str:
    """Add a metric up."""
    return f"sum by ({', '.join(by)}) ({metric}{{{OURS}{more}}})" if by else f"sum({metric}{{{OURS}{more}}})"


def rate(metric: str, *by: str, more: str = "") -> str:
    """Give how fast a counter grows, per second."""
    inner = f"rate({metric}{{{OURS}{more}}}[$__rate_interval])"
    return f"sum by ({', '.join(by)}) ({inner})" if by else f"sum({inner})"


def grown(metric: str, *by: str) -> str:
    """Give by how much a counter has grown in the range. The shipper's are there from the start, at 0."""
    inner = f"increase({metric}{{{OURS}}}[$__range])"
    return f"sum by ({', '.join(by)}) ({inner})" if by else f"sum({inner})"


def letters() -> list[Panel]:
    """Show what was not shipped, or not as it should be."""
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
                    promql(grown("shipper_records_dead_lettered_total", "reason")),
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
                    "records", promql(grown("shipper_records_malformed_total", "reason")), "short", Limits(1, 1_000), 0
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
            [Column("records", promql(grown("shipper_records_filtered_total", "rule")), "short", decimals=0)],
            width=8,
        ),
        curve(
            Told(
                "Dead letters",
                "Per second, by reason.",
                "A step: something was released that writes what Loki refuses. See the table for what to do.",
            ),
            [promql(rate("shipper_records_dead_lettered_total", "reason"), "{{reason}}")],
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
            [promql(f"max by (label) (shipper_label_values{{{OURS}}})", "{{label}}")],
            "short",
            Limits(50, 500),
        ),
    ]


def workers() -> list[Panel]:
    """Show each worker."""
    by = ("instance", "worker")
    keys = {"instance": "shipper", "worker": "worker"}
    memory = (
        f"shipper_worker_resident_memory_bytes{{{OURS}}} / on (instance, worker) shipper_memory_max_bytes{{{OURS}}}"
    )
    cost = f"{rate('shipper_worker_cpu_seconds_total', *by)} / ({rate('shipper_records_delivered_total', *by)} > 0)"
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
                Column("up", promql(total("shipper_worker_up", *by)), "short", Limits(1, 0.5)),
                Column("restarts", promql(total("shipper_worker_restarts_total", *by)), "short", Limits(1, 5)),
                Column("heartbeat", promql(total("shipper_worker_heartbeat_age_seconds", *by)), "s", Limits(5, 10), 1),
                Column(
                    "CPU", promql(rate("shipper_worker_cpu_seconds_total", *by)), "percentunit", Limits(0.8, 0.95), 0
                ),
                Column("memory", promql(total("shipper_worker_resident_memory_bytes", *by)), "bytes"),
                Column(
                    "of its bound", promql(f"sum by (instance, worker) ({memory})"), "percentunit", Limits(0.9, 1.2), 0
                ),
                Column("in flight", promql(total("shipper_records_in_flight", *by)), "short"),
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
                promql(f"shipper_worker_resident_memory_bytes{{{OURS}}}", "{{instance}} worker {{worker}}"),
                promql(f"max(shipper_memory_max_bytes{{{OURS}}})", "bound"),
            ],
            "bytes",
        ),
        history(
            Told(
                "Worker is up",
                "Green: its process runs and its loop turns. Red: it does not.",
                "Red again and again: the shipper's log says why it ends. Killed without a word: too little memory.",
            ),
            promql(f"shipper_worker_up{{{OURS}}}", "{{instance}} worker {{worker}}"),
            "short",
            Limits(1, 0.5),
            width=24,
        ),
    ]


def partitions() -> list[Panel]:
    """Show each partition."""
    by = ("instance", "topic", "partition", "worker")
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
            {"instance": "shipper", "topic": "topic", "partition": "partition", "worker": "worker"},
            [
                Column("lag", promql(total("shipper_partition_lag_records", *by)), "short", Limits(100_000, 1_000_000)),
                Column(
                    "behind by",
                    promql(f"max by ({', '.join(by)}) (shipper_partition_lag_seconds{{{OURS}}})"),
                    "s",
                    Limits(30, 300),
                    0,
                ),
                Column("paused", promql(total("shipper_partition_paused", *by)), "short", Limits(1, 2)),
                Column("committed", promql(total("shipper_partition_committed_offset", *by)), "none"),
                Column("end", promql(total("shipper_partition_high_watermark_offset", *by)), "none"),
                Column(
                    "data loss",
                    promql(
                        f"min by ({', '.join(by)}) ({loss}{{{OURS}}}) or "
                        f"(0 * {total('shipper_partition_paused', *by)} + {NO_LOSS})"
                    ),
                    "s",
                ),
            ],
            width=24,
            height=10,
            words={"data loss": {str(NO_LOSS): ("none in sight", "green")}},
        )
    ]
