"""Log explorer: find the lines, and from a line everything that its request did."""

from typing import Final
from urllib.parse import quote

from grafana.dashboards.board import Board, Section, alternatives, choice, entry
from grafana.dashboards.logql import count, rate
from grafana.dashboards.names import EXPLORER, to_dashboard
from grafana.dashboards.panels import Column, Limits, Link, Panel, Told, curve, grid, lines, note, number
from grafana.dashboards.queries import logql
from grafana.dashboards.service import ONE_ANSWER, READABLE

# What follows the ID as typed. Loki takes `x.*` for "contains x", so that nothing typed finds all, and `x$` for x.
_PART, _WHOLE = ".*", "$"
# The text is looked for as it is, anywhere in the line.
_SELECTED: Final = (
    '{service=~"$service", level=~"$level"} |= `${text:raw}`'
    " | request_id=~`${request_id:regex}${request_end:raw}` | user_id=~`${user_id:regex}.*`"
)

SAVED: Final[tuple[tuple[str, dict[str, str | list[str]]], ...]] = (
    ("Errors", {"level": ["error", "fatal"]}),
    ("Warnings", {"level": "warn"}),
    ("Exceptions with their stack", {"text": '"stack":'}),
    ("Requests that failed", {"text": '"status":5'}),
    (
        "Calls of services that failed",
        {"service": "api-gateway", "text": '"event":"upstream_call","outcome":"failure"'},
    ),
    ("Refused logins", {"service": "auth-service", "text": '"event":"login","outcome":"failure"'}),
    ("Locked accounts", {"service": "auth-service", "text": '"event":"lockout"'}),
    (
        "Notifications given up",
        {"service": "notification-service", "text": '"event":"notification","outcome":"failure"'},
    ),
    ("What is no JSON, or has no service", {"service": "unknown"}),
)
"""Saved queries: a name, and the values of this dashboard's variables."""


_REQUEST: Final = Link(
    "Everything that this request did",
    to_dashboard(EXPLORER, request_id="${__data.fields.request}", request_end=quote(_WHOLE)),
)


def _saved() -> str:
    links = [
        f"- [{name}]({to_dashboard(EXPLORER, **{key: _in_address(value) for key, value in chosen.items()})})"
        for name, chosen in SAVED
    ]
    return "\n".join(links)


def _in_address(value: str | list[str]) -> str | list[str]:
    return quote(value) if isinstance(value, str) else [quote(one) for one in value]


_HOW: Final = """\
Choose services and levels above, type a part of the text, or of a request's or a user's ID. Open a line:
its details have `request_id`, with a link to everything that this request did, in every service.

**As a file**, however many lines, through the log API, with your own token (add `--data service=…`, `level`, `text`):

```
curl --header "Authorization: Bearer YOUR-TOKEN" --get ${log_api}/v1/export --output lines.ndjson \\
  --data from=${__from:date:iso} --data to=${__to:date:iso}
```
"""


def _panels() -> list[Panel]:
    return [
        number(
            Told(
                "Lines",
                "How many lines are selected, in the range.",
                "None: widen the time range, or take a filter away. A service whose clock is wrong has its lines "
                "elsewhere in time.",
            ),
            logql(f"sum(count_over_time({_SELECTED} [$__auto]))"),
            "short",
        ),
        number(
            Told(
                "Services",
                "How many services wrote these lines.",
                "Of one request: those that it reached. Fewer than it should have reached: it ended early, its last "
                "line says why.",
            ),
            logql(f"count({count(_SELECTED, 'service')})"),
            "short",
        ),
        curve(
            Told(
                "Lines by level",
                "Lines per second. Draw over a part to look at that time only.",
                "A peak: select it, and read what it consists of.",
            ),
            [logql(rate(_SELECTED, "level"), "{{level}}")],
            "cps",
            stacked=True,
            width=16,
        ),
        lines(
            Told(
                "Newest lines",
                "The newest 500 of the lines selected.",
                "Open one: all its fields, and the link to its whole request.",
            ),
            logql(f"{_SELECTED} {READABLE}"),
            height=20,
            lines_max=500,
        ),
        grid(
            Told(
                "Who wrote them",
                "The selected lines by service and level.",
                "Many of one kind hide the others: choose a level or a service above.",
            ),
            {"service": "service", "level": "level"},
            [Column("lines", logql(count(_SELECTED, "service", "level")), "short")],
        ),
        grid(
            Told(
                "Requests with errors",
                "The twenty requests with the most lines of level error or fatal, among those selected. " + ONE_ANSWER,
                "Click one for everything that it did.",
            ),
            {"request_id": "request"},
            [
                Column(
                    "error lines",
                    logql(f"topk(20, {count(_SELECTED + ' | level=~`error|fatal` | request_id!=``', 'request_id')})"),
                    "short",
                    Limits(1, 10),
                )
            ],
            links={"request": [_REQUEST]},
        ),
    ]


BOARD: Final = Board(
    uid=EXPLORER,
    title="Logs: explorer",
    purpose="Find lines by service, level, request, user and text; from a line to everything that its request did.",
    sections=(
        Section("Find", [note("How", _HOW, width=14, height=8), note("Saved queries", _saved(), width=10, height=8)]),
        Section("Found", _panels()),
    ),
    variables=(
        choice("service", "Service", "service"),
        choice("level", "Level", "level"),
        entry("request_id", "Request ID", "A part of it, or the whole: say which beside."),
        alternatives(
            "request_end",
            "is",
            "Whether the Request ID is typed in part or as a whole. `req-1` is a part of `req-10`, too.",
            {"a part": _PART, "the whole": _WHOLE},
        ),
        entry("user_id", "User", "A part of a user's ID is enough."),
        entry(
            "text",
            "Text",
            "Any part of the line, as it is written there. With a backtick (`) in it, every panel fails.",
        ),
        entry("log_api", "Log API", "What the command for a file asks.", "http://localhost:4005"),
    ),
)
