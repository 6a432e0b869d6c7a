"""The noise bill: who writes how much, and what it costs."""

from typing import Final

from grafana.dashboards.board import Board, Section, choice, entry
from grafana.dashboards.logql import bytes_per_second, count, share
from grafana.dashboards.names import EXPLORER, NOISE, to_dashboard
from grafana.dashboards.panels import Column, Limits, Link, Panel, Told, curve, grid, number
from grafana.dashboards.queries import logql
from grafana.dashboards.service import ONE_ANSWER

_STREAM: Final = '{service=~"$service"}'
_QUIET: Final = '{service=~"$service", level=~"debug|trace"}'
_SECONDS_A_DAY, _DAYS_A_MONTH, _GB = 86_400, 30, 10**9
_PART: Final = '| json context="context" | drop __error__, __error_details__'
# Numbers and IDs in a message become #, so that a pattern is what the code says and not what it was about.
# Requests that fit no route have paths in their messages, which strangers make up.
_PATTERN: Final = (
    '| json message="message", context="context", route="route" | drop __error__, __error_details__ '
    '| label_format message=`{{ if and (eq .context "access") (not .route) }}requests that fit no route'
    '{{ else }}{{ regexReplaceAll "[0-9a-fA-F-]{8,}|[0-9]+" .message "#" }}{{ end }}`'
)


def _bytes(lines: str, *by: str) -> str:
    grouped = f" by ({', '.join(by)})" if by else ""
    return f"sum{grouped} (bytes_over_time({lines} [$__auto]))"


def _a_month(bytes_: str) -> str:
    return f"{bytes_} / $__range_s * {_SECONDS_A_DAY * _DAYS_A_MONTH} / {_GB} * ${{price:raw}}"


def _panels() -> list[Panel]:
    return [
        number(
            Told(
                "Bytes",
                "Of all lines in the range, before Loki compresses them.",
                "More than usual: the table below says whose.",
            ),
            logql(_bytes(_STREAM)),
            "decbytes",
            width=6,
        ),
        number(
            Told(
                "Bytes a day",
                "If the range is like every other time.",
                "Choose a range of a day or a week, so that nights count as well.",
            ),
            logql(f"{_bytes(_STREAM)} / $__range_s * {_SECONDS_A_DAY}"),
            "decbytes",
            width=6,
        ),
        number(
            Told(
                "Cost a month",
                "Gigabytes in 30 days like this range, times the price of a gigabyte above. With the price 1 it is "
                "gigabytes.",
                "Put your own price in. Then go through the patterns below, the dearest first.",
            ),
            logql(_a_month(_bytes(_STREAM))),
            "short",
            width=6,
            decimals=2,
        ),
        number(
            Told(
                "Debug and trace",
                "Their share of all bytes. Yellow from 20 %, red from 50 %.",
                "A service runs with debug on: the table says which. Its level can be changed without a restart.",
            ),
            logql(share(_bytes(_QUIET), _bytes(_STREAM))),
            "percentunit",
            Limits(0.2, 0.5),
            width=6,
            decimals=1,
        ),
        grid(
            Told(
                "By service and level",
                "Bytes, lines, and what they cost in a month.",
                "Debug lines that cost more than info lines: lower the level. Click the service for its lines.",
            ),
            {"service": "service", "level": "level"},
            [
                Column("bytes", logql(_bytes(_STREAM, "service", "level")), "decbytes"),
                Column("lines", logql(count(_STREAM, "service", "level")), "short"),
                Column(
                    "bytes per line",
                    logql(f"{_bytes(_STREAM, 'service', 'level')} / {count(_STREAM, 'service', 'level')}"),
                    "decbytes",
                    Limits(2_000, 16_000),
                    0,
                ),
                Column("cost a month", logql(_a_month(_bytes(_STREAM, "service", "level"))), "short", decimals=2),
            ],
            links={
                "service": [
                    Link(
                        "These lines",
                        to_dashboard(EXPLORER, service="${__data.fields.service}", level="${__data.fields.level}"),
                    )
                ]
            },
            height=12,
        ),
        curve(
            Told(
                "By service, over time",
                "Bytes of lines per second.",
                "A step up: something was released or turned on at that time.",
            ),
            [logql(bytes_per_second(_STREAM, "service"), "{{service}}")],
            "Bps",
            stacked=True,
        ),
        grid(
            Told(
                "By part of the service",
                "By the `context` of the lines: which class or module writes them.",
                "One part of a service writes most of it: its patterns beside say what.",
            ),
            {"service": "service", "context": "part"},
            [Column("bytes", logql(f"topk(50, {_bytes(f'{_STREAM} {_PART}', 'service', 'context')})"), "decbytes")],
            width=10,
            height=14,
        ),
        grid(
            Told(
                "By pattern of the message",
                "The fifty dearest messages, their numbers and IDs as `#`. Without a message: lines that are no JSON. "
                + ONE_ANSWER,
                "Ask of each whether anybody would miss it. If not: a lower level in the code, or a filter or sampling "
                "in the shipper's configuration (`[[filters]]`).",
            ),
            {"service": "service", "level": "level", "message": "message"},
            [
                Column(
                    "bytes",
                    logql(f"topk(50, {_bytes(f'{_STREAM} {_PATTERN}', 'service', 'level', 'message')})"),
                    "decbytes",
                ),
            ],
            width=14,
            height=14,
            links={
                "message": [
                    Link(
                        "Lines of this service and level",
                        to_dashboard(EXPLORER, service="${__data.fields.service}", level="${__data.fields.level}"),
                    )
                ]
            },
        ),
    ]


BOARD: Final = Board(
    uid=NOISE,
    title="Logs: noise bill",
    purpose="Who writes how much, in which pattern, and what does it cost?",
    sections=(Section("The bill", _panels()),),
    variables=(
        choice("service", "Service", "service"),
        entry(
            "price",
            "Price of a GB",
            "What a gigabyte of lines costs you, in any currency. With 1 costs are gigabytes.",
            "1",
        ),
    ),
    range_="24h",
    refresh="5m",
)
