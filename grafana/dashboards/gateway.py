"""The gateway: which routes are asked, and which of the services behind it are slow or fail."""

from typing import Final

from grafana.dashboards.board import Board, Section
from grafana.dashboards.logql import access, between, count, event, quantile, rate, share, total
from grafana.dashboards.panels import Column, Limits, Panel, Told, curve, grid
from grafana.dashboards.queries import logql
from grafana.dashboards.service import FAILED_SHARE, LATENCY_MS, service_board, stream

SERVICE: Final = "api-gateway"
_STREAM: Final = stream(SERVICE)


def _calls(*names: str, where: str = "") -> str:
    return event(_STREAM, "upstream_call", *names, where=where)


def _upstreams() -> list[Panel]:
    failed = 'outcome="failure"'
    by = ("upstream", "upstream_route")
    route = by[1]
    failures = count(_calls("outcome", "upstream", route, where=failed), *by)
    return [
        grid(
            Told(
                "Upstreams",
                "What the gateway asks of the services behind it: calls, the share that failed (no answer in time, "
                "nobody listens, a connection that broke, or a 5xx), and the time that 95 of 100 took.",
                "One upstream is bad: open that service's dashboard. All are: look at the network and at the gateway.",
            ),
            {"upstream": "upstream", "upstream_route": "route"},
            [
                Column("calls", logql(count(_calls("upstream", route), *by)), "short"),
                Column(
                    "failed",
                    logql(share(failures, count(_calls("upstream", route), *by))),
                    "percentunit",
                    FAILED_SHARE,
                    decimals=2,
                ),
                Column(
                    "p95",
                    logql(quantile(0.95, _calls("upstream", route, "durationMs"), "durationMs", *by)),
                    "ms",
                    LATENCY_MS,
                ),
            ],
            width=24,
        ),
        curve(
            Told(
                "Calls by upstream",
                "Calls per second that ended well or failed.",
                "Failures of one upstream: its dashboard. Calls fall to nothing: the gateway has stopped asking.",
            ),
            [logql(rate(_calls("upstream", "outcome"), "upstream", "outcome"), "{{upstream}} {{outcome}}")],
            "reqps",
            stacked=True,
        ),
        curve(
            Told(
                "p95 by upstream",
                "95 of 100 calls were answered within this time. The lines are 500 ms and 1 s.",
                "The upstream that rises is the cause of slow requests above.",
            ),
            [logql(quantile(0.95, _calls("upstream", "durationMs"), "durationMs", "upstream"), "{{upstream}}")],
            "ms",
            LATENCY_MS,
        ),
        grid(
            Told(
                "Why calls failed",
                "`timeout`: no answer in time. `refused`: nobody listens. `broken`: the connection ended before the "
                "answer did. `status`: it answered with an error.",
                "`refused`: the service is down. `timeout`: it hangs or is overloaded. `broken`: it crashed or was "
                "restarted meanwhile; what it was asked may be done. `status`: read its errors.",
            ),
            {"upstream": "upstream", "reason": "reason"},
            [
                Column(
                    "failures",
                    logql(count(_calls("outcome", "upstream", "reason", where=failed), "upstream", "reason")),
                    "short",
                    Limits(1, 100),
                )
            ],
        ),
        curve(
            Told(
                "Calls tried again",
                "Calls per second that were a second attempt or a later one.",
                "Many: an upstream is failing, and the attempts add to its load. Look at its dashboard.",
            ),
            [
                logql(
                    rate(_calls("upstream", "attempt", where=between("attempt", 2, 1_000)), "upstream"), "{{upstream}}"
                )
            ],
            "reqps",
        ),
        curve(
            Told(
                "Bytes sent",
                "Bytes of answers, in each step.",
                "A rise without more requests: a route answers with more than it should. The routes above say which "
                "are asked.",
            ),
            [logql(total(access(_STREAM, "bytes"), "bytes"), "bytes")],
            "bytes",
            width=24,
        ),
    ]


BOARD: Final[Board] = service_board(
    SERVICE,
    "API gateway",
    "Which routes are asked, how they are answered, and which service behind the gateway is slow or fails?",
    [Section("Upstreams", _upstreams())],
)
