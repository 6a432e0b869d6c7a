"""`shipper api` as a process: uvicorn on the configured address, until SIGTERM or Ctrl-C."""

import uvicorn
from fastapi import FastAPI

from shipper.listening import bind
from shipper.logs import log
from shipper.settings import Settings

_CONNECTIONS_MAX = 512
_DRAIN_S = 10


def config(app: FastAPI) -> uvicorn.Config:
    """Return how uvicorn serves the application."""
    return uvicorn.Config(
        app,
        access_log=False,
        http="h11",
        lifespan="on",
        limit_concurrency=_CONNECTIONS_MAX,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_S,
        timeout_keep_alive=30,
        ws="none",
    )


def run(settings: Settings, app: FastAPI) -> int:
    """Serve until a signal ends it, and return the exit code; raises CannotStartError if the address cannot be had."""
    bound = bind("api.listen", settings.api.listen)
    host, port = bound.getsockname()[:2]
    log("info", "The log API answers", listen=f"{host}:{port}", loki=settings.loki.url)
    uvicorn.Server(config(app)).run(sockets=[bound])
    log("info", "The log API has ended")
    return 0
