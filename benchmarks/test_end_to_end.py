"""The whole worker: measured against the bare loop with the real servers, and seen to work without them."""
# ruff: noqa: D103 - a test's name is its documentation

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import end_to_end
from shipper.devstack.broker import EmbeddedBroker
from shipper.devstack.standin import LokiStandIn

_TIMEOUT_S = 1_500


@pytest.mark.kafka
@pytest.mark.nginx
@pytest.mark.slow
@pytest.mark.timeout(_TIMEOUT_S)
def test_a_worker_against_a_bare_consume_loop(capfd: pytest.CaptureFixture[str]) -> None:
    # In a process of its own: what pytest has imported would be imported again in every process that is measured.
    command = [sys.executable, "-m", "benchmarks", "--results", str(end_to_end.RESULTS)]
    with capfd.disabled():
        subprocess.run(command, cwd=Path(__file__).parents[1], check=True, timeout=_TIMEOUT_S - 10)


def test_the_measurement_works(server_dir: Callable[[str], Path]) -> None:
    with EmbeddedBroker(server_dir("broker")) as broker, LokiStandIn(server_dir("loki")) as loki:
        topic = end_to_end.fill_topic(broker.bootstrap, records=2_000)
        pairs = end_to_end.run_pairs(topic, loki.url, pairs=1)
    assert "RATIO" in end_to_end.table(end_to_end.summarise(topic, pairs))
