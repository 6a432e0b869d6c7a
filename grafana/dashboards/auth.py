"""The auth service: who gets in, who does not, and who tries too often."""

from typing import Final

from grafana.dashboards.board import Board, Section
from grafana.dashboards.logql import count, event, or_zero, rate, share
from grafana.dashboards.names import EXPLORER, having, to_dashboard
from grafana.dashboards.panels import Column, Limits, Link, Panel, Told, curve, grid, lines, number
from grafana.dashboards.queries import logql
from grafana.dashboards.service import ONE_ANSWER, READABLE, service_board, stream

SERVICE: Final = "auth-service"
_STREAM: Final = stream(SERVICE)
_REFUSED: Final = 'outcome="failure"'
_REFUSED_SHARE: Final = Limits(0.2, 0.5)


def _logins(*names: str, where: str = "") -> str:
    return event(_STREAM, "login", *names, where=where)


def _login_panels() -> list[Panel]:
    refused, all_ = count(_logins("outcome", where=_REFUSED)), count(_logins("outcome"))
    return [
        number(
            Told(
                "Logins",
                "How many logins were tried in the range.",
                "None while people use the system: the login page or the gateway is broken.",
            ),
            logql(all_),
            "short",
            width=8,
        ),
        number(
            Told(
                "Refused logins",
                "Share of logins that were refused. People mistype: yellow from 20 %, red from 50 %.",
                "Look at the sources below. One with many: somebody tries passwords; block it. All sources: the "
                "service refuses those whom it should not, read its errors.",
            ),
            logql(share(refused, all_)),
            "percentunit",
            _REFUSED_SHARE,
            decimals=1,
            width=8,
        ),
        number(
            Told(
                "Lockouts",
                "Accounts that were locked after too many wrong passwords. Yellow from 1, red from 10.",
                "Many: somebody goes through accounts. Block the sources below, and tell the accounts' owners.",
            ),
            logql(or_zero(count(event(_STREAM, "lockout")), count(_STREAM))),
            "short",
            Limits(1, 10),
            width=8,
            link=Link("These lines", to_dashboard(EXPLORER, service=SERVICE, text="lockout")),
        ),
        curve(
            Told(
                "Logins by outcome",
                "Logins per second.",
                "Failures rise while successes do not: somebody tries passwords, see the sources below.",
            ),
            [logql(rate(_logins("outcome"), "outcome"), "{{outcome}}")],
            "reqps",
            stacked=True,
        ),
        curve(
            Told(
                "Why logins were refused",
                "`bad_password`, `unknown_user`, `locked`; refused logins per second.",
                "`unknown_user` rises: somebody guesses names. `bad_password`: passwords. `locked`: an attack that "
                "was stopped, or people who cannot get in any more.",
            ),
            [logql(rate(_logins("outcome", "reason", where=_REFUSED), "reason"), "{{reason}}")],
            "reqps",
            stacked=True,
        ),
        grid(
            Told(
                "Refused logins by source",
                "The twenty addresses with the most refused logins. Yellow from 5, red from 20. " + ONE_ANSWER,
                "An address with many is an attack, or a proxy with many people behind it: the users in its lines say "
                "which. Click it for them.",
            ),
            {"source": "source"},
            [
                Column(
                    "refused",
                    logql(f"topk(20, {count(_logins('outcome', 'source', where=_REFUSED), 'source')})"),
                    "short",
                    Limits(5, 20),
                )
            ],
            links={
                "source": [
                    Link(
                        "Lines with this address",
                        to_dashboard(
                            EXPLORER, service=SERVICE, text=having("sourceAddress", "${__data.fields.source}")
                        ),
                    )
                ]
            },
        ),
        lines(
            Told(
                "Newest lockouts",
                "Accounts that were locked, newest first.",
                "Open one for the account (`user_id`) and the source.",
            ),
            logql(f"{event(_STREAM, 'lockout')} {READABLE}"),
            width=12,
            height=8,
        ),
    ]


def _token_panels() -> list[Panel]:
    refused = event(_STREAM, "token_check", "outcome", "reason", where=_REFUSED)
    return [
        curve(
            Told(
                "Refused tokens",
                "Tokens per second that were refused, by reason. Those that were accepted are logged at debug only.",
                "`expired` rises: clients do not renew, or a clock is wrong. `invalid`: keys were changed, or somebody "
                "makes tokens up. `missing`: a client that was just released.",
            ),
            [logql(rate(refused, "reason"), "{{reason}}")],
            "reqps",
            stacked=True,
            width=24,
        )
    ]


BOARD: Final[Board] = service_board(
    SERVICE,
    "auth",
    "Who gets in, who does not and why, and is somebody trying passwords?",
    [Section("Logins", _login_panels()), Section("Tokens", _token_panels())],
)
