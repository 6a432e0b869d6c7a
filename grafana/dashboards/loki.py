"""Loki itself: does it take what is pushed, answer what is asked, and have room for it?"""

from typing import Final

from grafana.dashboards.board import Board, Section, metric_choice
from grafana.dashboards.names import LOKI
from grafana.dashboards.panels import Column, Limits, Panel, Told, curve, grid, number
from grafana.dashboards.queries import promql

_OURS: Final = 'instance=~"$instance"'
_PUSH: Final = 'route="loki_api_v1_push"'
_ASKED: Final = 'route=~"loki_api_v1_(query|query_range|labels|label_name_values|series)"'


def _rate(metric: str, *by: str, more: str = "") -> str:
    inner = f"rate({metric}{{{_OURS}{more}}}[$__rate_interval])"
    return f"sum by ({', '.join(by)}) ({inner})" if by else f"sum({inner})"


def _grown(metric: str, *, more: str = "") -> str:
    """Count over the range; 0 where Loki runs and has not counted such a thing yet, nothing where it is not seen."""
    return _or_none_yet(f"sum(increase({metric}{{{_OURS}{more}}}[$__range]))")


def _or_none_yet(counted: str) -> str:
    return f"{counted} or 0 * count(loki_build_info{{{_OURS}}})"


def _of_process(metric: str) -> str:
    """A metric that every Go program has: only of those that are a Loki."""
    return f"{metric} * on (instance, job) group_left loki_build_info{{{_OURS}}}"


def _all_right() -> list[Panel]:
    failed = _rate("loki_request_duration_seconds_count", more=f', {_PUSH}, status_code=~"5.."')
    all_ = _rate("loki_request_duration_seconds_count", more=f", {_PUSH}")
    return [
        number(
            Told(
                "Processes",
                "How many processes of Loki Prometheus reaches. Red: none.",
                "Fewer than you run: one is down. The shipper waits, Kafka keeps the records.",
            ),
            promql(f"count(loki_build_info{{{_OURS}}}) or vector(0)"),
            "short",
            Limits(1, 0.5),
        ),
        number(
            Told(
                "Failed pushes",
                "Share of push requests answered with 5xx, now. Yellow from 1 %, red from 5 %.",
                "Loki's own log says why: a disk that is full, a store that does not answer, too little memory.",
            ),
            promql(f"({failed} or 0 * {all_}) / ({all_} > 0)"),
            "percentunit",
            Limits(0.01, 0.05),
            decimals=2,
        ),
        number(
            Told(
                "Refused lines",
                "Lines that Loki has not taken since it started: over a limit, too old, too far behind. Yellow from 1, "
                "red from 1,000.",
                "See the reasons below. The shipper finds them and puts them into the dead letter topic; other writers "
                "lose them.",
            ),
            # Not the growth in the range: what is counted for the first time does not grow, for Prometheus.
            promql(_or_none_yet(f"sum(loki_discarded_samples_total{{{_OURS}}})")),
            "short",
            Limits(1, 1_000),
        ),
        number(
            Told(
                "Streams",
                "Streams in memory. Yellow from 2,000, red from 4,000: by default 5,000 are allowed.",
                "A label holds something that has no end. The shipper's dashboard says which (Values of labels).",
            ),
            promql(f"sum(loki_ingester_memory_streams{{{_OURS}}})"),
            "short",
            Limits(2_000, 4_000),
        ),
        number(
            Told(
                "Disk of the write-ahead log",
                "How full it is, where it is fullest. Yellow from 75 %, red from 90 %.",
                "When it is full Loki goes on without its write-ahead log: a crash then loses lines that it "
                "acknowledged. Give it room, or see whether flushing fails.",
            ),
            promql(f"max(loki_ingester_wal_disk_usage_percent{{{_OURS}}})"),
            "percentunit",
            Limits(0.75, 0.9),
            decimals=0,
        ),
        number(
            Told(
                "Panics",
                "Requests in the range at which Loki failed by a mistake of its own. Anything but 0 is bad.",
                "Loki's log has the stack. A query that does it each time should not be asked again; look for a newer "
                "version.",
            ),
            promql(_grown("loki_panic_total")),
            "short",
            Limits(1, 1),
            decimals=0,
        ),
    ]


def _writing() -> list[Panel]:
    refused = f"sum by (reason) (loki_discarded_samples_total{{{_OURS}}})"
    buckets = _rate("loki_request_duration_seconds_bucket", "le", more=f", {_PUSH}")
    return [
        curve(
            Told(
                "Lines taken",
                "Per second.",
                "Falls to nothing while the shipper has lag: see the answers to pushes.",
            ),
            [promql(_rate("loki_distributor_lines_received_total"), "lines")],
            "cps",
        ),
        curve(
            Told(
                "Bytes taken",
                "Per second, uncompressed: lines, and their structured metadata.",
                "A rise without more lines: longer lines. The noise bill says whose.",
            ),
            [
                promql(_rate("loki_distributor_bytes_received_total"), "lines"),
                promql(_rate("loki_distributor_structured_metadata_bytes_received_total"), "structured metadata"),
            ],
            "Bps",
        ),
        curve(
            Told(
                "Answers to pushes",
                "Per second, by status. 204: taken.",
                "429: a limit, raise it. 400: lines that break a limit. 5xx: Loki fails, see its log.",
            ),
            [promql(_rate("loki_request_duration_seconds_count", "status_code", more=f", {_PUSH}"), "{{status_code}}")],
            "reqps",
            stacked=True,
        ),
        curve(
            Told(
                "How long pushes take",
                "Half, 95 and 99 of 100. The lines are 1 s and 5 s.",
                "Disk or store are slow, or there is too little CPU.",
            ),
            [
                promql(f"histogram_quantile({at}, {buckets})", name)
                for at, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
            ],
            "s",
            Limits(1, 5),
        ),
        grid(
            Told(
                "Refused lines by reason",
                "Since Loki started. Yellow from 1, red from 1,000.",
                "`rate_limited`, `per_stream_rate_limit`, `stream_limit`: raise the limit, or write less. "
                "`greater_than_max_sample_age`, `too_far_behind`: a clock is wrong, or the shipper was away for long. "
                "`line_too_long`: the service should write less.",
            ),
            {"reason": "reason"},
            [Column("lines", promql(refused), "short", Limits(1, 1_000))],
        ),
        curve(
            Told(
                "Chunks",
                "In memory, and waiting to be written. ",
                "Waiting ones grow: the store does not keep up; see failed flushes, and its disk.",
            ),
            [
                promql(f"sum(loki_ingester_memory_chunks{{{_OURS}}})", "in memory"),
                promql(f"sum(loki_ingester_flush_queue_length{{{_OURS}}})", "waiting"),
            ],
            "short",
        ),
    ]


def _reading() -> list[Panel]:
    buckets = _rate("loki_request_duration_seconds_bucket", "le", "route", more=f", {_ASKED}")
    return [
        curve(
            Told(
                "How long queries take (p95)",
                "95 of 100 were answered within this time, by kind. The lines are 2 s and 10 s.",
                "People ask for too long a range, or for text without naming a service. Shorten the range; give Loki "
                "more CPU if it stays.",
            ),
            [promql(f"histogram_quantile(0.95, {buckets})", "{{route}}")],
            "s",
            Limits(2, 10),
        ),
        curve(
            Told(
                "Queries by answer",
                "Per second, by status.",
                "400: a query that is wrong. 429: too many at once. 5xx: Loki fails, or a query takes too long.",
            ),
            [
                promql(
                    _rate("loki_request_duration_seconds_count", "status_code", more=f", {_ASKED}"), "{{status_code}}"
                )
            ],
            "reqps",
            stacked=True,
        ),
    ]


def _room() -> list[Panel]:
    return [
        curve(
            Told(
                "Memory",
                "Resident memory of each process.",
                "It grows without end: too many streams, or flushing fails. Before it is killed, give it more.",
            ),
            [promql(_of_process("process_resident_memory_bytes"), "{{instance}}")],
            "bytes",
        ),
        curve(
            Told(
                "CPU",
                "Cores in use.",
                "At what the machine has: queries and pushes wait for each other.",
            ),
            [promql(_of_process("rate(process_cpu_seconds_total[$__rate_interval])"), "{{instance}}")],
            "short",
        ),
        number(
            Told(
                "Failed flushes",
                "Chunks in the range that could not be written to the store. Yellow from 1, red from 10.",
                "The store is full or away, or the credentials are wrong. Until it works, lines are only in memory "
                "and in the write-ahead log.",
            ),
            promql(_grown("loki_ingester_chunks_flush_failures_total")),
            "short",
            Limits(1, 10),
            width=8,
            decimals=0,
        ),
        number(
            Told(
                "Write-ahead log was full",
                "How often in the range. Anything but 0 is bad.",
                "Lines were acknowledged that a crash would have lost. Give its disk room.",
            ),
            promql(_grown("loki_ingester_wal_disk_full_failures_total")),
            "short",
            Limits(1, 1),
            width=8,
            decimals=0,
        ),
        number(
            Told(
                "Errors in Loki's log",
                "Lines of level error that Loki itself wrote, in the range. Yellow from 1, red from 100.",
                "Read Loki's log.",
            ),
            promql(_grown("loki_internal_log_messages_total", more=', level="error"')),
            "short",
            Limits(1, 100),
            width=8,
            decimals=0,
        ),
    ]


BOARD: Final = Board(
    uid=LOKI,
    title="Logs: Loki",
    purpose="Does Loki take what is pushed, answer what is asked, and have room for it?",
    sections=(
        Section("Is all right?", _all_right()),
        Section("Writing", _writing()),
        Section("Reading", _reading()),
        Section("Room", _room()),
    ),
    variables=(metric_choice("instance", "Process", "instance", "loki_build_info"),),
)
