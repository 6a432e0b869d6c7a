"""Figures about this process of the log API, and the middleware that counts calls."""

import time

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE = CONTENT_TYPE_LATEST
_REGISTRY = CollectorRegistry()
_CALLS = Counter("log_api_calls", "Calls by route and status.", ["route", "status"], registry=_REGISTRY)
_SECONDS = Histogram(
    "log_api_call_seconds",
    "How long calls took until their answer was complete; tails and exports included.",
    ["route"],
    registry=_REGISTRY,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
_LINES = Counter("log_api_lines", "Lines that were answered, by route.", ["route"], registry=_REGISTRY)
STREAMS = Gauge("log_api_streams", "Tails and exports that are under way.", registry=_REGISTRY)
FILES = Gauge("log_api_parquet_files", "Parquet files that are being written.", registry=_REGISTRY)
MISSED = Counter("log_api_tail_missed_lines", "Lines that slow readers of tails did not get.", registry=_REGISTRY)
TABLE_BEHIND = Gauge(
    "log_api_table_behind_seconds",
    "So long ago a table was last seen to hold all that its topic has; up to 6 s is usual.",
    ["topic"],
    registry=_REGISTRY,
)


def render() -> bytes:
    """Return all of it in Prometheus' text format."""
    return generate_latest(_REGISTRY)


class Counted:
    """Counts calls by their route's template, never by a path that a caller makes up."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = 500, time.perf_counter()

        async def noticed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noticed)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            _CALLS.labels(route, str(status)).inc()
            _SECONDS.labels(route).observe(time.perf_counter() - started)
            if visit := scope.get("state", {}).get("visit"):
                _LINES.labels(route).inc(visit.facts.get("lines", 0))
