"""The whole worker: measured against the bare loop with the real servers, and seen to work without them."""
# ruff: noqa: D103 - a test's name is its documentation

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from confluent_kafka import Message

from benchmarks import end_to_end, report
from benchmarks.cases import BASE, CASES, Case
from shipper.devstack.broker import EmbeddedBroker
from shipper.devstack.standin import LokiStandIn
from shipper.pipeline import Rules, prepare
from shipper.records import RecordBatch
from shipper.settings import Settings

_TIMEOUT_S = 1_500


@pytest.mark.kafka
@pytest.mark.nginx
@pytest.mark.slow
@pytest.mark.timeout(_TIMEOUT_S)
def test_a_worker_against_a_bare_consume_loop(
    capfd: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    # In a process of its own: what pytest has imported would be imported again in every process that is measured.
    chosen = [option for case in request.config.getoption("--case") for option in ("--case", case)]
    command = [sys.executable, "-m", "benchmarks", *(["cases", *chosen] if chosen else ["--write"])]
    with capfd.disabled():
        subprocess.run(command, cwd=Path(__file__).parents[1], check=True, timeout=_TIMEOUT_S - 10)


@pytest.mark.parametrize("name", ["base", "2 workers", "2 filters, 3 redactions"])
def test_the_measurement_works(name: str, server_dir: Callable[[str], Path], tmp_path: Path) -> None:
    case = replace(next(case for case in CASES if case.name == name), records=2_000)
    with EmbeddedBroker(server_dir("broker")) as broker, LokiStandIn(server_dir("loki")) as loki:
        topic = end_to_end.fill_topic(broker.bootstrap, case)
        figures = end_to_end.summarise(case, end_to_end.run_pairs(topic, loki.url, pairs=1))
        beside = end_to_end.run_beside(topic, topic, loki.url, pairs=1)
    results = report.Results("a test", cases={BASE: figures, case: figures}, besides={case: beside})
    report.write(results, tmp_path / "RESULTS.md")
    written = (tmp_path / "RESULTS.md").read_text()
    assert f"| {case.name} | **{figures.ratio.median:.2f}** |" in written
    assert f"- {case.name}, in turns with " in written
    assert ET.parse(tmp_path / "results.svg").getroot().tag.endswith("svg")  # noqa: S314 - it is our own


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_has_the_records_that_it_names(case: Case) -> None:
    values = [value for chunk in replace(case, records=10_000).chunks() for value in chunk.values]
    assert len(values) == 10_000
    if case.record_bytes:
        assert sum(map(len, values)) / len(values) == pytest.approx(case.record_bytes, rel=0.12)
    now_ms = time.time_ns() // 1_000_000
    messages = [
        Message(topic="logs", partition=0, offset=offset, value=value, timestamp=(1, now_ms))
        for offset, value in enumerate(values)
    ]
    batch = RecordBatch("logs", messages)  # type: ignore[arg-type]  # confluent_kafka has no types
    prepared = prepare(batch, Rules.compile(case.configure(Settings())), now_ns=time.time_ns())
    assert sum(prepared.malformed.values()) / len(values) == pytest.approx(case.malformed, rel=0.25)
    if case.streams:
        assert len(prepared.streams.labels) == pytest.approx(case.streams, rel=0.2)
    assert bool(prepared.filtered) == case.rules
