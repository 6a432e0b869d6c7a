"""Something to look at: the chat example's traffic, and records that are not as they should be, shipped and scraped."""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import requests

from examples.chat import GATEWAY, SERVICES, traffic
from examples.chat.report import Report
from examples.chat.stack import Stack
from grafana.dashboards.names import CANARY
from panels import Series, Servers, Window, find
from servicelog.record import RecordWriter
from shipper.devstack.kafka import KafkaServer, make_topic
from shipper.devstack.loki import LokiServer
from shipper.devstack.prometheus import PrometheusServer
from shipping import Shipping, Written, each_record, write

_REQUESTS = 100
STEP_S = 5
_DAY_MS = 86_400_000
# No duration; durations and statuses that are no numbers; levels that nobody knows; nothing that says who or how bad.
NO_DURATION, NO_NUMBERS, NO_STATUS, LOUD = "no-duration", "no-numbers", "no-status", "loud-service"
LATE = "late-service"
STRANGE = {NO_DURATION: 7, NO_NUMBERS: 3, NO_STATUS: 4}

Fields = dict[str, object]


def _access(**fields: object) -> Fields:
    return {"context": "access", "method": "GET", "route": "/v1/odd", **fields}


def strange(now_ms: int) -> Iterator[Written]:
    """Records that are not as they should be."""

    def written(service: str, level: str = "info", at_ms: int = now_ms, fields: Fields | None = None) -> bytes:
        return RecordWriter(service).write(at_ms, level, "GET /v1/odd", fields or {})

    def keyed(service: str, value: bytes) -> Written:
        return Written(value, service.encode())  # as the library does: so they are in one partition

    def changed(value: bytes, **members: object) -> Written:
        record = {**json.loads(value), **members}
        text = json.dumps({name: it for name, it in record.items() if it is not None}, separators=(",", ":"))
        return Written(text.encode(), record["service"] and record["service"].encode())

    for _ in range(STRANGE[NO_DURATION]):
        yield keyed(NO_DURATION, written(NO_DURATION, fields=_access(status=200)))
    for status, duration in (("fine", "fast"), ("NaN", "NaN"), ("Infinity", "Infinity")):
        yield changed(written(NO_NUMBERS, fields=_access(status=200, durationMs=1)), status=status, durationMs=duration)
    for _ in range(STRANGE[NO_STATUS]):
        yield keyed(NO_STATUS, written(NO_STATUS, fields=_access(durationMs=8)))
    for level in ("LOUD", "Audit", "WARNING"):
        yield changed(written(LOUD), level=level)
    yield changed(written(LOUD), level=None)
    yield changed(written(LOUD), service=None)
    yield changed(written(GATEWAY, fields=_access(status=500, durationMs=99_000)), service=None)
    for text in (b'"access" and no JSON', b"{"):
        yield Written(text)
    for _ in range(5):
        yield keyed(LATE, written(LATE, "error", now_ms - _DAY_MS, _access(status=500, durationMs=99_000)))
        yield keyed(LATE, written(LATE, "error", now_ms + _DAY_MS, _access(status=500, durationMs=99_000)))


@dataclass(frozen=True)
class Driven:
    """What was done, what the topic holds of it, and who can be asked."""

    report: Report
    records: Sequence[dict[str, Any]]
    values: Sequence[bytes]
    servers: Servers
    window: Window
    status: dict[str, Any]

    def ask(self, uid: str, panel: str, ref: str = "A", **chosen: str | Sequence[str] | None) -> list[Series]:
        return self.servers.ask(find(uid, panel, ref), self.window, **chosen)

    def number(self, uid: str, panel: str, ref: str = "A", **chosen: str | Sequence[str] | None) -> float:
        """The only number of an answer."""
        [series] = self.ask(uid, panel, ref, **chosen)
        [(_, number)] = series.values
        return float(number)

    def table(self, uid: str, panel: str, ref: str = "A") -> dict[Any, float]:
        """A column of a table, by its keys."""
        series = self.ask(uid, panel, ref)
        return {_key(it.labels): it.values[0][1] for it in series}

    def over_all(self, uid: str, panel: str) -> dict[Any, float]:
        """What a curve, or a history, says of the whole range taken as one step, by its keys.

        Asked as an instant query: Loki moves the ends of a range to whole steps, and this step is as long as the range.
        """
        series = self.servers.ask(replace(find(uid, panel), instant=True), self.window)
        return {_key(it.labels): it.values[0][1] for it in series}

    def summed(self, uid: str, panel: str, ref: str = "A") -> dict[Any, float]:
        """What a curve of rates has counted, by its keys."""
        series = self.ask(uid, panel, ref)
        return {_key(it.labels): round(sum(number for _, number in it.values) * STEP_S, 6) for it in series}

    def own(self, service: str, **members: object) -> list[dict[str, Any]]:
        """A service's records with these members."""
        return [it for it in self.records if it["service"] == service and members.items() <= it.items()]


def _key(labels: dict[str, str]) -> Any:  # noqa: ANN401 - a text, or several
    values = tuple(labels[name] for name in sorted(labels) if labels[name])
    return values[0] if len(values) == 1 else values


@contextmanager
def driving(kafka: KafkaServer, server_dir: Callable[[str], Path]) -> Iterator[Driven]:
    """The five services under traffic, shipped into a Loki of their own, that a Prometheus looks at."""
    topic, messages = make_topic(kafka.bootstrap, 4), make_topic(kafka.bootstrap, 4)
    with LokiServer(server_dir("loki")) as loki:
        shipping = Shipping(
            server_dir("dashboards"),
            bootstrap=kafka.bootstrap,
            loki_url=loki.url,
            topic=topic,
            dead_letters=make_topic(kafka.bootstrap, 1),
            sections="\n[canary]\nevery_s = 0.5\n",
        )
        stack = Stack(
            server_dir("chat"),
            bootstrap=kafka.bootstrap,
            log_topic=topic,
            message_topic=messages,
            servicelog={"level": "debug"},
            upstream_timeout_s=6,  # a service that is slow because the machine is busy is not stuck
        )
        with shipping.run() as running:
            scrape = [running.url.removeprefix("http://"), loki.url.removeprefix("http://")]
            with PrometheusServer(server_dir("prometheus"), scrape=scrape) as prometheus, stack:
                servers = Servers(loki.url, prometheus.url)
                report = traffic.run(stack.gateway_url, requests=_REQUESTS)
                odd = [*strange(time.time_ns() // 10**6)]
                write(kafka.bootstrap, topic, odd)
                wanted = Counter(stack.wait_until_done()) + _taken(odd)
                running.until(lambda: _counted(loki.url) == wanted or None)
                _refused_by_loki(loki.url)
                running.until(lambda: _was_looked_at(servers) or None)
                end_s = math.ceil(time.time())
                steps = math.ceil((end_s - report.began_ns / 10**9 + 1) / STEP_S)
                window = Window(end_s - steps * STEP_S, end_s, STEP_S)
                values = [record.value() or b"" for record in each_record(kafka.bootstrap, topic)]
                records = [it for it in map(read, values) if it and it.get("service") in SERVICES]
                yield Driven(report, records, values, servers, window, running.status())


def _taken(odd: Sequence[Written]) -> Counter[str]:
    """How many of these records Loki will have of each service; what is of tomorrow is dead-lettered."""
    taken = Counter((read(it.value or b"") or {}).get("service") or "unknown" for it in odd)
    taken[LATE] //= 2
    return taken


def _counted(url: str) -> Counter[str]:
    """How many lines Loki has of each service, without those of the canary."""
    query = f'sum by (service) (count_over_time({{service=~".+", service!="{CANARY}"}} [2d]))'
    answer = requests.get(f"{url}/loki/api/v1/query", params={"query": query}, timeout=10).json()
    return Counter({it["metric"]["service"]: int(it["value"][1]) for it in answer["data"]["result"]})


def read(value: bytes) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(value)
    except ValueError:
        return None
    return record


def _refused_by_loki(url: str) -> None:
    """Push what is too old for it, past the shipper: Loki counts it."""
    old = {"stream": {"service": "past-the-shipper"}, "values": [[str(time.time_ns() - 30 * 86_400 * 10**9), "old"]]}
    assert requests.post(f"{url}/loki/api/v1/push", json={"streams": [old]}, timeout=10).status_code == 400


def _was_looked_at(servers: Servers) -> bool:
    """Whether Prometheus has seen all this, twice: what counts is the growth between two looks."""
    seen = (
        "min_over_time(loki_discarded_samples_total[3s]) > 0 and count_over_time(loki_discarded_samples_total[3s]) > 1",
        'shipper_records_dead_lettered_total{reason="too_new"} > 0',
        "shipper_canary_freshness_seconds",
    )
    return all(
        requests.get(f"{servers.prometheus_url}/api/v1/query", params={"query": query}, timeout=10).json()["data"][
            "result"
        ]
        for query in seen
    )
