"""The shipper: are the logs in Loki, how late, is anything lost, and what does it cost?

docs/metrics.md says what each metric is.
"""

from typing import Final

from grafana.dashboards import shipper_inside as inside
from grafana.dashboards.board import Board, Section, metric_choice
from grafana.dashboards.names import SHIPPER
from grafana.dashboards.panels import Limits, Panel, Told, curve, number
from grafana.dashboards.queries import promql
from grafana.dashboards.shipper_inside import NO_LOSS, OURS, rate, total

_STATES: Final = {"0": ("ok", "green"), "1": ("retrying", "yellow"), "2": ("refusing", "red")}


def _seen(peer: str, refusing_means: str, way_out: str) -> Panel:
    """Make the panel of how a peer is seen: its worst state, as a number that is its place in `_STATES`."""
    refusing, retrying = (
        f'shipper_{peer.lower()}_state{{{OURS}, state="{state}"}}' for state in ("refusing", "retrying")
    )
    return number(
        Told(peer, f"How {peer} is seen: `ok`, yellow `retrying`, or red `refusing` ({refusing_means}).", way_out),
        promql(f"max(2 * {refusing} + ignoring(state) {retrying})", peer),
        "short",
        Limits(1, 2),
        words=_STATES,
        width=3,
    )


def _all_right() -> list[Panel]:
    loss = f"min(shipper_partition_time_to_data_loss_seconds{{{OURS}}})"
    return [
        number(
            Told(
                "Shippers",
                "How many Prometheus reaches. Red: none.",
                "Fewer than you run: one is down, or Prometheus cannot reach its status address.",
            ),
            promql(f"count(shipper_info{{{OURS}}}) or vector(0)"),
            "short",
            Limits(1, 0.5),
            width=3,
        ),
        _seen("Kafka", "no permission, no such topic", "`shipper check` says what is wrong, and the way out."),
        _seen(
            "Loki",
            "it takes nothing as we send it",
            "Nothing is lost while Kafka keeps the records: see the time to data loss. Then Loki's dashboard, and "
            "`shipper check`.",
        ),
        number(
            Told(
                "Freshness",
                "Age of the newest line of our own that Loki shows (the canary). Yellow from 30 s, red from 5 min. "
                "Without `canary.every_s` in the configuration there is no number.",
                "Compare it with the lag. Both high: the shipper is behind. Only this: Loki takes lines and does not "
                "show them.",
            ),
            promql(f"max(shipper_canary_freshness_seconds{{{OURS}}})"),
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
            promql(total("shipper_partition_lag_records")),
            "short",
            Limits(100_000, 1_000_000),
            width=3,
        ),
        number(
            Told(
                "Behind by",
                "Age of the oldest record that is not settled yet; 0 when all are. Yellow from 30 s, red from 5 min.",
                "As for the lag. One partition alone: see the table of partitions.",
            ),
            promql(f"max(shipper_partition_lag_seconds{{{OURS}}})"),
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
            promql(f"{loss} or (0 * count(shipper_info{{{OURS}}}) + {NO_LOSS})"),
            "s",
            Limits(86_400, 14_400),
            words={str(NO_LOSS): ("none in sight", "green")},
            width=3,
        ),
        number(
            Told(
                "Lost",
                "Records that Kafka deleted before they were read, since the shipper started. Anything but 0 is bad.",
                "They are gone. The shipper's log has their offsets; give Kafka more retention before it goes on.",
            ),
            promql(total("shipper_records_lost_to_retention_total")),
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
                promql(rate(f"shipper_records_{what}_total"), what.replace("_", "-"))
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
                promql(rate("shipper_received_bytes_total"), "from Kafka"),
                promql(rate("shipper_sent_bytes_total"), "to Loki"),
            ],
            "Bps",
        ),
        curve(
            Told(
                "Lag by partition",
                "Records not settled yet.",
                "All grow: the shipper is too slow, or Loki. One: a worker that hangs, or entries that Loki refuses.",
            ),
            [promql(total("shipper_partition_lag_records", "topic", "partition"), "{{topic}}/{{partition}}")],
            "short",
            Limits(100_000, 1_000_000),
        ),
        curve(
            Told(
                "Freshness and lag in time",
                "Age of the newest canary in Loki; age of the oldest record that is not settled yet. The lines are "
                "30 s and 5 min.",
                "They rise by a second per second: nothing arrives. They go up and down: too slow at peaks only.",
            ),
            [
                promql(f"max(shipper_partition_lag_seconds{{{OURS}}})", "lag"),
                promql(f"max(shipper_canary_freshness_seconds{{{OURS}}})", "freshness"),
            ],
            "s",
            Limits(30, 300),
        ),
    ]


def _pushes() -> list[Panel]:
    buckets = rate("shipper_push_duration_seconds_bucket", "le")
    return [
        curve(
            Told(
                "Pushes by outcome",
                "Push requests per second. Only `delivered` is good; all others are sent again, and nothing is lost.",
                "`rate_limited`: raise Loki's limits. `unauthorized`: the credentials. `connection`, `timeout`, "
                "`server_error`: Loki's dashboard. `refused_entries`: see the dead letters.",
            ),
            [promql(rate("shipper_pushes_total", "outcome"), "{{outcome}}")],
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
            [promql(f"shipper_push_limit{{{OURS}}}", "{{instance}} worker {{worker}}")],
            "short",
        ),
        curve(
            Told(
                "Sent again",
                "Push requests per second that were sent again.",
                "They are explained by the outcomes beside.",
            ),
            [promql(rate("shipper_push_retries_total", "instance"), "{{instance}}")],
            "reqps",
        ),
    ]


BOARD: Final = Board(
    uid=SHIPPER,
    title="Logs: shipper",
    purpose="Are the logs in Loki, how late, is anything lost or refused, and what does it cost?",
    sections=(
        Section("Is all right?", _all_right()),
        Section("Flow", _flow()),
        Section("Pushes to Loki", _pushes()),
        Section("What was not shipped", inside.letters()),
        Section("Workers", inside.workers()),
        Section("Partitions", inside.partitions()),
    ),
    variables=(metric_choice("shipper", "Shipper", "instance", "shipper_info"),),
    refresh="10s",
)
