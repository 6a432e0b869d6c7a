"""What the five services have in common: the library set up once, `/health`, `/metrics`, and a server around it all."""

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from typing import Any, Final

import uvicorn
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

import servicelog
from examples.chat import faults
from servicelog.asgi import AccessLog, App, Receive, Scope, Send

_HOST: Final = "127.0.0.1"
_QUIET: Final = ("/health", "/metrics")
# One line per call is enough, and it is ours: "Upstream called".
_LIBRARIES: Final = {"httpx": "warn", "httpcore": "warn", "asyncio": "warn"}
# Longer than a client keeps a connection: it never sends into one that is being closed.
_KEEP_ALIVE_S: Final = 60


@dataclass
class Work:
    """What a service has in hand: `/metrics` shows it, so that who waits for the end knows when it has come.

    Attributes:
        under_way: requests that are being served.
        published: messages that went to Kafka, or are on their way.
        consumed: messages from Kafka that have been handled, and all that they led to.
    """

    under_way: int = 0
    published: int = 0
    consumed: int = 0


WORK: Final = Work()

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

_log = servicelog.get_logger("Requests")


class Body(BaseModel):
    """A request's body, with names as in JavaScript."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


def new_api(name: str, lifespan: Lifespan | None = None) -> FastAPI:
    """Return a service's application, without routes of its own yet.

    Args:
        name: as in the upstreams' names and in `X-Fault`: gateway, auth, user, chat, notification.
        lifespan: what is open while it serves.
    """
    api = FastAPI(
        title=name,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(faults.acting_for(name))],
    )

    @api.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @api.get("/metrics")
    async def metrics() -> dict[str, Any]:
        return {**asdict(servicelog.metrics()), **asdict(WORK)}

    @api.exception_handler(RequestValidationError)
    async def refuse(_: Request, error: RequestValidationError) -> JSONResponse:
        problems = [{"at": ".".join(map(str, one["loc"])), "problem": one["msg"]} for one in error.errors()]
        # What was refused helps to find the mistake. Secrets have names, e-mail addresses a form: they are taken out.
        refused = {str(one["loc"][-1]): one["input"] for one in error.errors() if one["type"] != "missing"}
        _log.warn("Request refused", event="request_refused", problems=problems, refused=refused)
        return JSONResponse({"detail": problems}, 422)

    @api.exception_handler(Exception)
    async def fail(_: Request, __: Exception) -> JSONResponse:
        # The exception goes on to the server, which closes the connection then: the client must not use it again.
        return JSONResponse({"detail": "a mistake of ours"}, 500, {"connection": "close"})

    return api


def serve(service: str, make_api: Callable[[], FastAPI]) -> None:
    """Set the library up and serve on PORT; all other settings of the library come from the environment."""
    levels = None if "SERVICELOG_LEVELS" in os.environ else _LIBRARIES
    servicelog.configure(service=service, levels=levels, redact_emails=True)
    uvicorn.run(
        _counted(AccessLog(make_api(), quiet=_QUIET)),
        host=_HOST,
        port=int(os.environ["PORT"]),
        log_config=None,
        access_log=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
    )


def _counted(app: App) -> App:
    async def around(scope: Scope, receive: Receive, send: Send) -> None:
        counts = int(scope["type"] == "http" and scope["path"] not in _QUIET)
        WORK.under_way += counts
        try:
            await app(scope, receive, send)
        finally:
            WORK.under_way -= counts

    return around
