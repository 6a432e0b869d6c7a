"""Tables of which there is more than Loki shows by itself, and links from names that begin as others do."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs

import pytest
import requests

from alerting import promtool
from deployed import LOKI_CONFIGS, read_config
from panels import Servers, Window, boards, filled_in, find, panels
from servicelog.record import RecordWriter
from shipper.devstack.loki import LokiServer

pytestmark = pytest.mark.loki

# More than the 500 series that Loki answers with where it is not set up, and than were allowed here once.
MANY = 6_000
AUTH, USER, CHAT, NOTIFICATION = (f"{name}-service" for name in ("auth", "user", "chat", "notification"))
_LETTERS = str.maketrans("0123456789", "ghijklmnop")  # none that looks like a number to a pattern

Line = tuple[str, str, bytes, str]


def _lines(at_ms: int) -> Iterator[Line]:
    """Service, level, line, and request: what is there once has a namesake that begins the same."""

    def line(service: str, level: str, message: str, request: object = "", **fields: object) -> Line:
        written = RecordWriter(service).write(at_ms, level, message, {**fields, "requestId": f"req-{request}"})
        return service, level, written, f"req-{request}"

    def asked(path: str, route: str | None, status: int) -> Line:
        fields = {"context": "access", "method": "GET", "route": route, "status": status, "durationMs": 5}
        return line(USER, "info", f"GET {path} {status}", **fields)

    for number in range(MANY):
        source = f"10.0.{number // 200}.{number % 200}"
        yield line(
            AUTH, "error", "Login", number, event="login", outcome="failure", reason="locked", sourceAddress=source
        )
        said = f"Message stored {number}".translate(_LETTERS)
        yield line(CHAT, "info", said, number, event="message_stored", conversationId=f"room-{number}")
    for number in range(30):
        yield asked(f"/{number}.php".translate(_LETTERS), None, 404)
    yield from [asked("/v1/users", "/v1/users", 200)] * 2 + [asked("/v1/users/7", "/v1/users/{user}", 200)] * 3
    for provider, times in (("acme", 2), ("acme-sms", 3)):
        sent = {"event": "notification", "outcome": "success", "channel": "push", "provider": provider}
        yield from [line(NOTIFICATION, "info", f"Notification sent by {provider}", **sent)] * times


class Many(NamedTuple):
    """A Loki that holds these lines, and when they were written."""

    servers: Servers
    window: Window


@pytest.fixture(scope="module")
def many(server_dir: Callable[[str], Path]) -> Iterator[Many]:
    ours = read_config(LOKI_CONFIGS[0])["limits_config"]
    with LokiServer(server_dir("many"), limits={"max_query_series": ours["max_query_series"]}) as loki:
        at_ns = time.time_ns()
        streams: dict[tuple[str, str], list[object]] = {}
        for number, (service, level, line, request) in enumerate(_lines(at_ns // 10**6)):
            entry = [str(at_ns + number), line.decode(), {"request_id": request}]
            streams.setdefault((service, level), []).append(entry)
        for (service, level), entries in streams.items():
            body = {"streams": [{"stream": {"service": service, "level": level}, "values": entries}]}
            answer = requests.post(f"{loki.url}/loki/api/v1/push", json=body, timeout=30)
            assert answer.status_code == 204, answer.text
        now_s = int(time.time()) + 1
        yield Many(Servers(loki.url, ""), Window(now_s - 600, now_s, 5))


@pytest.mark.parametrize(
    ("uid", "panel", "rows"),
    [
        ("service-auth-service", "Refused logins by source", 20),
        ("service-chat-service", "Busiest conversations", 10),
        ("explorer", "Requests with errors", 20),
        ("noise", "By pattern of the message", 50),
    ],
)
def test_a_table_of_what_has_no_end_has_its_first_rows(many: Many, uid: str, panel: str, rows: int) -> None:
    assert len(many.servers.ask(find(uid, panel), many.window)) == rows


def test_requests_that_fit_no_route_are_one_pattern(many: Many) -> None:
    found = many.servers.ask(find("noise", "By pattern of the message"), many.window, service=[USER])
    patterns = {it.labels["message"] for it in found}
    assert patterns == {"requests that fit no route", "GET /v#/users #", "GET /v#/users/# #"}


@pytest.mark.parametrize(
    ("uid", "panel", "link", "fields", "lines"),
    [
        ("service-auth-service", "Refused logins by source", "Lines with this address", {"source": "10.0.0.1"}, 1),
        ("service-chat-service", "Busiest conversations", "Lines of this conversation", {"conversation": "room-1"}, 1),
        ("service-user-service", "Routes", "Lines of this route", {"route": "/v1/users"}, 2),
        ("overview", "Slowest routes", "Lines of this route", {"service": USER, "route": "/v1/users"}, 2),
        ("service-notification-service", "What providers answer", "Lines of this provider", {"provider": "acme"}, 2),
        ("explorer", "Requests with errors", "Everything that this request did", {"request": "req-1"}, 2),
    ],
)
def test_a_link_leads_to_the_lines_that_it_promises_and_to_no_others(
    many: Many, uid: str, panel: str, link: str, fields: dict[str, str], lines: int
) -> None:
    there = next(it for it in panels(boards()[uid]) if it["title"] == panel)["fieldConfig"]["overrides"]
    links = [one for it in there for prop in it["properties"] if prop["id"] == "links" for one in prop["value"]]
    [url] = {it["url"] for it in links if it["title"] == link}
    url = re.sub(r"\$\{__data\.fields\.(\w+)\}", lambda found: fields[found[1]], url)
    chosen = parse_qs(url.partition("?")[2])
    named = {name.removeprefix("var-"): values for name, values in chosen.items() if name.startswith("var-")}
    several = {name: named.pop(name) for name in ("service", "level") if name in named}
    single = {name: value for name, values in named.items() for value in values}
    [found] = many.servers.ask(find("explorer", "Lines"), many.window, **several, **single)
    assert found.values[0][1] == lines


@pytest.mark.prometheus
@pytest.mark.parametrize(
    ("panel", "ref", "series", "wanted"),
    [
        ("Kafka", "A", "shipper_kafka_state", {"{}": 2}),
        ("Loki", "A", "shipper_loki_state", {"{}": 2}),
        (
            "Partitions",
            "B",
            "shipper_partition_lag_seconds",
            {f'{{instance="{it}", partition="0", topic="logs", worker="0"}}': age for it, age in (("a", 40), ("b", 7))},
        ),
    ],
)
def test_what_two_shippers_say_is_not_added_up(
    tmp_path: Path, panel: str, ref: str, series: str, wanted: dict[str, int]
) -> None:
    states = {"a": "refusing", "b": "retrying"}
    told = {
        f'{series}{{instance="{it}", state="{state}"}}': int(states[it] == state)
        for it in states
        for state in (*states.values(), "ok")
    }
    if panel == "Partitions":
        told = {f"{series}{labels}": age for labels, age in wanted.items()}
    case = {
        "interval": "1m",
        "input_series": [{"series": it, "values": str(value)} for it, value in told.items()],
        "promql_expr_test": [
            {
                "expr": filled_in(find("shipper", panel, ref), {"shipper": None}),
                "eval_time": "0m",
                "exp_samples": [{"labels": labels, "value": value} for labels, value in wanted.items()],
            }
        ],
    }
    rules = tmp_path / "case.yaml"
    rules.write_text(json.dumps({"tests": [case]}))  # JSON is YAML
    promtool("test", "rules", str(rules))
