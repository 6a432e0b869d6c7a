"""The user service: who registers, and what people change."""

from typing import Final

from grafana.dashboards.board import Board, Section
from grafana.dashboards.logql import access, count, event, or_zero, rate
from grafana.dashboards.panels import Column, Limits, Panel, Told, curve, grid, lines, number
from grafana.dashboards.queries import logql
from grafana.dashboards.service import READABLE, service_board, stream

SERVICE: Final = "user-service"
_STREAM: Final = stream(SERVICE)


def _registrations(where: str = "") -> str:
    return event(_STREAM, "user_registered", "outcome", where=where)


def _changes(*names: str) -> str:
    return event(_STREAM, "user_changed", *names)


def _panels() -> list[Panel]:
    return [
        number(
            Told(
                "Users registered",
                "New accounts in the range.",
                "None for long: registration is broken. Very many: somebody makes accounts by machine.",
            ),
            logql(or_zero(count(_registrations('outcome="success"')), count(_STREAM))),
            "short",
            width=8,
        ),
        number(
            Told(
                "Registrations refused",
                "Because the name was taken. Yellow from 20, red from 100.",
                "Many in a short time: somebody tries out which names there are. The gateway's lines of "
                "`POST /v1/users` have their addresses.",
            ),
            logql(or_zero(count(_registrations('outcome="failure"')), count(_STREAM))),
            "short",
            Limits(20, 100),
            width=8,
        ),
        number(
            Told(
                "Accounts changed",
                "Changes of accounts in the range.",
                "Far more than usual: a client that repeats itself, or somebody who changes others' accounts. The "
                "lines below say who.",
            ),
            logql(or_zero(count(_changes()), count(_STREAM))),
            "short",
            width=8,
        ),
        curve(
            Told(
                "Registrations by outcome",
                "Per second.",
                "Failures rise: see whether names are taken or the service fails, in the lines at the end.",
            ),
            [logql(rate(_registrations(), "outcome"), "{{outcome}}")],
            "cps",
            stacked=True,
        ),
        curve(
            Told(
                "Reads and writes",
                "Requests per second by method: GET reads an account, POST makes one, PATCH changes one.",
                "GET rises without the others: somebody reads accounts in bulk, or a cache is off.",
            ),
            [logql(rate(access(_STREAM, "method"), "method"), "{{method}}")],
            "reqps",
            stacked=True,
        ),
        grid(
            Told(
                "What is changed",
                "Changes by the names of the fields that were changed.",
                "Passwords or addresses more than usual: an account may have been taken over; read the lines.",
            ),
            {"changed": "fields"},
            [Column("changes", logql(f"topk(20, {count(_changes('changed'), 'changed')})"), "short")],
        ),
        lines(
            Told(
                "Newest changes",
                "Accounts that were changed, newest first; values are not logged.",
                "Open one for the account (`user_id`), and for its request.",
            ),
            logql(f"{_changes()} {READABLE}"),
            width=12,
            height=8,
        ),
    ]


BOARD: Final[Board] = service_board(
    SERVICE,
    "user",
    "Who registers, what do people change, and is somebody reading accounts in bulk?",
    [Section("Accounts", _panels())],
)
