"""The gateway in NestJS in the place of the one in Python: the same traffic, the same answers, the same records."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from examples.chat import GATEWAY, SERVICES, traffic
from examples.chat.report import Event
from examples.chat.stack import Stack
from shipper.devstack.kafka import KafkaServer, make_topic
from shipping import each_record


@pytest.mark.usefixtures("node")
def test_the_gateway_in_nestjs_stands_in_for_the_one_in_python(
    kafka: KafkaServer, server_dir: Callable[[str], Path]
) -> None:
    topic, messages = (make_topic(kafka.bootstrap, 4) for _ in range(2))
    stack = Stack(
        server_dir("chat-nest"),
        bootstrap=kafka.bootstrap,
        log_topic=topic,
        message_topic=messages,
        servicelog={"level": "debug"},
        gateway="nest",
        upstream_timeout_s=5,
    )
    with stack:
        report = traffic.run(stack.gateway_url, requests=1)
        sent = stack.wait_until_done()
        values = [record.value() or b"" for record in each_record(kafka.bootstrap, topic)]
    records = [json.loads(value) for value in values]
    assert Counter(record["service"] for record in records) == sent

    services = defaultdict(set)
    for record in records:
        services[record.get("requestId")].add(record["service"])
    assert {one.request_id: services[one.request_id] for one in report.requests} == {
        one.request_id: one.services for one in report.requests
    }
    assert set.union(*services.values()) == set(SERVICES)

    told = Counter(
        Event(record["service"], record["event"], record.get("outcome"), record.get("reason"))
        for record in records
        if record.get("event") not in (None, "performance")  # this one is NestJS's alone
    )
    assert told == report.events
    accesses = [one for one in records if one["service"] == GATEWAY and one.get("context") == "access"]
    answered = Counter(
        (one["method"], one.get("route", "").replace(":room", "{room}"), one["status"]) for one in accesses
    )
    assert answered == Counter(
        {(method, route or "", status): n for (method, route, status), n in report.answered().items()}
    )
    answers = Counter(one["status"] for one in records if one["service"] == GATEWAY and "status" in one)
    assert answers == Counter(one.status for one in report.requests)
    upstreams = [one["metadata"] for one in records if one.get("event") == "upstream_call"]
    assert {"upstream", "upstreamRoute", "attempt"} <= set.intersection(*(set(one) for one in upstreams))

    everything = b"\n".join(values).decode()
    for secret in report.secrets | report.personal:
        assert secret not in everything
