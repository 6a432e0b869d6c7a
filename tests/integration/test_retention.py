"""Ninety days, seen on a real Loki: the deployed configuration, with short intervals where Loki permits them."""

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from deployed import ROOT, TENANT, DeployedLoki

pytestmark = [pytest.mark.slow, pytest.mark.loki]

WAIT_S = 90.0
MINUTE_NS = 60 * 10**9
DAY_NS = 24 * 60 * MINUTE_NS

KEPT = {
    "an hour ago": ({"service": "chat-service", "level": "info"}, 1 / 24),
    "89 days ago": ({"service": "chat-service", "level": "info"}, 89),
    "debug, 6 days ago": ({"service": "chat-service", "level": "debug"}, 6),
    "audit, 91 days ago": ({"service": "log-api", "level": "info"}, 91),
    "audit, 399 days ago": ({"service": "log-api", "level": "info"}, 399),
    "audit at level debug, 8 days ago": ({"service": "log-api", "level": "debug"}, 8),
}
GONE = {
    "91 days ago": ({"service": "chat-service", "level": "info"}, 91),
    "debug, 8 days ago": ({"service": "chat-service", "level": "debug"}, 8),
    "trace, 8 days ago": ({"service": "chat-service", "level": "trace"}, 8),
    "audit, 401 days ago": ({"service": "log-api", "level": "info"}, 401),
}


def chunks(loki: DeployedLoki) -> int:
    """Count the chunks on disk."""
    return sum(path.is_file() for path in (loki.data_dir / "data" / "chunks" / TENANT).rglob("*"))


def ask(loki: DeployedLoki, since_ns: int, until_ns: int) -> set[str]:
    """Return every line that a query of this range finds."""
    asked = {"query": '{service=~".+"}', "start": str(since_ns), "end": str(until_ns)}
    answer = requests.get(
        f"{loki.url}/loki/api/v1/query_range", params=asked, headers={"X-Scope-OrgID": TENANT}, timeout=60
    )
    assert answer.ok, answer.text
    return {line for stream in answer.json()["data"]["result"] for _, line in stream["values"]}


def lines(loki: DeployedLoki, now_ns: int) -> set[str]:
    """Return every line that a query of the minute around it finds."""
    days = {days for _, days in (KEPT | GONE).values()}
    moments = [now_ns - int(ago * DAY_NS) for ago in days]
    return set().union(*(ask(loki, at_ns - MINUTE_NS, at_ns + MINUTE_NS) for at_ns in moments))


def applied(loki: DeployedLoki) -> bool:
    """Say whether the compactor has applied the retention to the whole index."""
    metrics = requests.get(f"{loki.url}/metrics", timeout=10).text
    return bool(
        re.search(r'^loki_compactor_apply_retention_operation_total{status="success"} [1-9]', metrics, re.MULTILINE)
    )


def wait_for(reached: Callable[[], bool], told: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not reached():
        assert time.monotonic() < deadline, told()
        time.sleep(0.2)


def test_what_is_older_than_its_retention_is_gone_from_queries_and_from_disk_and_all_else_stays(
    server_dir: Callable[[str], Path],
) -> None:
    # Nothing of the retention itself is changed: Loki permits none below a day, so the entries are old instead.
    quick = {
        "limits_config": {"reject_old_samples": False},
        "compactor": {"compaction_interval": "1s", "apply_retention_interval": "1s", "retention_delete_delay": "1s"},
        # Its write-ahead log would bring back what was written a moment ago, however old it says it is.
        "ingester": {"wal": {"enabled": False}},
        "query_range": {"cache_results": False, "results_cache": None},
    }
    slow = {**quick, "compactor": {}}
    folder = server_dir("loki")
    config = ROOT / "loki" / "production-monolithic.yaml"
    entries = KEPT | GONE
    with DeployedLoki(folder, config, slow) as loki:
        # A label of its own for each: entries of one chunk are deleted together.
        now_ns = time.time_ns()
        loki.push(
            [({**labels, "case": name}, now_ns - int(days * DAY_NS), name) for name, (labels, days) in entries.items()]
        )
    assert chunks(loki) == len(entries)
    # What an ingester has indexed in the last hours it keeps by itself, which nothing of 90 days ago is in truth.
    shutil.rmtree(folder / "data" / "tsdb-shipper-active")

    with DeployedLoki(folder, config, quick) as loki:
        wait_for(lambda: applied(loki), loki.log_tail)
    # What deletes the chunks looks once a minute, and what reads the index keeps it as long; both look at the start.
    with DeployedLoki(folder, config, quick) as loki:
        assert lines(loki, now_ns) == set(KEPT)
        wait_for(lambda: chunks(loki) == len(KEPT), lambda: (chunks(loki), loki.log_tail()))
        assert lines(loki, now_ns) == set(KEPT)
        # One query may ask for all ninety days.
        assert ask(loki, now_ns - 90 * DAY_NS, now_ns + MINUTE_NS) == {
            name for name, (_, days) in KEPT.items() if days < 90
        }
