"""The five services of examples/chat under traffic with mistakes, on a real Kafka, with a real Loki behind it."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from examples.chat import AUTH, CHAT, GATEWAY, NOTIFICATION, SERVICES, USER, traffic
from examples.chat.report import Event, Report
from examples.chat.stack import Stack
from shipper.devstack.kafka import KafkaServer, make_topic
from shipper.devstack.loki import LokiServer
from shipper.loki.query import StreamEntry
from shipping import Shipping, each_record

_REQUESTS = 150
_SERVICE_OF = {"auth": AUTH, "user": USER, "chat": CHAT}
# What other clients, other producers, Kafka and our own mistakes would have to make.
_NOT_BY_TRAFFIC = {"request_refused", "message_refused", "commit", "worker"}
Record = dict[str, Any]


@dataclass(frozen=True)
class Driven:
    """What was done, and what is left of it everywhere."""

    report: Report
    sent: Mapping[str, int]
    entries: Sequence[StreamEntry]
    values: Sequence[bytes]
    said: Mapping[str, str]

    def records(self) -> Iterator[Record]:
        for entry in self.entries:
            yield json.loads(entry.line)

    def by_request(self) -> dict[str, list[tuple[int, Record]]]:
        """The records of each request with their milliseconds in Loki, as Loki has them in order."""
        found = defaultdict(list)
        for entry in sorted(self.entries, key=lambda entry: entry.timestamp_ns):
            if request_id := entry.metadata.get("request_id"):
                found[request_id].append((entry.timestamp_ns // 10**6, json.loads(entry.line)))
        return found


@pytest.fixture(scope="module")
def driven(kafka: KafkaServer, loki: LokiServer, server_dir: Callable[[str], Path]) -> Driven:
    folder = server_dir("chat")
    topic, letters, messages = (make_topic(kafka.bootstrap, 4) for _ in range(3))
    shipping = Shipping(folder, bootstrap=kafka.bootstrap, loki_url=loki.url, topic=topic, dead_letters=letters)
    settings = {"level": "debug", "stderr": "always", "stderr_lines_per_s": 1_000_000}
    # A service that is slow because the machine is busy must not be taken for one that is stuck.
    stack = Stack(
        folder,
        bootstrap=kafka.bootstrap,
        log_topic=topic,
        message_topic=messages,
        servicelog=settings,
        upstream_timeout_s=6,
    )
    with stack:
        report = traffic.run(stack.gateway_url, requests=_REQUESTS)
        sent = stack.wait_until_done()
        shipping.run_until_caught_up()
        entries = list(shipping.stored())
        assert stack.wait_until_done() == sent, "something was logged while nobody asked for anything"
    values = [record.value() or b"" for name in (topic, messages) for record in each_record(kafka.bootstrap, name)]
    return Driven(report, sent, entries, values, {service: stack.said(service) for service in SERVICES})


def test_every_service_has_sent_as_many_records_as_loki_holds(driven: Driven) -> None:
    assert Counter(entry.labels["service"] for entry in driven.entries) == driven.sent


def test_every_request_is_found_in_every_service_that_it_touched_in_causal_order(driven: Driven) -> None:
    found = driven.by_request()
    assert len(driven.report.requests) >= _REQUESTS
    for sent in driven.report.requests:
        records = found.pop(sent.request_id)
        assert {record["service"] for _, record in records} == sent.services, sent
        assert disorders(records) == [], sent
    assert not found, "requests that nobody made"
    assert {service for sent in driven.report.requests for service in sent.services} == set(SERVICES)


def test_the_records_tell_exactly_what_was_done(driven: Driven) -> None:
    report = driven.report
    told = Counter(
        Event(record["service"], record["event"], record.get("outcome"), record.get("reason"))
        for record in driven.records()
        if "event" in record
    )
    assert told == report.events
    accesses = [record for record in driven.records() if record.get("context") == "access"]
    answered = Counter(
        (record["method"], record.get("route"), record["status"]) for record in accesses if record["service"] == GATEWAY
    )
    assert answered == report.answered()
    raised = Counter(record["service"] for record in driven.records() if "error" in record)
    assert raised == report.exceptions
    assert all("stack" in record["error"] for record in driven.records() if "error" in record)
    locked = {record["metadata"]["sourceAddress"] for record in driven.records() if record.get("event") == "lockout"}
    assert locked == report.locked_from


def test_the_records_have_the_fields_that_the_log_format_names(driven: Driven) -> None:
    rows = documented()
    seen: dict[tuple[str, str], set[str]] = {row: set() for row in rows}
    for record in driven.records():
        if event := record.get("event"):
            row, more = rows[record["service"], event], set(record.get("metadata", {}))
            assert record["message"] in row.messages
            assert {record["context"], record["level"]} <= row.words, record
            assert {record[name] for name in ("outcome", "reason") if name in record} <= row.words, record
            assert more <= row.metadata, record
            seen[record["service"], event] |= more
    unseen = {row for row in rows if row[1] in _NOT_BY_TRAFFIC} - {(AUTH, "request_refused")}
    assert {row: names for row, names in seen.items() if row not in unseen} == {
        row: rows[row].metadata for row in rows if row not in unseen
    }
    accesses = [record for record in driven.records() if record.get("context") == "access"]
    assert all({"method", "status", "durationMs"} <= set(record) for record in accesses)
    assert {name for record in accesses for name in record["metadata"]} == {"bytes", "client", "path"}


def test_planted_secrets_are_nowhere_in_kafka_loki_or_on_stderr(driven: Driven) -> None:
    report = driven.report
    everywhere = b"\n".join(
        [
            *driven.values,
            *(entry.line.encode() for entry in driven.entries),
            *(json.dumps([entry.labels, entry.metadata]).encode() for entry in driven.entries),
            *(said.encode() for said in driven.said.values()),
        ]
    ).decode()
    for said in driven.said.values():
        assert '"requestId"' in said, "nothing is on stderr: there would be nothing to find"
    planted = Counter(secret.partition("-")[0] for secret in report.secrets)
    assert min(planted["pw"], planted["wrong"], planted["tok"]) > 0
    for secret in report.secrets | report.personal:
        assert secret not in everywhere
    digits = re.sub(r"(?<=\d)[ -](?=\d)", "", everywhere)
    for card in {re.sub(r"\D", "", secret) for secret in report.secrets if re.fullmatch(r"[\d -]+", secret)}:
        assert card not in digits
    # They were in what was to be logged: what took them out says so.
    for mended in ('"refused":{"password":"[redacted]"}', '"authorization":"[redacted]"', "card is [redacted]"):
        assert mended in everywhere


def disorders(records: Sequence[tuple[int, Record]]) -> list[str]:
    """What of a request comes before its cause, by the milliseconds that the records have in Loki."""
    of = defaultdict(list)
    for ms, record in records:
        of[record["service"]].append((ms, record))
    pairs: list[tuple[str, int, int]] = []
    *before, last = of[GATEWAY]
    if last[1].get("context") != "access":
        return [f"the gateway's last record is {last[1]['message']}"]
    pairs += [("the gateway's answer", ms, last[0]) for ms, _ in before]
    unmatched = {service: [it for it in of[service] if it[1].get("context") == "access"] for service in of}
    at_ms = next((ms for ms, record in before if record.get("event") == "request"), 0)
    for call_ms, call in before:
        if call.get("event") != "upstream_call":
            continue
        pairs.append(("one call after the other", at_ms, call_ms))
        if call.get("reason") in (None, "status"):
            upstream, status = _SERVICE_OF[call["metadata"]["upstream"]], call["metadata"]["upstreamStatus"]
            answer = next(it for it in unmatched[upstream] if it[1]["status"] == status)
            unmatched[upstream].remove(answer)
            pairs += [("asked, then answered", at_ms, answer[0]), ("answered, then heard", answer[0], call_ms)]
        at_ms = call_ms
    for service in (AUTH, USER, CHAT):
        accesses = [ms for ms, record in of[service] if record.get("context") == "access"]
        inner = [
            ms for ms, it in of[service] if it.get("context") != "access" and it.get("event") != "message_published"
        ]
        pairs += [("done, then answered", ms, max(accesses)) for ms in inner]
    stored = [ms for ms, record in of[CHAT] if record.get("event") == "message_stored"]
    pairs += [("stored, then notified", ms, notified) for ms in stored for notified, _ in of[NOTIFICATION]]
    return [f"{what}: {cause} > {effect}" for what, cause, effect in pairs if cause > effect]


class Row(NamedTuple):
    """What docs/log-format.md says of an event: its messages, the names in its metadata, and all other words."""

    messages: list[str]
    metadata: set[str]
    words: set[str]


def documented() -> dict[tuple[str, str], Row]:
    """Read the table of events, by service and event."""
    rows = {}
    for line in (Path(__file__).parents[2] / "docs" / "log-format.md").read_text().splitlines():
        services, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        if set(services.split(", ")) <= set(SERVICES):
            event, messages, *words, metadata = cells
            named = {word for cell in words for word in re.findall("`([^`]+)`", cell)}
            for service in services.split(", "):
                rows[service, event.strip("`")] = Row(
                    messages.split(", "), set(re.findall("`([^`]+)`", metadata)), named
                )
    return rows
