"""Frameworks: standard logging, structlog, ASGI, HTTP clients, and what is bound across tasks and threads."""

import asyncio
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI, HTTPException
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request

import servicelog
from answering import Answering, answering
from keeping import Kept, keeping
from reading import wait_for
from servicelog import stdlib
from servicelog.asgi import AccessLog
from servicelog.core import CURRENT
from servicelog.level_source import LevelSource
from servicelog.settings import Settings
from servicelog.stdlib import ServiceLogFormatter, ServiceLogHandler
from servicelog.structlog import deliver
from servicelog.threads import ThreadPoolExecutor

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def kept() -> Iterator[Kept]:
    with keeping(levels={"app.db": "debug"}) as sink:
        yield sink


@pytest.fixture
def standard(kept: Kept) -> Iterator[Kept]:
    """The handler on the root logger."""
    root = logging.getLogger()
    level = root.level
    stdlib.install()
    yield kept
    root.handlers = [one for one in root.handlers if not isinstance(one, ServiceLogHandler)]
    root.setLevel(level)


def test_standard_logging_goes_on_unchanged(standard: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    log = logging.getLogger("app.rooms")
    log.info("stored %s in %d ms", "m-1", 4, extra={"userId": "usr_1", "room": "r"})
    log.debug("not written")
    logging.getLogger("app.db.pool").debug("written")
    alone = logging.getLogger("alone")
    monkeypatch.setattr(alone, "propagate", False)
    monkeypatch.setattr(alone, "handlers", [ServiceLogHandler()])
    alone.warning("bad %d", "arguments")
    try:
        raise ValueError("no")
    except ValueError:
        log.exception("failed")
    stored, pool, bad, failed = standard.records
    assert stored["message"] == "stored m-1 in 4 ms"
    assert (stored["context"], stored["userId"], stored["metadata"]) == ("app.rooms", "usr_1", {"room": "r"})
    assert (pool["level"], pool["context"]) == ("debug", "app.db.pool")
    assert (bad["level"], bad["message"], bad["logProblem"]) == (
        "warn", "bad %d", "the message's arguments do not fit",
    )  # fmt: skip
    assert failed["error"]["type"] == "ValueError"
    assert "test_standard_logging_goes_on_unchanged" in failed["error"]["stack"]


def test_the_formatter_writes_the_same_json() -> None:
    record = logging.makeLogRecord({"msg": "token=abc", "created": 1.5, "levelno": 40, "name": "a"})
    assert ServiceLogFormatter("s").format(record) == (
        '{"timestamp":"1970-01-01T00:00:01.500Z","level":"error","service":"s",'
        '"message":"token=[redacted]","context":"a"}'
    )


def test_structlog_delivers(kept: Kept) -> None:
    structlog.configure(processors=[structlog.stdlib.add_log_level, deliver], cache_logger_on_first_use=False)
    try:
        log = structlog.get_logger().bind(logger="app.rooms", userId="usr_1", password="x")
        log.info("stored", room="r")
        log.debug("not written")
        try:
            raise ValueError("no")
        except ValueError:
            log.exception("failed")
    finally:
        structlog.reset_defaults()
    stored, failed = kept.records
    assert (stored["level"], stored["message"], stored["context"], stored["userId"]) == (
        "info", "stored", "app.rooms", "usr_1",
    )  # fmt: skip
    assert stored["metadata"] == {"password": "[redacted]", "room": "r"}
    assert (failed["level"], failed["error"]["message"]) == ("error", "no")


def test_what_is_bound_goes_into_tasks_and_threads_and_no_further(kept: Kept) -> None:
    log = servicelog.get_logger("t").child(part="p")

    async def work(n: int) -> None:
        servicelog.bind(requestId=f"r-{n}")
        await asyncio.sleep(0)
        log.info("in the task")
        await asyncio.gather(asyncio.create_task(inner(n)), asyncio.to_thread(log.info, "in to_thread"))
        with ThreadPoolExecutor() as pool:
            pool.submit(log.info, "in the pool").result()

    async def inner(n: int) -> None:
        log.info("in the inner task", n=n)

    async def everything() -> None:
        await asyncio.gather(*(work(n) for n in range(5)))
        log.info("outside")

    asyncio.run(everything())
    *inside, outside = kept.records
    assert sorted(one["requestId"] for one in inside) == sorted([f"r-{n}" for n in range(5)] * 4)
    assert "requestId" not in outside
    assert outside["metadata"] == {"part": "p"}


def test_timings(kept: Kept) -> None:
    log = servicelog.get_logger("t")

    @log.timing("sum")
    def add(a: int, b: int) -> int:
        return a + b

    @log.timing("wait")
    async def wait() -> int:
        return 7

    assert add(1, 2) == 3
    assert asyncio.run(wait()) == 7
    with pytest.raises(ZeroDivisionError), log.timed("divide", by=0) as more:  # noqa: PT012 - the block is the test
        more["tried"] = 1
        _ = 1 / 0
    done, waited, failed = kept.records
    assert (done["message"], done["outcome"], waited["message"]) == ("sum", "success", "wait")
    assert done["durationMs"] >= 0
    assert (failed["level"], failed["outcome"], failed["error"]["type"]) == ("error", "failure", "ZeroDivisionError")
    assert failed["metadata"] == {"by": 0, "tried": 1}


def application() -> AccessLog:
    api, sub = FastAPI(), FastAPI()

    @api.get("/rooms/{room}")
    async def room(room: str) -> dict[str, str]:
        servicelog.bind(userId="usr_1")
        servicelog.get_logger("rooms").info("read", room=room)
        return {"room": room}

    @api.get("/sync")
    def sync() -> None:
        servicelog.bind(userId="usr_2")
        logging.getLogger("app").info("in a thread")

    @api.get("/missing")
    async def missing() -> None:
        raise HTTPException(404)

    @api.get("/fails")
    async def fails() -> None:
        raise ValueError("token=abc")

    @api.get("/told")
    async def told() -> None:
        try:
            raise ValueError("no")
        except ValueError:
            servicelog.get_logger("rooms").exception("it fails")
            raise

    @sub.get("/{item}")
    async def item(item: str) -> str:
        return item

    async def between(request: Request, call_next: Any) -> Any:  # noqa: ANN401
        return await call_next(request)

    api.add_middleware(BaseHTTPMiddleware, dispatch=between)
    api.mount("/sub", sub)
    return AccessLog(api, quiet=("/health",))


def get(path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(application(), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(ask())


def test_a_request_has_one_access_line_and_one_id(standard: Kept) -> None:
    response = get("/rooms/r-375?token=abc", {"X-Request-ID": "r-1", "traceparent": TRACEPARENT})
    assert response.headers["x-request-id"] == "r-1"
    read, access = standard.records
    assert (read["requestId"], read["traceId"], read["message"]) == ("r-1", TRACE, "read")
    assert access.pop("durationMs") >= 0
    assert access.pop("timestamp")
    assert access == {
        "level": "info", "service": "chat-service", "message": "GET /rooms/{room} 200", "context": "access",
        "requestId": "r-1", "traceId": TRACE, "userId": "usr_1", "method": "GET", "route": "/rooms/{room}",
        "status": 200, "metadata": {"bytes": len(response.content), "client": "127.0.0.1"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"traceparent": TRACEPARENT}, TRACE),
        ({"x-request-id": "bad\tid"}, None),
        ({"x-request-id": "x" * 129, "traceparent": TRACEPARENT.replace("4", "z")}, None),
    ],
)
def test_a_request_without_an_id_of_its_own_gets_one(kept: Kept, given: dict[str, str], expected: str | None) -> None:
    response = get("/rooms/r", given)
    (request_id,) = {record["requestId"] for record in kept.records}
    assert response.headers["x-request-id"] == request_id
    if expected:
        assert request_id == expected
    else:
        assert request_id[14] == "7"  # UUIDv7
        assert request_id[19] in "89ab"


def test_statuses_and_routes(standard: Kept) -> None:
    for path in ("/sync", "/missing", "/nowhere", "/sub/1", "/health"):
        get(path)
    _, sync, missing, nowhere, sub, health = standard.records
    assert (sync["userId"], sync["route"]) == ("usr_2", "/sync")
    assert (missing["level"], missing["status"], missing["route"]) == ("warn", 404, "/missing")
    assert "route" not in nowhere
    assert nowhere["metadata"]["path"] == "/nowhere"
    assert sub["route"] == "/sub/{item}"
    assert health["status"] == 404, "quiet, but it fails"


def test_the_access_line_is_no_later_than_what_the_client_writes_when_it_has_the_answer(kept: Kept) -> None:
    answered: list[datetime] = []

    async def send(message: Any) -> None:  # noqa: ANN401 - whatever it is
        if message["type"] == "http.response.body":
            answered.append(datetime.now(UTC))

    async def works_on(_scope: object, _receive: object, send: Any) -> None:  # noqa: ANN401 - the same
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})
        await asyncio.sleep(0.005)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    asyncio.run(AccessLog(works_on)(scope, None, send))  # type: ignore[arg-type] # nobody asks
    (access,) = kept.records
    assert datetime.fromisoformat(access["timestamp"]) <= answered[0]


def test_an_exception_is_told_once_with_its_stack(standard: Kept) -> None:
    response = get("/fails")
    (access,) = standard.records
    assert (response.status_code, response.headers["x-request-id"]) == (500, access["requestId"])
    assert (access["level"], access["status"], access["route"]) == ("error", 500, "/fails")
    assert access["error"]["message"] == "token=[redacted]"
    assert "in fails" in access["error"]["stack"]
    standard.sent.clear()

    get("/told")
    told, access = standard.records
    assert "stack" in told["error"]
    assert access["error"] == {"type": "ValueError", "message": "no"}
    assert told["requestId"] == access["requestId"]


def test_the_server_does_not_tell_the_exception_again(standard: Kept) -> None:
    async def failing(*_: object) -> None:
        raise ValueError("no")

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    with pytest.raises(ValueError, match="no") as caught:
        asyncio.run(AccessLog(failing)(scope, None, None))  # type: ignore[arg-type] # nobody asks
    logging.getLogger("uvicorn.error").error("Exception in ASGI application", exc_info=caught.value)
    assert len(standard.records) == 1


@pytest.fixture
def server() -> Iterator[str]:
    with answering() as address:
        yield address


def test_live_levels_are_applied_kept_while_nobody_answers_and_expire(
    server: str, standard: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    levels = CURRENT.core.levels
    log, standard_log = servicelog.get_logger("app.rooms"), logging.getLogger("app.rooms")
    asking = Settings(service="s", level_url=f"{server}/v1/levels/chat-service", level_every_s=0.02)
    source = LevelSource(asking, levels, stdlib.apply_levels)
    source.start()
    try:
        wait_for(lambda: Answering.asked > 1, "it asks")
        assert not CURRENT.core.is_enabled("debug", "app.rooms")
        Answering.levels = (200, '"1"', b'{"levels":{"app.rooms":"debug","*":"warn"}}')
        wait_for(lambda: CURRENT.core.is_enabled("debug", "app.rooms"), "the level is applied")
        log.debug("a")
        standard_log.debug("b")
        servicelog.get_logger("else").info("not written")
        logging.getLogger("else").info("not written")
        assert [record["message"] for record in standard.records] == ["a", "b"]
        Answering.levels = (500, "", b"")
        asked = Answering.asked
        wait_for(lambda: Answering.asked > asked + 2, "it asks again")
        Answering.levels = (200, '"2"', b'{"levels":{"*":"loud"}}')
        wait_for(lambda: Answering.asked > asked + 4, "it asks again")
        assert CURRENT.core.is_enabled("debug", "app.rooms")
        Answering.levels = (200, '"3"', b'{"levels":{"app.rooms":"trace"},"expiresAt":"2020-01-01T00:00:00Z"}')
        wait_for(lambda: not CURRENT.core.is_enabled("debug", "app.rooms"), "it has expired")
        assert CURRENT.core.is_enabled("info", "else")
        assert not standard_log.isEnabledFor(logging.DEBUG)
    finally:
        source.stop()
    assert capsys.readouterr().err.count("levels cannot be asked for") == 1
