"""Records of the form that the services of the chat example write, as streams for Loki."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS


class Entry(NamedTuple):
    """An entry for Loki: its labels, its time in nanoseconds since the epoch, its line."""

    labels: dict[str, str]
    at_ns: int
    line: str


def record(service: str, level: str, at_ns: int, **members: Any) -> Entry:  # noqa: ANN401 - any JSON
    """Return a record as servicelog writes it: without white space."""
    line = json.dumps({"level": level, "service": service, **members}, separators=(",", ":"))
    return Entry({"service": service, "level": level}, at_ns, line)


def access(service: str, at_ns: int, status: int = 200, duration_ms: float | None = 20) -> Entry:
    """Return the access line of a request."""
    level = "info" if status < 400 else "warn" if status < 500 else "error"
    known = {} if duration_ms is None else {"durationMs": duration_ms}
    members = {"context": "access", "method": "GET", "route": "/v1/rooms/{room}/messages", "status": status}
    return record(service, level, at_ns, message="GET", **members, **known)


def login(at_ns: int, address: str | None, outcome: str = "failure") -> Entry:
    """Return what auth-service writes of a login."""
    metadata = {} if address is None else {"sourceAddress": address, "failedAttempts": 3}
    members = {"context": "Login", "event": "login", "outcome": outcome, "metadata": metadata}
    return record("auth-service", "info" if outcome == "success" else "warn", at_ns, message="Login", **members)


def spread(make: Any, number: int, since_ns: int, until_ns: int) -> Iterator[Entry]:  # noqa: ANN401 - a function
    """Yield so many entries, evenly over this time: `make(at_ns)` each."""
    for index in range(number):
        yield make(since_ns + (until_ns - since_ns) * index // number)


def bad_input(now_ns: int) -> Iterator[Entry]:
    """Yield what must change no alert: lines that are no JSON, members of other types, labels and levels of no use."""
    for index in range(40):
        at_ns = now_ns - index * SECOND_NS
        yield Entry({"service": "chat-service", "level": "error"}, at_ns, 'access login "context":"access" status 500')
        yield Entry({"service": "unknown", "level": "unknown"}, at_ns, '{"context":"access","status":')
        yield Entry({"level": "error"}, at_ns, '{"context":"access","status":500,"durationMs":9000}')
        yield record("chat-service", "loud", at_ns, context="access", status="five hundred", durationMs="slow")
        yield record("chat-service", "error", at_ns, context="access", status=None, durationMs=None)
        for text in ("NaN", "Infinity"):  # numbers to Loki
            yield record("chat-service", "error", at_ns, context="access", status=text, durationMs=text)
        yield record("auth-service", "warn", at_ns, event=["login"], outcome={"failure": True}, metadata="login")
