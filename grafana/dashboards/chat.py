"""The chat service: messages, to how many, how large, and how long until they are delivered."""

from typing import Final

from grafana.dashboards import notifications
from grafana.dashboards.board import Board, Section
from grafana.dashboards.logql import count, event, mean, or_zero, quantile, rate, total
from grafana.dashboards.names import EXPLORER, having, to_dashboard
from grafana.dashboards.panels import Column, Limits, Link, Panel, Told, curve, grid, number
from grafana.dashboards.queries import logql
from grafana.dashboards.service import ONE_ANSWER, percentiles, service_board, stream

SERVICE: Final = "chat-service"
_STREAM: Final = stream(SERVICE)


def _stored(*names: str) -> str:
    return event(_STREAM, "message_stored", *names)


def _numbers() -> list[Panel]:
    unpublished = event(_STREAM, "message_published", "outcome", where='outcome="failure"')
    return [
        number(
            Told(
                "Messages",
                "Messages that were stored in the range.",
                "None while people write: read the newest errors at the end.",
            ),
            logql(or_zero(count(_stored()), count(_STREAM))),
            "short",
            width=6,
        ),
        number(
            Told(
                "Recipients per message",
                "How many people a message goes to, on average.",
                "A jump: a very large room, which makes that many notifications of each message.",
            ),
            logql(mean(_stored("recipients"), "recipients")),
            "short",
            decimals=1,
            width=6,
        ),
        number(
            Told(
                "Delivered within (p95)",
                "From storing a message to delivering its notification, for 95 of 100. Yellow from 5 s, red from 30 s.",
                "Open the notification service's dashboard: a provider is slow or throttles, or the service lags.",
            ),
            logql(quantile(0.95, notifications.delivered("delivery_ms"), "delivery_ms")),
            "ms",
            notifications.DELIVERY_MS,
            width=6,
        ),
        number(
            Told(
                "Not published",
                "Messages that were stored, but not handed on to notifications. Anything but 0 is bad.",
                "Kafka did not take them: see whether it lives. Their recipients were not told.",
            ),
            logql(or_zero(count(unpublished), count(_STREAM))),
            "short",
            Limits(1, 1),
            width=6,
            link=Link("These lines", to_dashboard(EXPLORER, service=SERVICE, text="message_published")),
        ),
    ]


def _curves() -> list[Panel]:
    return [
        curve(
            Told(
                "Messages stored",
                "Per second.",
                "Falls to nothing while the gateway is asked: storing fails, read the newest errors.",
            ),
            [logql(rate(_stored()), "messages")],
            "cps",
        ),
        curve(
            Told(
                "Recipients",
                "Notifications that messages ask for, in each step: the load of the notification service.",
                "Rises faster than the messages: large rooms. The table below says which conversations.",
            ),
            [logql(total(_stored("recipients"), "recipients"), "recipients")],
            "short",
        ),
        curve(
            Told(
                "How long storing takes",
                "Half, 95 and 99 of 100 messages were stored within this time. The lines are 100 ms and 500 ms.",
                "The database is slow: look at its load and locks.",
            ),
            percentiles(_stored("durationMs"), "durationMs"),
            "ms",
            Limits(100, 500),
        ),
        curve(
            Told(
                "How long delivery takes",
                "From storing a message to delivering its notification, as the notification service measures it. The "
                "lines are 5 s and 30 s.",
                "Open the notification service's dashboard.",
            ),
            percentiles(notifications.delivered("delivery_ms"), "delivery_ms"),
            "ms",
            notifications.DELIVERY_MS,
        ),
        curve(
            Told(
                "Size of messages",
                "Bytes of half, and of 95 of 100 messages. The lines are 8 KiB and 64 KiB.",
                "Large ones: somebody sends files as text.",
            ),
            [
                logql(quantile(at, _stored("message_bytes"), "message_bytes"), name)
                for at, name in ((0.5, "p50"), (0.95, "p95"))
            ],
            "bytes",
            Limits(8_192, 65_536),
        ),
        grid(
            Told(
                "Busiest conversations",
                "The ten conversations with the most messages. " + ONE_ANSWER,
                "One far above the others: a bot, or a loop between two. Click it for its lines.",
            ),
            {"conversation": "conversation"},
            [Column("messages", logql(f"topk(10, {count(_stored('conversation'), 'conversation')})"), "short")],
            links={
                "conversation": [
                    Link(
                        "Lines of this conversation",
                        to_dashboard(EXPLORER, text=having("conversationId", "${__data.fields.conversation}")),
                    )
                ]
            },
        ),
    ]


BOARD: Final[Board] = service_board(
    SERVICE,
    "chat",
    "How many messages are written, to how many people, and how long until they are delivered?",
    [Section("Messages", [*_numbers(), *_curves()])],
)
