"""What a log call costs a service: this library, standard logging with python-json-logger, and structlog, each alone.

A call has a context of three fields, a logger's own field, redaction (the others have none), and three fields of
metadata, one of them new each time.
"""
# ruff: noqa: D103 - a test's name is its documentation

import logging
import os
import time
from collections.abc import Callable, Iterator

import pytest
import structlog
from pythonjsonlogger.json import JsonFormatter

import servicelog
from benchmarks.conftest import PerRecord
from servicelog.core import CURRENT, Core, use
from servicelog.delivery import Stderr
from servicelog.record_queue import RecordQueue
from servicelog.settings import Settings, load
from servicelog.stdlib import ServiceLogHandler
from shipper.devstack.kafka import KafkaServer, make_topic

CALLS = 5_000
SENT = 200_000
CONTEXT = {"requestId": "019ab5a0-0000-7000-8000-000000000001", "userId": "usr_006aab", "conversationId": "room-375"}
Call = Callable[[str], object]


class Queue(Stderr):
    """What a call does of delivery: it puts the record into the queue. Nobody takes it out."""

    def __init__(self) -> None:
        super().__init__()
        self._queue = RecordQueue(2**20, drop_oldest=True)

    def send(self, record: bytes) -> None:
        self._queue.put(record)


@pytest.fixture
def _library() -> Iterator[None]:
    before = CURRENT.core
    use(Core(Settings(service="chat-service"), Queue()))
    with servicelog.bound(**CONTEXT):
        yield
    use(before)


def calls(call: Call) -> Callable[[], None]:
    """So many calls, each with an ID of its own."""
    rounds = iter(range(1_000_000))

    def run() -> None:
        of = next(rounds)
        for number in range(CALLS):
            call(f"msg-{of}-{number}")

    return run


@pytest.mark.benchmark(group="log call")
@pytest.mark.usefixtures("_library")
def test_servicelog(per_record: PerRecord) -> None:
    log = servicelog.get_logger("rooms").child(component="gateway")
    per_record(CALLS, calls(lambda one: log.info("Message stored", messageId=one, roomId="room-375", size=120)))


@pytest.mark.benchmark(group="log call")
@pytest.mark.usefixtures("_library")
def test_servicelog_as_a_handler_of_standard_logging(per_record: PerRecord) -> None:
    log = standard(ServiceLogHandler())

    def call(one: str) -> None:
        log.info("Message stored", extra={"messageId": one, "roomId": "room-375", "size": 120, "component": "gateway"})

    per_record(CALLS, calls(call))


@pytest.mark.benchmark(group="log call")
def test_standard_logging_with_python_json_logger(per_record: PerRecord) -> None:
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - as a stream
        handler = logging.StreamHandler(nowhere)
        handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        log = standard(handler)

        def call(one: str) -> None:
            fields = {"messageId": one, "roomId": "room-375", "size": 120, "component": "gateway"}
            log.info("Message stored", extra={**CONTEXT, **fields})

        per_record(CALLS, calls(call))


@pytest.mark.benchmark(group="log call")
def test_structlog(per_record: PerRecord) -> None:
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - as a stream
        log = structlog.wrap_logger(
            structlog.PrintLogger(nowhere),
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso"),
                structlog.processors.JSONRenderer(),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(20),
        ).bind(logger="rooms", component="gateway")
        with structlog.contextvars.bound_contextvars(**CONTEXT):
            per_record(CALLS, calls(lambda one: log.info("Message stored", messageId=one, roomId="room-375", size=120)))


def test_records_a_second_of_one_service(kafka: KafkaServer) -> None:
    """From the first call until Kafka has confirmed the last, in one process; the service does nothing else."""
    topic = make_topic(kafka.bootstrap, 1)
    core = Core(load({"service": "chat-service", "kafka": kafka.bootstrap, "topic": topic, "when_full": "newest"}))
    before = CURRENT.core
    use(core)
    log = servicelog.get_logger("rooms").child(component="gateway")
    began_s = time.perf_counter()
    with servicelog.bound(**CONTEXT):
        for number in range(SENT):
            log.info("Message stored", messageId=f"msg-{number}", roomId="room-375", size=120)
            while number % 1_000 == 0 and core.sink.metrics().queued > SENT // 10:
                time.sleep(0.001)
    while core.sink.metrics().sent < SENT:
        time.sleep(0.005)
    took_s = time.perf_counter() - began_s
    use(before)
    print(f"\nservicelog: {SENT / took_s:,.0f} records/s from one process into Kafka")
    assert core.sink.metrics().dropped == {}


def standard(handler: logging.Handler) -> logging.Logger:
    """A logger of standard logging with this handler alone."""
    log = logging.getLogger("benchmark")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
    return log
