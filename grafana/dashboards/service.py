"""What the dashboards of the services have in common: requests, latency, routes, lines; each adds its own questions."""

from collections.abc import Sequence
from typing import Final

from grafana.dashboards.board import Board, Section
from grafana.dashboards.logql import access, between, count, or_zero, quantile, rate, share
from grafana.dashboards.names import EXPLORER, SERVICE_TAG, TAG, having, of_service, to_dashboard
from grafana.dashboards.panels import Column, Limits, Link, Panel, Told, curve, grid, lines, number
from grafana.dashboards.queries import Query, logql

ANSWERED: Final = between("status", 100, 600)
FAILED: Final = between("status", 500, 600)
"""A share of failures is taken of what has a status: where nobody writes one, there is no share, and not 0."""
FAILED_SHARE: Final = Limits(0.01, 0.05)
LATENCY_MS: Final = Limits(500, 1_000)

ONE_ANSWER: Final = "An error instead of rows: there are more than Loki counts at once; choose a shorter range."
"""Told by tables whose rows have no end: Loki counts all of them, also where few are shown (`max_query_series`)."""

READABLE: Final = (
    "| json | line_format `{{ if .message }}{{ .service }}: {{ .message }}"
    "{{ if .error_type }} | {{ .error_type }}: {{ .error_message }}{{ end }}"
    "{{ else }}{{ __line__ }}{{ end }}`"
)
"""A line as a sentence, all its members in its details; one that is no JSON as it came."""


def service_board(
    service: str, title: str, purpose: str, own: Sequence[Section], *, has_requests: bool = True
) -> Board:
    """Make a service's dashboard: its own questions between its requests, where people ask it, and its lines."""
    requests = (Section("Requests", _requests(service)),) if has_requests else ()
    return Board(
        uid=of_service(service),
        title=f"Service: {title}",
        purpose=purpose,
        sections=(*requests, *own, Section("Lines", _lines(service))),
        tags=(TAG, SERVICE_TAG),
    )


def percentiles(of: str, member: str) -> list[Query]:
    """Ask for the time within which half, 95 and 99 of 100 were done."""
    shares = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    return [logql(quantile(share_, of, member), name) for share_, name in shares]


def stream(service: str, *, level: str = "") -> str:
    """Select a service's lines."""
    return f'{{service="{service}"' + (f', level=~"{level}"}}' if level else "}")


def _requests(service: str) -> list[Panel]:
    own = stream(service)
    asked, answered, failed = access(own), *(access(own, "status", where=it) for it in (ANSWERED, FAILED))
    timed = access(own, "durationMs")
    by_status = answered + " | label_format class=`{{ substr 0 1 .status }}xx`"
    by_route = ("method", "route")
    return [
        number(
            Told(
                "Requests",
                "Per second, over the range.",
                "None: nobody reaches the service, or it does not log. Look whether it lives, then at who calls it.",
            ),
            logql(rate(asked)),
            "reqps",
            decimals=1,
            width=6,
        ),
        number(
            Told(
                "Failed",
                "Share of requests answered with 5xx. Yellow from 1 %, red from 5 %.",
                "The routes below say which; the newest errors at the end say why.",
            ),
            logql(share(count(failed), count(answered))),
            "percentunit",
            FAILED_SHARE,
            decimals=2,
            width=6,
        ),
        number(
            Told(
                "p95",
                "95 of 100 requests were answered within this time. Yellow from 500 ms, red from 1 s.",
                "See below whether one route is slow or all. All: look at what the service itself calls.",
            ),
            logql(quantile(0.95, timed, "durationMs")),
            "ms",
            LATENCY_MS,
            width=6,
        ),
        number(
            Told(
                "Error lines",
                "Lines of level error or fatal in the range. Yellow from 1, red from 100.",
                "Read them at the end of this page.",
            ),
            logql(or_zero(count(stream(service, level="error|fatal")), count(own))),
            "short",
            Limits(1, 100),
            width=6,
            link=Link("These lines", to_dashboard(EXPLORER, service=service, level=["error", "fatal"])),
        ),
        curve(
            Told(
                "Answers",
                "Requests per second by class of status: 2xx done, 4xx the caller's mistake, 5xx ours.",
                "5xx: read the newest errors. Many 4xx at once: a client that was just released, or somebody who tries "
                "things out.",
            ),
            [logql(rate(by_status, "class"), "{{class}}")],
            "reqps",
            stacked=True,
        ),
        curve(
            Told(
                "How long requests take",
                "Half, 95 and 99 of 100 requests were answered within this time. The lines are 500 ms and 1 s.",
                "All three rise: the service, or what it needs, is overloaded. Only p99: a few wait for something.",
            ),
            percentiles(timed, "durationMs"),
            "ms",
            LATENCY_MS,
        ),
        grid(
            Told(
                "Routes",
                "Every route that was asked in the range.",
                "A route with failures or a high p95: click it for its lines.",
            ),
            {"method": "method", "route": "route"},
            [
                Column("requests", logql(count(access(own, *by_route), *by_route)), "short"),
                Column(
                    "failed",
                    logql(
                        share(
                            count(access(own, *by_route, "status", where=FAILED), *by_route),
                            count(access(own, *by_route, "status", where=ANSWERED), *by_route),
                        )
                    ),
                    "percentunit",
                    FAILED_SHARE,
                    decimals=2,
                ),
                Column(
                    "p95",
                    logql(quantile(0.95, access(own, *by_route, "durationMs"), "durationMs", *by_route)),
                    "ms",
                    LATENCY_MS,
                ),
            ],
            width=24,
            links={
                "route": [
                    Link(
                        "Lines of this route",
                        to_dashboard(EXPLORER, service=service, text=having("route", "${__data.fields.route}")),
                    )
                ]
            },
        ),
    ]


def _lines(service: str) -> list[Panel]:
    return [
        curve(
            Told(
                "Lines by level",
                "Lines per second.",
                "Errors or warnings grow: read them below. Debug lines where there were none: somebody turned them on.",
            ),
            [logql(rate(stream(service), "level"), "{{level}}")],
            "cps",
            stacked=True,
            width=24,
        ),
        lines(
            Told(
                "Newest warnings and errors",
                "Lines of level warn, error and fatal, newest first.",
                "Open one: its details have `request_id`, with a link to everything that this request did, in every "
                "service.",
            ),
            logql(f"{stream(service, level='warn|error|fatal')} {READABLE}"),
        ),
    ]
