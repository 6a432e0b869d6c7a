"""A small service on FastAPI that logs with servicelog, and times its own log calls: `python service.py PORT`."""

import sys
import time
from typing import Any

import uvicorn
from fastapi import FastAPI

import servicelog
from servicelog.asgi import AccessLog

LINES = 10

servicelog.configure()
api = FastAPI()
log = servicelog.get_logger("rooms")
numbers = iter(range(1_000_000_000))
call_us: list[float] = []


@api.get("/rooms/{room}")
async def room(room: str) -> dict[str, str]:
    for _ in range(LINES):
        number = next(numbers)
        began_ns = time.perf_counter_ns()
        log.info("Message stored", n=number, roomId=room, size=120)
        call_us.append((time.perf_counter_ns() - began_ns) / 1_000)
    return {"room": room}


@api.get("/figures")
async def figures() -> dict[str, Any]:
    """What log calls took since this was asked last, and what became of the records."""
    global call_us
    taken, call_us = call_us, []
    state = servicelog.metrics()
    waiting = state.queued + state.spilled
    said = {"logged": state.logged, "sent": state.sent, "waiting": waiting, "spilledTotal": state.spilled_total}
    return {"callUs": taken, **said, "dropped": state.dropped, "away": state.kafka_away}


uvicorn.run(AccessLog(api, quiet=("/figures",)), port=int(sys.argv[1]), log_config=None, access_log=False)
