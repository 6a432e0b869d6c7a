"""What a log call costs a service in Python: this library, standard logging with python-json-logger, structlog.

`python -m benchmarks.log_calls` prints CPU µs per call of each round; `clients/node/bench/call.mjs` does the same for
Node. A call has a context of three fields, a logger's own field, redaction (the others have none), and three fields of
metadata, one of them new each time. All take turns, round by round, in one process.
"""

import json
import logging
import os
import time
from collections.abc import Callable
from typing import Annotated, TextIO

import structlog
import typer
from pythonjsonlogger.json import JsonFormatter

import servicelog
from servicelog.core import Core, use
from servicelog.delivery import Stderr
from servicelog.record_queue import RecordQueue
from servicelog.settings import Settings, load
from servicelog.stdlib import ServiceLogHandler

CONTEXT = {"requestId": "019ab5a0-0000-7000-8000-000000000001", "userId": "usr_006aab", "conversationId": "room-375"}
Call = Callable[[str], object]


class Queue(Stderr):
    """What a call does of delivery: it puts the record into the queue. Nobody takes it out."""

    def __init__(self) -> None:
        super().__init__()
        self._queue = RecordQueue(2**20, drop_oldest=True)

    def send(self, record: bytes) -> None:
        self._queue.put(record)


def main(
    calls: Annotated[int, typer.Option(help="Calls of each way in a round.")] = 5_000,
    rounds: Annotated[int, typer.Option(help="Rounds, after one to warm up.")] = 9,
    kafka: Annotated[str, typer.Option(help="Log to this Kafka instead, and print records/s.")] = "",
    topic: Annotated[str, typer.Option(help="The topic there.")] = "logs",
) -> None:
    """Print what was measured as JSON: µs by way and round, or records/s by round."""
    told = [_records_per_s(kafka, topic, calls) for _ in range(rounds)] if kafka else _call_us(calls, rounds)
    typer.echo(json.dumps(told))


def _call_us(calls: int, rounds: int) -> dict[str, list[float]]:
    use(Core(Settings(service="chat-service"), Queue()))
    took: dict[str, list[float]] = {}
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,  # noqa: PTH123 - as a stream
        servicelog.bound(**CONTEXT),
        structlog.contextvars.bound_contextvars(**CONTEXT),
    ):
        ways = _ways(nowhere)
        for of in range(rounds + 1):
            for name, call in ways.items():
                began_s = time.process_time()
                for number in range(calls):
                    call(f"msg-{of}-{number}")
                if of:
                    took.setdefault(name, []).append(1e6 * (time.process_time() - began_s) / calls)
    return took


def _ways(nowhere: TextIO) -> dict[str, Call]:
    own = servicelog.get_logger("rooms").child(component="gateway")
    handler, json_handler = ServiceLogHandler(), logging.StreamHandler(nowhere)
    json_handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    by_handler, by_json = _standard("handler", handler), _standard("json", json_handler)
    by_structlog = structlog.wrap_logger(
        structlog.PrintLogger(nowhere),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    ).bind(logger="rooms", component="gateway")

    def with_standard(log: logging.Logger, context: dict[str, str]) -> Call:
        def call(one: str) -> None:
            fields = {"messageId": one, "roomId": "room-375", "size": 120, "component": "gateway"}
            log.info("Message stored", extra={**context, **fields})

        return call

    return {
        "servicelog": lambda one: own.info("Message stored", messageId=one, roomId="room-375", size=120),
        "servicelog, as a handler of standard logging": with_standard(by_handler, {}),
        "structlog alone": lambda one: by_structlog.info("Message stored", messageId=one, roomId="room-375", size=120),
        "logging with python-json-logger": with_standard(by_json, CONTEXT),
    }


def _standard(name: str, handler: logging.Handler) -> logging.Logger:
    """A logger of standard logging with this handler alone."""
    log = logging.getLogger(name)
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
    return log


def _records_per_s(kafka: str, topic: str, calls: int) -> float:
    """From the first call until Kafka has confirmed the last; the service does nothing else."""
    core = Core(load({"service": "chat-service", "kafka": kafka, "topic": topic, "when_full": "newest"}))
    use(core)
    log = servicelog.get_logger("rooms").child(component="gateway")
    began_s = time.perf_counter()
    with servicelog.bound(**CONTEXT):
        for number in range(calls):
            log.info("Message stored", messageId=f"msg-{number}", roomId="room-375", size=120)
            while number % 1_000 == 0 and core.sink.metrics().queued > calls // 10:
                time.sleep(0.001)
    while core.sink.metrics().sent < calls:
        time.sleep(0.005)
    return calls / (time.perf_counter() - began_s)


if __name__ == "__main__":
    typer.run(main)
