"""The notification service: what is delivered by which channel, at which attempt, and what is not, and why."""

from typing import Final

from grafana.dashboards.board import Board, Section
from grafana.dashboards.logql import count, event, or_zero, quantile, rate, share
from grafana.dashboards.names import EXPLORER, having, to_dashboard
from grafana.dashboards.panels import Column, Limits, Link, Panel, Told, curve, grid, lines, number
from grafana.dashboards.queries import logql
from grafana.dashboards.service import READABLE, service_board, stream

SERVICE: Final = "notification-service"
DELIVERY_MS: Final = Limits(5_000, 30_000)
_STREAM: Final = stream(SERVICE)
_GIVEN_UP: Final = 'outcome="failure"'


def _tries(*names: str, where: str = "") -> str:
    return event(_STREAM, "notification", *names, where=where)


def delivered(*names: str) -> str:
    """Select notifications that were delivered, with these members."""
    return _tries("outcome", *names, where='outcome="success"')


def _numbers() -> list[Panel]:
    settled = 'outcome=~"success|failure"'
    given_up = count(_tries("outcome", where=_GIVEN_UP))
    return [
        number(
            Told(
                "Delivered",
                "Notifications that a provider took, in the range.",
                "None while messages are written: the service is down, or does not read its topic.",
            ),
            logql(or_zero(count(delivered()), count(_STREAM))),
            "short",
            width=6,
        ),
        number(
            Told(
                "Given up",
                "Share of notifications that were given up after their last attempt. Yellow from 1 %, red from 5 %.",
                "The reasons below say whether a provider fails (`provider_timeout`, `provider_throttled`) or refuses "
                "what we send (`provider_rejected`).",
            ),
            logql(share(given_up, count(_tries("outcome", where=settled)))),
            "percentunit",
            Limits(0.01, 0.05),
            decimals=2,
            width=6,
        ),
        number(
            Told(
                "Tried again",
                "Share of attempts that failed, and are tried again. Yellow from 5 %, red from 20 %.",
                "A provider is slow or throttles: see which below. Notifications are late, not lost.",
            ),
            logql(share(count(_tries("outcome", where='outcome="retry"')), count(_tries("outcome")))),
            "percentunit",
            Limits(0.05, 0.2),
            decimals=2,
            width=6,
        ),
        number(
            Told(
                "Delivered within (p95)",
                "From storing a message to its delivery, for 95 of 100. Yellow from 5 s, red from 30 s.",
                "See below whether one channel is slow. All: the service lags, give it more processes.",
            ),
            logql(quantile(0.95, delivered("delivery_ms"), "delivery_ms")),
            "ms",
            DELIVERY_MS,
            width=6,
        ),
    ]


def _curves() -> list[Panel]:
    failed = 'outcome!="success"'
    answer = ("channel", "provider", "result", "outcome")
    answers = count(_tries(*answer), *answer)
    return [
        curve(
            Told(
                "Attempts by channel and outcome",
                "Per second. `retry`: will be tried again. `failure`: given up.",
                "One channel fails: its provider, see the table. All: the service itself.",
            ),
            [logql(rate(_tries("channel", "outcome"), "channel", "outcome"), "{{channel}} {{outcome}}")],
            "cps",
            stacked=True,
        ),
        curve(
            Told(
                "How long delivery takes, by channel",
                "95 of 100 notifications were delivered within this time. The lines are 5 s and 30 s.",
                "The channel that rises: its provider is slow. See the table for what it answers.",
            ),
            [logql(quantile(0.95, delivered("channel", "delivery_ms"), "delivery_ms", "channel"), "{{channel}}")],
            "ms",
            DELIVERY_MS,
        ),
        curve(
            Told(
                "Attempts until delivered",
                "Delivered notifications per second, by the attempt that brought them.",
                "Later attempts grow: a provider fails now and then, and people wait longer.",
            ),
            [logql(rate(delivered("attempt"), "attempt"), "attempt {{attempt}}")],
            "cps",
            stacked=True,
        ),
        curve(
            Told(
                "Why attempts failed",
                "Per second, by reason.",
                "`provider_timeout`: the provider hangs. `provider_throttled`: we send too fast. `provider_rejected`: "
                "what we send is wrong, or the address is gone.",
            ),
            [logql(rate(_tries("outcome", "reason", where=failed), "reason"), "{{reason}}")],
            "cps",
            stacked=True,
        ),
        grid(
            Told(
                "What providers answer",
                "Attempts by channel, provider and answer.",
                "An answer that is new, or grows: look it up in the provider's documentation.",
            ),
            {"channel": "channel", "provider": "provider", "result": "answer", "outcome": "outcome"},
            [
                Column(
                    "attempts",
                    logql(f"topk(30, {answers})"),
                    "short",
                )
            ],
            links={
                "provider": [
                    Link(
                        "Lines of this provider",
                        to_dashboard(EXPLORER, service=SERVICE, text=having("provider", "${__data.fields.provider}")),
                    )
                ]
            },
        ),
        lines(
            Told(
                "Newest given up",
                "Notifications that were given up, newest first.",
                "Open one for the message and the recipient; its request leads back to who wrote it.",
            ),
            logql(f"{_tries('outcome', where=_GIVEN_UP)} {READABLE}"),
            width=12,
            height=8,
        ),
    ]


BOARD: Final[Board] = service_board(
    SERVICE,
    "notification",
    "What is delivered by which channel, after how many attempts and how long, and what is not, and why?",
    [Section("Delivery", [*_numbers(), *_curves()])],
    has_requests=False,  # it reads a topic
)
