"""`shipper api` as a process: uvicorn on the configured address, until SIGTERM or Ctrl-C."""

import signal

import uvicorn
from fastapi import FastAPI

from shipper.api import audit
from shipper.api.app import make_app
from shipper.api.connections import Prompt
from shipper.api.entrance import entrance
from shipper.api.tables import Tables
from shipper.errors import CannotStartError
from shipper.kafka.topics import create_tables
from shipper.listening import bind
from shipper.logs import log
from shipper.settings import Api, Settings

_CONNECTIONS_MAX = 512
_DRAIN_S = 10


def config(app: FastAPI, api: Api) -> uvicorn.Config:
    """Return how uvicorn serves the application."""
    return uvicorn.Config(
        app,
        access_log=False,
        http=Prompt,
        lifespan="on",
        limit_concurrency=_CONNECTIONS_MAX,
        log_config=None,
        proxy_headers=bool(api.trusted_proxies),
        forwarded_allow_ips=api.trusted_proxies,
        server_header=False,
        ssl_certfile=api.tls_cert_file or None,
        ssl_keyfile=api.tls_key_file or None,
        timeout_graceful_shutdown=_DRAIN_S,
        timeout_keep_alive=30,
        ws="none",
    )


def run(settings: Settings) -> int:
    """Serve until a signal ends it, and return the exit code.

    Raises: CannotStartError if the address cannot be had, or Kafka not be read; ConfigError.
    """
    create_tables(settings)  # what is wrong with Kafka is said before anything listens
    tables = Tables(settings)
    app = make_app(settings, access=entrance(settings.api, tables), tables=tables)
    try:
        served = config(app, settings.api)
        served.load()
    except OSError as error:
        raise CannotStartError(f"api.tls_cert_file, api.tls_key_file: they cannot be used: {error}") from error
    # uvicorn ends by raising the signal again that ended it: with nobody to catch it, a drain would look like a death.
    signal.signal(signal.SIGTERM, lambda *_: None)
    bound = bind("api.listen", settings.api.listen)
    audit.configure(settings)
    host, port = bound.getsockname()[:2]
    log("info", "The log API answers", listen=f"{host}:{port}", loki=settings.loki.url)
    server = uvicorn.Server(served)
    server.run(sockets=[bound])
    if not server.started:
        raise CannotStartError("the log API did not start: what was logged before says why")
    log("info", "The log API has ended")
    return 0
