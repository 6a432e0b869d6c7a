"""`make chat`, small: as a user starts it on a machine where nothing runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from examples.chat import SERVICES
from examples.chat.following import picture_of_counts


@pytest.mark.slow
def test_make_chat_follows_one_request_through_all_five_services_and_counts_every_record(tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "examples.chat", "--requests", "1"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    followed, counted = shown.stdout.split("One request, as Loki has it")[1].split("Records by service and level")
    for service in SERVICES:
        assert re.search(rf"^ +\+\d+ ms  {service} ", followed, re.MULTILINE), shown.stdout
        assert re.search(rf"^ +{service} .* ([\d,]+) +\1 +✓$", counted, re.MULTILINE), shown.stdout
    assert re.search(r"✓ [\d,]+ records: each service has sent as many as Loki holds", counted)
    assert not list(tmp_path.iterdir())


def test_a_counter_that_does_not_agree_with_loki_is_marked() -> None:
    sent = dict.fromkeys(SERVICES, 3)
    found = {(service, level): 1 for service in SERVICES for level in ("debug", "info", "error")}
    found["chat-service", "error"] = 2
    marks = dict(zip(SERVICES, picture_of_counts(sent, found).columns[-1].cells, strict=True))
    assert {service: str(mark) for service, mark in marks.items()} == dict.fromkeys(SERVICES, "✓") | {
        "chat-service": "✗"
    }
