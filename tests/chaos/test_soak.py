"""Row "all of it": the soak of `make chaos` in its short form.

Seen red on purpose, as soaks of half a minute with seed 5: 5xx counting as delivered; a batch committed when taken, not
when settled; unknown digits of timestamps from the clock; a letter that was refused counting as confirmed.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.faults import FAULTS
from chaos.soak import may_meet

TESTS = Path(__file__).parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.loki]


@pytest.mark.timeout(600)
def test_half_a_minute_of_faults_loses_nothing_and_stores_nothing_twice(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [
        sys.executable,
        "-m",
        "chaos",
        "--minutes",
        "0.5",
        "--seed",
        "3",
        "--rate",
        "1000",
        "--json",
        str(figures),
    ]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    account = json.loads(figures.read_text())
    assert len(account["episodes"]) >= 2, done.stdout
    assert account["judgement"]["records"] > 10_000
    assert account["judgement"]["dead_lettered"] > 0
    assert "lost 0, duplicated 0" in done.stdout


def test_two_faults_at_once_never_hit_the_same_part() -> None:
    for fault in FAULTS:
        assert not may_meet(fault, fault)
    pairs = [(one, other) for one in FAULTS for other in FAULTS if may_meet(one, other)]
    assert all(one.part != other.part for one, other in pairs)
    assert {frozenset((one.part, other.part)) for one, other in pairs} >= {
        frozenset(("Loki", "Kafka")),
        frozenset(("Loki", "worker")),
        frozenset(("Kafka", "worker")),
        frozenset(("Loki", "dead letters")),
    }
