"""docs/api.md is true: its commands are run in a shell, against a log API on a real Loki, and print what it says.

The data is an incident: the push provider of notification-service times out now and then. In the document `…` stands
for any text, and a line of it alone for any lines.
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from log_api import PEOPLE, LogApi
from loki_target import S, Target, make_line
from shipper.devstack.loki import LokiServer
from shipper.devstack.server import HOST, free_port

pytestmark = pytest.mark.loki
_DOCUMENT = Path(__file__).parents[2] / "docs" / "api.md"
_BLOCK = re.compile(r"```sh\n(?P<command>.*?)```(?:\s*```text\n(?P<output>.*?)```)?", re.DOTALL)
_MS = 10**6


def _records() -> Iterator[tuple[str, str, float, dict[str, Any], str]]:
    """Service, level, ms since the beginning, record, request: twenty messages, of which five are not delivered."""
    for n in range(20):
        request, at_ms, failed = f"req-{n:04d}", n * 2_000.0, n % 4 == 3
        for service, offset_ms, level, message, more in (
            ("api-gateway", 0.0, "info", "Upstream called", {"event": "upstream_call", "durationMs": 41.5}),
            ("chat-service", 12.0, "info", "Message stored", {"event": "message_stored", "durationMs": 4}),
            ("notification-service", 30.0, "warn" if failed else "info", *_delivery(n, failed=failed)),
        ):
            yield service, level, at_ms + offset_ms, {"message": message, **more}, request
        if failed:
            error = {"type": "ProviderTimeoutError", "message": "no answer"}
            more = {"event": "notification", "outcome": "failure", "reason": "provider_timeout", "error": error}
            message = f"Gave up on message {1000 + n} after 3 attempts"
            yield "notification-service", "error", at_ms + 5_030, {"message": message, **more}, request


def _delivery(n: int, *, failed: bool) -> tuple[str, dict[str, Any]]:
    outcome = "retry" if failed else "success"
    return "Notification failed" if failed else "Notification sent", {
        "event": "notification",
        "outcome": outcome,
        "metadata": {"channel": "push", "attempt": 1, "messageId": f"msg-{1000 + n}"},
    }


@pytest.fixture(scope="module")
def api(server_dir: Any) -> Iterator[LogApi]:  # noqa: ANN401 - pytest's
    now_ns = time.time_ns()
    with LokiServer(server_dir("loki-document")) as loki:
        target = Target(loki.url)
        streams: dict[tuple[str, str], list[Any]] = {}
        for service, level, at_ms, record, request in _records():
            line = json.dumps({"level": level, "service": service, **record, "requestId": request})
            at_ns = now_ns - 300 * S + int(at_ms * _MS)
            streams.setdefault((service, level), []).append(make_line(line, at_ns, request_id=request))
        target.push(*(target.stream(*own, service=service, level=level) for (service, level), own in streams.items()))
        shippers = [f"http://{HOST}:{free_port()}"]
        with LogApi(
            loki.url, {"secret": PEOPLE["operator"]}, shippers=shippers, tail_poll_s=0.2, tail_heartbeat_s=0.2
        ) as served:
            yield served


def test_every_command_of_the_document_prints_what_the_document_says(api: LogApi, tmp_path: Path) -> None:
    blocks = list(_BLOCK.finditer(_DOCUMENT.read_text()))
    assert len(blocks) >= 10
    # One shell for all of them: what one block sets, a later one uses.
    script = "set -euo pipefail\n" + "\n".join(f"{block['command']}\necho '--- {n}'" for n, block in enumerate(blocks))
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "LOG_API": api.url, "TOKEN": "secret"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr
    printed = re.split(r"--- \d+\n", done.stdout)
    for block, output in zip(blocks, printed, strict=False):
        if block["output"] is not None:
            pattern = re.escape(block["output"].rstrip("\n"))
            pattern = re.sub(r"(?m)^…$", "(?s:.*)", pattern).replace("…", ".*?")
            assert re.fullmatch(pattern, output.rstrip("\n")), f"{block['command']}\nprinted:\n{output}"


def test_the_document_names_every_kind_of_call(api: LogApi) -> None:
    text = _DOCUMENT.read_text()
    document = api.get("/openapi.json", who="secret").json()
    kinds = {"/".join(path.split("/")[:3]) for path in document["paths"]}
    assert [kind for kind in sorted(kinds) if f"GET {kind}" not in text and f"POST {kind}" not in text] == []
