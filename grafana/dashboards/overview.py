"""System overview: is anything wrong, where, and since when?"""

from typing import Final

from grafana.dashboards.board import Board, Section, choice
from grafana.dashboards.logql import access, count, or_zero, quantile, rate, share
from grafana.dashboards.names import CANARY, EXPLORER, OVERVIEW, having, of_service, to_dashboard
from grafana.dashboards.panels import Column, Limits, Link, Panel, Told, curve, grid, history, lines, number
from grafana.dashboards.queries import logql, promql
from grafana.dashboards.service import ANSWERED, FAILED, FAILED_SHARE, LATENCY_MS, READABLE, percentiles

_SERVICES: Final = f'service=~"$service", service!="{CANARY}"'
_STREAM: Final = f"{{{_SERVICES}}}"
_NAMED: Final = f'{{{_SERVICES}, service!="unknown"}}'
_ERRORS: Final = f'{{{_SERVICES}, level=~"error|fatal"}}'
_SERVICE: Final = "${__data.fields.service}"
_LINES: Final = Link("Lines of this service", to_dashboard(EXPLORER, service=_SERVICE))
_OWN: Final = Link("Dashboard of this service, if it has one", to_dashboard(of_service(_SERVICE)))


def _requests(where: str = "") -> str:
    return access(_STREAM, *(("status",) if where else ()), where=where)


def _now() -> list[Panel]:
    timed = access(_STREAM, "durationMs")
    return [
        number(
            Told(
                "Services that log",
                "Services that wrote at least one line in the range; `unknown` is none.",
                "A service is missing: the health below says which, and since when. It is down, or its logs do not "
                "come through: look at the shipper's dashboard.",
            ),
            logql(f"count({count(_NAMED, 'service')})"),
            "short",
        ),
        number(
            Told(
                "Requests",
                "Access lines per second, of all services chosen; one request of a user makes several.",
                "None at all: the gateway is down or nobody comes. Far more than usual: look at the routes below for "
                "who asks so much.",
            ),
            logql(rate(_requests())),
            "reqps",
            decimals=1,
        ),
        number(
            Told(
                "Failed requests",
                "Share of requests that were answered with 5xx. Yellow from 1 %, red from 5 %.",
                "See which service's share rises first below, open its dashboard, and read its newest errors.",
            ),
            logql(share(count(_requests(FAILED)), count(_requests(ANSWERED)))),
            "percentunit",
            FAILED_SHARE,
            decimals=2,
        ),
        number(
            Told(
                "Slow requests (p95)",
                "95 of 100 requests were answered within this time. Yellow from 500 ms, red from 1 s.",
                "The slowest routes below say where; the gateway's dashboard says which upstream takes the time.",
            ),
            logql(quantile(0.95, timed, "durationMs")),
            "ms",
            LATENCY_MS,
        ),
        number(
            Told(
                "Error lines",
                "Lines of level error or fatal in the range. Yellow from 1, red from 100.",
                "Read the newest errors below; a click on one leads to everything that its request did.",
            ),
            logql(or_zero(count(_ERRORS), count(_STREAM))),
            "short",
            Limits(1, 100),
            link=Link("These lines", to_dashboard(EXPLORER, kept=["service"], level=["error", "fatal"])),
        ),
        number(
            Told(
                "Logs are behind by",
                "Age of the oldest record that the shipper has not settled yet (delivered, left out or dead-lettered); "
                "0 when all are. Yellow from 30 s, red from 5 min.",
                "All numbers here are as old as this. The shipper's dashboard says whether Kafka, Loki or the shipper "
                "is the cause.",
            ),
            promql("max(shipper_partition_lag_seconds)"),
            "s",
            Limits(30, 300),
        ),
    ]


def _health() -> list[Panel]:
    errors = or_zero(count(_ERRORS, "service"), count(_STREAM, "service"))
    return [
        history(
            Told(
                "Health",
                "Share of a service's lines that are errors, over time. Green: under 1 %. Yellow: under 5 %. "
                "A gap: it wrote nothing.",
                "Red: open the service's dashboard in the table below. A gap that goes on: the service is down, or its "
                "clock is wrong, so that its lines lie elsewhere in time: look at the last two days.",
            ),
            logql(f"{errors} / {count(_STREAM, 'service')}", "{{service}}"),
            "percentunit",
            FAILED_SHARE,
        ),
        grid(
            Told(
                "Services",
                "Each service in the range. `unknown` are lines without a service's name, or that are no JSON. A "
                "service without requests, or without durations, has no number there.",
                "Click the service: its own dashboard (of the five of `Services`, at the top), or its lines.",
            ),
            {"service": "service"},
            [
                Column("lines", logql(count(_STREAM, "service")), "short"),
                Column("error lines", logql(errors), "short", Limits(1, 100)),
                Column("requests", logql(count(_requests(), "service")), "short"),
                Column(
                    "failed",
                    logql(share(count(_requests(FAILED), "service"), count(_requests(ANSWERED), "service"))),
                    "percentunit",
                    FAILED_SHARE,
                    decimals=2,
                ),
                Column(
                    "p95",
                    logql(quantile(0.95, access(_STREAM, "durationMs"), "durationMs", "service")),
                    "ms",
                    LATENCY_MS,
                ),
            ],
            width=24,
            links={"service": [_OWN, _LINES]},
        ),
    ]


def _traffic() -> list[Panel]:
    timed = access(_STREAM, "durationMs")
    by_service = Link("Lines of this service", to_dashboard(EXPLORER, service="${__field.labels.service}"))
    return [
        curve(
            Told(
                "Requests by service",
                "Access lines per second.",
                "A service falls to nothing while others go on: it is down, or nobody reaches it.",
            ),
            [logql(rate(_requests(), "service"), "{{service}}")],
            "reqps",
            link=by_service,
        ),
        curve(
            Told(
                "Failed requests by service",
                "Share of requests answered with 5xx. The lines are 1 % and 5 %.",
                "The service that rises first is the likely cause; those that call it follow. Open its dashboard.",
            ),
            [
                logql(
                    share(count(_requests(FAILED), "service"), count(_requests(ANSWERED), "service")),
                    "{{service}}",
                )
            ],
            "percentunit",
            FAILED_SHARE,
            link=by_service,
        ),
        curve(
            Told(
                "How long requests take",
                "Half, 95 and 99 of 100 requests were answered within this time. The lines are 500 ms and 1 s.",
                "All three rise: something that everyone needs is slow. Only p99: a few requests wait, often for a "
                "time-out or a lock.",
            ),
            percentiles(timed, "durationMs"),
            "ms",
            LATENCY_MS,
        ),
        curve(
            Told(
                "p95 by service",
                "95 of 100 requests of a service were answered within this time.",
                "The one below the others in a call (chat, user, auth) that rises is the cause; the gateway shows the "
                "sum.",
            ),
            [logql(quantile(0.95, timed, "durationMs", "service"), "{{service}}")],
            "ms",
            LATENCY_MS,
            link=by_service,
        ),
    ]


def _where() -> list[Panel]:
    of_route = access(_STREAM, "method", "route", "durationMs")
    slowest = quantile(0.95, of_route, "durationMs", "service", "method", "route")
    return [
        grid(
            Told(
                "Slowest routes",
                "The fifteen routes with the highest p95. Routes are templates, so that there are few.",
                "Click the service for its lines, filtered by the route.",
            ),
            {"service": "service", "method": "method", "route": "route"},
            [
                Column(
                    "p95",
                    logql(f"topk(15, {slowest})"),
                    "ms",
                    LATENCY_MS,
                ),
            ],
            links={
                "service": [
                    _OWN,
                    Link(
                        "Lines of this route",
                        to_dashboard(EXPLORER, service=_SERVICE, text=having("route", "${__data.fields.route}")),
                    ),
                ]
            },
        ),
        curve(
            Told(
                "Lines by level",
                "Lines per second. A level that no service should use appears under its own name.",
                "Errors or warnings grow: read them below. Everything stops: look at the shipper's dashboard.",
            ),
            [logql(rate(_STREAM, "level"), "{{level}}")],
            "cps",
            stacked=True,
        ),
        lines(
            Told(
                "Newest errors",
                "Lines of level error and fatal, newest first.",
                "Open one: its details have `request_id`, with a link to everything that this request did, in every "
                "service.",
            ),
            logql(f"{_ERRORS} {READABLE}"),
        ),
    ]


BOARD: Final = Board(
    uid=OVERVIEW,
    title="Logs: system overview",
    purpose="Is anything wrong, where, and since when? Start here.",
    sections=(
        Section("Now", _now()),
        Section("Health", _health()),
        Section("Traffic", _traffic()),
        Section("Where", _where()),
    ),
    variables=(choice("service", "Service", "service", stream=f'{{service=~".+", service!="{CANARY}"}}'),),
)
