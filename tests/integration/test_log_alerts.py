"""Every alert on logs, asked of a real Loki that holds records which fire it, nearly fire it, and do not."""

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest
import requests

from alerting import LOG_ALERTS
from deployed import ROOT, DeployedLoki
from log_records import MINUTE_NS, SECOND_NS, Entry, access, bad_input, login, record, spread

pytestmark = pytest.mark.loki

HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS


@pytest.fixture(scope="module")
def tenants(server_dir: Callable[[str], Path]) -> Iterator[DeployedLoki]:
    """A Loki with the limits of development, and with tenants: each case has one of its own."""
    changes = {"auth_enabled": True, "query_range": {"cache_results": False, "results_cache": None}}
    with DeployedLoki(server_dir("loki"), ROOT / "loki" / "development.yaml", changes) as server:
        yield server


class Held:
    """A Loki that holds these entries and no others."""

    def __init__(self, server: DeployedLoki, entries: Iterable[Entry]) -> None:
        self._server, self._tenant = server, uuid.uuid4().hex
        streams = defaultdict(list)
        for entry in sorted(entries, key=lambda it: it.at_ns):
            streams[tuple(entry.labels.items())].append([str(entry.at_ns), entry.line])
        body = {"streams": [{"stream": dict(labels), "values": values} for labels, values in streams.items()]}
        answer = self._ask("post", "push", json=body)
        assert answer.status_code == requests.codes.no_content, answer.text

    def _ask(self, method: str, path: str, **more: object) -> requests.Response:
        address = f"{self._server.url}/loki/api/v1/{path}"
        return requests.request(method, address, headers={"X-Scope-OrgID": self._tenant}, timeout=60, **more)  # type: ignore[arg-type] # of requests' own

    def firing(self, name: str, at_ns: int) -> dict[str, float]:
        """Return whose alert of this name is true at this time, and its value."""
        [expr] = [alert.expr for alert in LOG_ALERTS if alert.name == name]
        answer = self._ask("get", "query", params={"query": expr, "time": str(at_ns)})
        assert answer.ok, answer.text
        return {
            found["metric"].get("source_address", found["metric"].get("service", "")): float(found["value"][1])
            for found in answer.json()["data"]["result"]
        }


def test_an_error_rate_over_5_percent_fires_and_below_it_or_of_few_requests_does_not(tenants: DeployedLoki) -> None:
    now_ns = time.time_ns()
    since_ns = now_ns - 4 * MINUTE_NS
    held = Held(
        tenants,
        [
            *spread(partial(access, "chat-service"), 88, since_ns, now_ns),
            *spread(partial(access, "chat-service", status=503), 12, since_ns + 1, now_ns),
            *spread(partial(access, "user-service"), 288, since_ns, now_ns),
            *spread(partial(access, "user-service", status=500), 12, since_ns + 1, now_ns),
            *spread(partial(access, "auth-service"), 10, since_ns, now_ns),
            *spread(partial(access, "auth-service", status=500), 9, since_ns + 1, now_ns),
            *spread(partial(access, "api-gateway", status=404), 100, since_ns, now_ns),
        ],
    )
    assert held.firing("HighErrorRate", now_ns) == {"chat-service": 0.12}
    assert held.firing("HighErrorRate", now_ns + 6 * MINUTE_NS) == {}


def test_errors_that_belong_to_no_request_fire_and_those_of_requests_do_not(tenants: DeployedLoki) -> None:
    now_ns = time.time_ns()
    since_ns = now_ns - 4 * MINUTE_NS
    failed = {"context": "Delivery", "event": "notification", "outcome": "failure", "reason": "provider_timeout"}
    held = Held(
        tenants,
        [
            *spread(lambda at: record("notification-service", "error", at, **failed), 15, since_ns, now_ns),
            *spread(lambda at: record("notification-service", "fatal", at, message="Stopped"), 6, since_ns, now_ns),
            *spread(lambda at: record("chat-service", "error", at, **failed), 19, since_ns, now_ns),
            *spread(lambda at: record("auth-service", "warn", at, **failed), 50, since_ns, now_ns),
            *spread(partial(access, "user-service", status=500), 50, since_ns, now_ns),
        ],
    )
    assert held.firing("ErrorsLogged", now_ns) == {"notification-service": 21}
    assert held.firing("ErrorsLogged", now_ns + 6 * MINUTE_NS) == {}


def test_a_service_that_spoke_an_hour_ago_or_yesterday_and_is_silent_fires(tenants: DeployedLoki) -> None:
    now_ns = time.time_ns()
    hour_ago, day_ago = now_ns - HOUR_NS - 5 * MINUTE_NS, now_ns - DAY_NS - 5 * MINUTE_NS
    held = Held(
        tenants,
        [
            *spread(partial(access, "chat-service"), 30, hour_ago, hour_ago + MINUTE_NS),
            *spread(partial(access, "user-service"), 25, day_ago, day_ago + MINUTE_NS),
            # They are there still, however quietly.
            *spread(partial(access, "auth-service"), 30, hour_ago, hour_ago + MINUTE_NS),
            *spread(partial(access, "auth-service"), 1, now_ns - 9 * MINUTE_NS, now_ns),
            # Hardly ever there, or not of ours.
            *spread(partial(access, "api-gateway"), 9, hour_ago, hour_ago + MINUTE_NS),
            *spread(partial(access, "shipper-canary"), 30, hour_ago, hour_ago + MINUTE_NS),
            *spread(partial(access, "unknown"), 30, hour_ago, hour_ago + MINUTE_NS),
            # A new one.
            *spread(partial(access, "notification-service"), 30, now_ns - MINUTE_NS, now_ns),
        ],
    )
    assert held.firing("SilentService", now_ns) == {"chat-service": 30, "user-service": 25}
    # An hour later nobody of those that spoke an hour before is silent; a day after, it is forgotten.
    assert "chat-service" not in held.firing("SilentService", hour_ago + 3 * MINUTE_NS)
    assert held.firing("SilentService", now_ns + DAY_NS + HOUR_NS) == {}


def test_a_service_twice_as_slow_as_yesterday_fires_and_none_that_was_always_slow_or_is_fast_still(
    tenants: DeployedLoki,
) -> None:
    now_ns = time.time_ns()
    since_ns, day_ago = now_ns - 10 * MINUTE_NS, now_ns - DAY_NS - 30 * MINUTE_NS

    def both(service: str, before_ms: float | None, now_ms: float | None, number: int = 60) -> Iterator[Entry]:
        yield from spread(partial(access, service, duration_ms=before_ms), 60, day_ago, day_ago + 20 * MINUTE_NS)
        yield from spread(partial(access, service, duration_ms=now_ms), number, since_ns, now_ns)

    held = Held(
        tenants,
        [
            *both("chat-service", 200, 900),
            *both("user-service", 600, 900),
            *both("auth-service", 20, 100),  # five times as slow, and nobody feels it
            *both("api-gateway", 200, 900, number=49),
            *both("notification-service", None, None),
            *both("search-service", None, 900),  # it has no yesterday
        ],
    )
    assert held.firing("LatencyDegraded", now_ns) == {"chat-service": 900}
    assert held.firing("LatencyDegraded", now_ns + 20 * MINUTE_NS) == {}


def test_an_address_that_tries_passwords_fires_and_a_user_who_mistypes_does_not(tenants: DeployedLoki) -> None:
    now_ns = time.time_ns()
    since_ns = now_ns - 4 * MINUTE_NS
    held = Held(
        tenants,
        [
            *spread(partial(login, address="203.0.113.7"), 25, since_ns, now_ns),
            *spread(partial(login, address="198.51.100.1"), 19, since_ns, now_ns),
            *spread(partial(login, address="192.0.2.9", outcome="success"), 80, since_ns, now_ns),
            *spread(partial(login, address=None), 40, since_ns, now_ns),
        ],
    )
    assert held.firing("FailedLogins", now_ns) == {"203.0.113.7": 25}
    assert held.firing("FailedLogins", now_ns + 6 * MINUTE_NS) == {}
    # 84 failed, that is more than half: not enough of them.
    assert held.firing("FailedLoginsSpread", now_ns) == {}


def test_logins_that_fail_from_everywhere_fire(tenants: DeployedLoki) -> None:
    now_ns = time.time_ns()
    since_ns = now_ns - 4 * MINUTE_NS
    attack = [login(since_ns + index * SECOND_NS, f"203.0.113.{index}") for index in range(150)]
    held = Held(
        tenants, [*attack, *spread(partial(login, address="192.0.2.9", outcome="success"), 50, since_ns, now_ns)]
    )
    assert held.firing("FailedLoginsSpread", now_ns) == {"auth-service": 0.75}
    assert held.firing("FailedLogins", now_ns) == {}
    assert held.firing("FailedLoginsSpread", now_ns + 6 * MINUTE_NS) == {}


def test_the_watchdog_of_the_logs_always_fires(tenants: DeployedLoki) -> None:
    now_ns = time.time_ns()
    assert Held(tenants, spread(partial(access, "chat-service"), 1, now_ns, now_ns + 1)).firing(
        "WatchdogLogs", now_ns
    ) == {"": 1}


def test_records_that_cannot_be_read_make_alerts_say_less_and_nothing_false(tenants: DeployedLoki) -> None:
    now_ns = time.time_ns()
    since_ns = now_ns - 4 * MINUTE_NS
    good = [
        *spread(partial(access, "user-service"), 88, since_ns, now_ns),
        *spread(partial(access, "user-service", status=503), 12, since_ns + 1, now_ns),
        *spread(partial(login, address="203.0.113.7"), 25, since_ns, now_ns),
    ]
    names = {alert.name for alert in LOG_ALERTS}

    alone = Held(tenants, good)
    among_bad = Held(
        tenants, [*good, *bad_input(now_ns), *(it for day in (1,) for it in bad_input(now_ns - day * DAY_NS))]
    )
    expected = {name: alone.firing(name, now_ns) for name in names}
    assert expected["HighErrorRate"] == {"user-service": 0.12}
    assert expected["FailedLogins"] == {"203.0.113.7": 25}
    assert {name: among_bad.firing(name, now_ns) for name in names} == expected


def test_a_clock_that_is_wrong_by_a_day_is_silence_and_no_latency(tenants: DeployedLoki) -> None:
    now_ns = time.time_ns()
    hour_ago, day_ago = now_ns - HOUR_NS - 5 * MINUTE_NS, now_ns - DAY_NS
    held = Held(
        tenants,
        [
            *spread(partial(access, "chat-service"), 30, hour_ago, hour_ago + MINUTE_NS),
            # What it writes now says that it was yesterday.
            *spread(partial(access, "chat-service", duration_ms=9000), 60, day_ago - 5 * MINUTE_NS, day_ago),
        ],
    )
    assert held.firing("LatencyDegraded", now_ns) == {}
    assert set(held.firing("SilentService", now_ns)) == {"chat-service"}, "its lines are not of today: that is said"
