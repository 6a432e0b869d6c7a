"""Kafka is killed under the traffic of services in Python and in Node; `make outage` does the same for 60 s."""

from collections.abc import Callable
from pathlib import Path

import pytest

from outage.drive import LANGUAGES, PHASES, run

_AWAY_S = 10.0  # and the seconds that a Kafka takes to start


def bound_ms(allowed_ms: float, control_ms: float, times: float = 3) -> float:
    """What a time may be: so much, and some times what the machine did to the control at the same moments."""
    return allowed_ms + times * control_ms


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("node")
def test_services_do_not_notice_that_kafka_is_away_and_nothing_is_missing(server_dir: Callable[[str], Path]) -> None:
    for language, seen in run(server_dir("outage"), LANGUAGES, _AWAY_S).items():
        assert not seen.subject.failures, language
        for phase in PHASES:
            steady, control = (seen.steady_p99_ms(service, phase) for service in (seen.subject, seen.control))
            assert steady < bound_ms(1, control), (language, phase)
            calls, control_calls = (seen.calls(service, phase) for service in (seen.subject, seen.control))
            assert calls.p99_ms < bound_ms(10, control_calls.p99_ms, 10), (language, phase, calls, control_calls)
            requests = [seen.requests(service, phase) for service in (seen.subject, seen.control)]
            assert requests[0].p50_ms < bound_ms(10, requests[1].p50_ms), (language, phase, requests)
            assert requests[0].max_ms < bound_ms(1_000, requests[1].max_ms), (language, phase, requests)
        assert seen.lines == list(range(10 * len(seen.subject.requests))), language
        assert seen.answered == seen.subject.requests, language
        state = seen.subject.state
        assert (state["sent"], state["dropped"], state["away"]) == (len(seen.records), {}, False), language
        assert state["spilledTotal"] > 1_000, language
