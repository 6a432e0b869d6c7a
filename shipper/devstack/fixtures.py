"""A pytest plugin: the real servers as fixtures, and the account of which of them were there.

A test that uses a part carries the part's marker: it is set here for every test whose fixtures need the part, and by
hand (`pytest.param(…, marks=pytest.mark.kafka)`) where a test takes the fixture by `getfixturevalue`. When a part is
not on this machine its tests skip, or fail where `SHIPPER_REQUIRE_REAL=1`; the summary says in capitals which part it
is, and how to get it. Nothing is fetched or built here: `make parts` does that.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from shipper.devstack import grafana, parts
from shipper.devstack.kafka import KafkaServer
from shipper.devstack.loki import LokiServer
from shipper.devstack.nginx import NginxSink

_PART_OF_FIXTURE = {
    "kafka": "kafka",
    "loki": "loki",
    "prometheus": "prometheus",
    "alertmanager": "alertmanager",
    "nginx_sink": "nginx",
    "chromium": "chromium",
    "node": "node",
}
_OPTIONAL = ("grafana",)  # cannot be had everywhere: `SHIPPER_REQUIRE_REAL=1` does not demand it
_PARTS = (*_PART_OF_FIXTURE.values(), *_OPTIONAL)
_RAN, _MISSING = "real part", "missing real part"
"""Properties of a test's reports: these reach the summary from another process too, when tests run in several."""


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Mark each test with the parts that its fixtures need."""
    for item in items:
        for fixture in set(getattr(item, "fixturenames", ())) & _PART_OF_FIXTURE.keys():
            item.add_marker(_PART_OF_FIXTURE[fixture])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip or fail a test whose part is missing, before any server is started."""
    needed = [part for part in _PARTS if item.get_closest_marker(part)]
    for part in needed:
        if part == "grafana" and grafana.running_elsewhere():
            continue
        try:
            parts.locate(part)
        except parts.PartMissingError as missing:
            item.user_properties.append((_MISSING, (part, missing.why, missing.way_out)))
            if os.environ.get("SHIPPER_REQUIRE_REAL") == "1" and part not in _OPTIONAL:
                pytest.fail(str(missing), pytrace=False)
            pytest.skip(str(missing))
    item.user_properties.extend((_RAN, part) for part in needed)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what ran against real parts, and what could not."""
    properties = {
        report.nodeid: report.user_properties
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport)
    }
    told: list[tuple[str, Any]] = [one for properties_of_test in properties.values() for one in properties_of_test]
    ran = Counter(part for kind, part in told if kind == _RAN)
    missing = Counter(tuple(part) for kind, part in told if kind == _MISSING)
    if not ran and not missing:
        return
    terminalreporter.section("real parts")
    if ran:
        terminalreporter.line(
            "tests against real parts: " + ", ".join(f"{part} {ran[part]}" for part in _PARTS if ran[part])
        )
    for (part, why, way_out), tests in missing.items():
        terminalreporter.line(f"{part.upper()} IS MISSING: {tests} TESTS DID NOT RUN", red=True, bold=True)
        terminalreporter.line(f"    why: {why}")
        terminalreporter.line(f"    way out: {way_out}")


@pytest.fixture(scope="session")
def server_dir() -> Iterator[Callable[[str], Path]]:
    """Makes folders for servers' data, deleted at the end: pytest's own folders keep three runs' data."""
    with tempfile.TemporaryDirectory(prefix="shipper-tests-", ignore_cleanup_errors=True) as root:
        yield lambda name: Path(tempfile.mkdtemp(prefix=f"{name}-", dir=root))


@pytest.fixture(scope="session")
def kafka(server_dir: Callable[[str], Path]) -> Iterator[KafkaServer]:
    """A real Kafka for the whole run; a test that kills it starts its own `KafkaServer`."""
    with KafkaServer(server_dir("kafka")) as server:
        yield server


@pytest.fixture(scope="session")
def loki(server_dir: Callable[[str], Path]) -> Iterator[LokiServer]:
    """A real Loki for the whole run; a test tells its entries from others' by a label value of its own."""
    with LokiServer(server_dir("loki")) as server:
        yield server


@pytest.fixture(scope="session")
def nginx_sink(server_dir: Callable[[str], Path]) -> Iterator[NginxSink]:
    """A sink that reads bodies and answers 204, for the whole run."""
    with NginxSink(server_dir("nginx")) as server:
        yield server
