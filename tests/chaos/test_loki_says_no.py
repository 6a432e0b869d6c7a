"""The fault table, row 2: Loki, or what stands before it, says no, with load running.

Loki's own words are those of the real Loki (tests/contract); where it is told to store the half of a request before it
says no, or all of it, it is the real Loki that does.

Seen red: 500 taken as delivered; 401 taken as delivered (899 records missing); one half of a part that had failed five
times forgotten; one half of a part that was too large, likewise.
"""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import pytest

from chaos.proxy import LokiProxy, always, half_of, where_it_holds
from chaos.stage import Stage, make_shipping, staged
from fault.server import Answer, Push
from shipper.devstack.kafka import KafkaServer
from shipper.devstack.loki import LokiServer
from shipping import Written

pytestmark = pytest.mark.slow

RATE = (
    "ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec) while attempting to ingest '9' lines "
    "totaling '1080000' bytes, reduce log volume or contact your Loki administrator to see if the limit can be "
    "increased\n"
)
STREAM_RATE = (
    "entry with timestamp 2026-01-31 12:00:00 +0000 UTC ignored, reason: 'Per stream rate limit exceeded (limit: "
    "3MB/sec) while attempting to ingest for stream '{service=\"chat\"}' totaling 150000B, consider splitting a stream "
    "via additional labels or contact your Loki administrator to see if the limit can be increased',\n"
    "user 'fake', total ignored: 1 out of 3 for stream: {service=\"chat\"}\n"
)
STREAM_LIMIT = (
    'maximum active stream limit exceeded when trying to create stream {service="chat"}, reduce the number of active '
    "streams (reduce labels or reduce label values), or contact your Loki administrator to see if the limit can be "
    "increased, user: 'fake'\n"
)
LABEL_NAMES = 'entry for stream \'{level="info", service="chat", test="1"}\' has 4 label names; limit 3\n'
BLOCKED = "ingestion blocked for user 'fake' until '2026-12-31T00:00:00Z' with status code '260'\n"
SOON = {"Retry-After": "1"}


def html(title: str) -> str:
    return f"<html>\r\n<head><title>{title}</title></head>\r\n<body>nginx</body>\r\n</html>\r\n"


class No(NamedTuple):
    """What is answered, and what the status must say of it.

    `stored` is how much of each request Loki stores all the same: nothing, the half, all.
    """

    answer: Answer
    state: str
    last_error: str
    stored: str = "nothing"

    def script(self, proxy: LokiProxy, push: Push) -> Answer:
        if self.stored != "nothing":
            proxy.forward(half_of(push) if self.stored == "half" else push)
        return self.answer


NOES = {
    "429-rate": No(Answer(429, RATE), "retrying", "HTTP 429: ingestion rate limit exceeded for user fake"),
    "429-rate-retry-after": No(Answer(429, RATE, SOON), "retrying", "HTTP 429: ingestion rate limit exceeded"),
    "429-stream-rate": No(
        Answer(429, STREAM_RATE), "retrying", "Per stream rate limit exceeded (limit: 3MB/sec)", "half"
    ),
    "429-stream-rate-retry-after": No(Answer(429, STREAM_RATE, SOON), "retrying", "Per stream rate limit", "half"),
    "429-streams": No(Answer(429, STREAM_LIMIT), "refusing", "HTTP 429: maximum active stream limit exceeded", "half"),
    "429-streams-retry-after": No(Answer(429, STREAM_LIMIT, SOON), "refusing", "maximum active stream limit", "half"),
    "500": No(Answer(500, "rpc error: code = Unknown\n"), "retrying", "HTTP 500: rpc error: code = Unknown"),
    "500-half-stored": No(Answer(500, "context canceled\n"), "retrying", "HTTP 500: context canceled", "half"),
    "502": No(Answer(502, html("502 Bad Gateway")), "retrying", "502 Bad Gateway"),
    "503": No(Answer(503, "at least 2 live replicas required\n"), "retrying", "HTTP 503: at least 2 live replicas"),
    "503-retry-after": No(Answer(503, html("503 Wait"), SOON), "retrying", "503 Wait"),
    "504-all-stored": No(Answer(504, html("504 Gateway Time-out")), "retrying", "504 Gateway Time-out", "all"),
    "401": No(Answer(401, "no org id\n"), "refusing", "HTTP 401: no org id"),
    "403": No(Answer(403, html("403 Forbidden")), "refusing", "403 Forbidden"),
    "404": No(Answer(404, html("404 Not Found")), "refusing", "404 Not Found"),
    "400-label-names": No(Answer(400, LABEL_NAMES), "refusing", "HTTP 400: entry for stream"),
    "200-html": No(Answer(200, html("Welcome")), "refusing", "HTTP 200: <html> <head><title>Welcome"),
    "260": No(Answer(260, BLOCKED), "refusing", "HTTP 260: ingestion blocked for user 'fake' until '2026-12-31"),
}


@pytest.fixture(scope="module")
def proxy(loki: LokiServer) -> Iterator[LokiProxy]:
    with LokiProxy(loki.url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def stage(
    kafka: KafkaServer, loki: LokiServer, proxy: LokiProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    shipping = make_shipping(kafka, loki.url, tmp_path_factory.mktemp("loki-says-no"))
    # Short waits: a request that fails five times is pushed in halves, so every fault meets all sizes of parts.
    settings = f"loki.url={proxy.url}", "loki.retry_wait_min_s=0.02", "loki.retry_wait_max_s=0.1"
    with staged(shipping, *settings, rate=500) as stage:
        yield stage


@pytest.mark.parametrize("no", NOES.values(), ids=NOES.keys())
def test_a_no_is_waited_out_and_named_in_the_status(stage: Stage, proxy: LokiProxy, no: No) -> None:
    with stage.healing(), proxy.during(lambda push: no.script(proxy, push)):
        stage.wait_until_loki_is(no.state, no.last_error)


def test_one_request_that_fails_for_ever_keeps_nobody_waiting_and_arrives_once_it_is_mended(
    stage: Stage, proxy: LokiProxy
) -> None:
    poison, behind = uuid.uuid4().hex, uuid.uuid4().hex
    with stage.healing():
        poisonous = always(Answer(500, "rpc error: code = ResourceExhausted\n"))
        with proxy.during(where_it_holds(poison.encode(), poisonous, proxy.forward)):
            stage.write(record(poison), record(behind))
            stage.wait_until_found(behind)
            stage.wait_until_delivered(500)
            stage.running.until(lambda: next((line for line in stuck(stage)), None))
            assert not stage.finds(poison)
        stage.wait_until_found(poison)


def test_too_large_for_a_proxy_is_pushed_in_halves_and_no_reason_to_worry(stage: Stage, proxy: LokiProxy) -> None:
    def with_a_limit(push: Push) -> Answer:
        return proxy.forward(push) if len(push.body) < 2_500 else Answer(413, html("413 Request Entity Too Large"))

    with stage.healing(), proxy.during(with_a_limit):
        stage.wait_until_delivered(500)
        assert stage.running.status()["state"] == "running"


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "6"}], ids=["unannounced", "announced"])
def test_a_204_with_a_body_is_a_204(stage: Stage, proxy: LokiProxy, headers: dict[str, str]) -> None:
    with stage.healing(), proxy.during(lambda push: replace(proxy.forward(push), body="stored", headers=headers)):
        stage.wait_until_delivered(500)


def record(text: str) -> Written:
    return Written(f'{{"service":"chat-service","level":"info","message":"{text}"}}'.encode(), b"chat-service")


def stuck(stage: Stage) -> list[str]:
    """What the log says of a single record that is not taken."""
    return [line for line in stage.running.log().splitlines() if "one record is not taken" in line]
