"""`GET /v1/logs` on a real Loki: each line once, whatever shares a nanosecond and whatever arrives meanwhile."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from log_api import LogApi
from loki_target import BASE_NS, HOUR, Target, make_line
from shipper.devstack.loki import LokiServer
from shipper.moments import rfc3339

pytestmark = pytest.mark.loki


@pytest.fixture(scope="module")
def api(loki: LokiServer) -> Iterator[LogApi]:
    with LogApi(loki.url, page_entries=100, lines_max=90) as served:
        yield served


@pytest.fixture
def target(loki: LokiServer) -> Target:
    return Target(loki.url)


def _walk(api: LogApi, service: str, *, limit: int, direction: str, start_ns: int = BASE_NS) -> Iterator[list[str]]:
    asked = {"service": service, "from_": rfc3339(start_ns), "to": rfc3339(BASE_NS + HOUR), "direction": direction}
    page = api.page("/v1/logs", limit=limit, **asked)
    yield [line["line"] for line in page["lines"]]
    while page["cursor"]:
        page = api.page("/v1/logs", limit=limit, cursor=page["cursor"], **asked)
        yield [line["line"] for line in page["lines"]]


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ties=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    limit=st.integers(3, 20),
    direction=st.sampled_from(["forward", "backward"]),
)
@example(ties=[1, 40, 1], limit=6, direction="forward")
@example(ties=[1, 40, 1], limit=6, direction="backward")
def test_walking_all_pages_gives_each_line_once_and_in_order(
    api: LogApi, loki: LokiServer, ties: list[int], limit: int, direction: str
) -> None:
    target = Target(loki.url)
    lines = [make_line(f"{at} {place}", BASE_NS + at) for at, size in enumerate(ties) for place in range(size)]
    target.push(
        *(target.stream(*lines[part::3], service=target.test_id, level=level) for part, level in enumerate("abc"))
    )
    pages = list(_walk(api, target.test_id, limit=limit, direction=direction))
    assert all(len(page) == limit for page in pages[:-1])
    found = [line for page in pages for line in page]
    assert sorted(found) == sorted(line for _, line, *_ in lines)
    times = [int(line.split()[0]) for line in found]
    assert times == sorted(times, reverse=direction == "backward")
