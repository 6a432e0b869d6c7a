"""The application of the log API: who may call, what goes wrong, and all the routes, put together.

    request ─▶ Counted ─▶ the door (access) ─▶ bodies ─▶ gzip ─▶ route ─▶ Asking ─▶ filters ─▶ walk ─▶ Loki
                                                        └─ Problem, LokiQueryError, anything else ─▶ problems

What it keeps lies in Kafka (`tables`): any number of instances answer alike.
"""

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

import httpx
from fastapi import APIRouter, FastAPI
from starlette.middleware.gzip import GZipMiddleware

from shipper import __version__
from shipper.api import metrics, problems
from shipper.api.access import OPEN_PATHS, Access, AccessMiddleware
from shipper.api.asking import Places, Service
from shipper.api.bodies import Bodies
from shipper.api.hangup import HangUp
from shipper.api.parquet import FILES_MAX
from shipper.api.routes import (
    context,
    dead_letters,
    docs,
    export,
    health,
    levels,
    logql,
    logs,
    queries,
    shippers,
    stats,
    tail,
    traces,
    vocabulary,
)
from shipper.api.tables import Tables
from shipper.loki import async_connection
from shipper.settings import Settings

_CONNECTIONS_MAX = 64
_GZIP_BYTES_MIN = 1_000
_GZIP_LEVEL = 5

ROUTERS: tuple[APIRouter, ...] = (
    logs.router,
    context.router,
    traces.router,
    stats.router,
    vocabulary.router,
    tail.router,
    export.router,
    logql.router,
    shippers.router,
    levels.router,
    queries.router,
    dead_letters.router,
    health.router,
    docs.router,
)
"""Every module of calls; a new one is added here."""


def make_app(settings: Settings, *, access: Access | None = None, tables: Tables | None = None) -> FastAPI:
    """Return the application.

    Args:
        settings: the configuration.
        access: who may come in; by default nobody.
        tables: what is kept in Kafka; read when the application starts. Without, what needs it is answered 503.

    Raises: ConfigError if a file that the settings name cannot be read.
    """
    client = async_connection.client(settings.loki, connections_max=_CONNECTIONS_MAX)
    # One connection per question: one that was kept may be of a process that has ended.
    hosts = httpx.AsyncClient(timeout=shippers.TIMEOUT_S, limits=httpx.Limits(max_keepalive_connections=0))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with client, hosts, tables.running() if tables else nullcontext():
            yield

    app = FastAPI(
        title="shipper log API",
        version=__version__,
        summary="Query, follow and export logs.",
        description="docs/api.md walks through it. Every error is answered as problem details (RFC 9457).",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        responses={"4XX": problems.DOCUMENTED, "5XX": problems.DOCUMENTED},
    )
    app.state.service = Service(
        settings,
        client,
        hosts,
        streams=Places("tails and exports", settings.api.streams_max, metrics.STREAMS),
        files=Places("Parquet files", FILES_MAX, metrics.FILES),
    )
    app.state.tables = tables
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(HangUp)
    app.add_middleware(GZipMiddleware, minimum_size=_GZIP_BYTES_MIN, compresslevel=_GZIP_LEVEL)
    app.add_middleware(Bodies, bytes_max=settings.api.body_bytes_max, timeout_s=settings.api.body_timeout_s)
    app.add_middleware(AccessMiddleware, access=_opened(access or Access(authenticators=[]), settings))
    app.add_middleware(metrics.Counted)
    return app


def _opened(access: Access, settings: Settings) -> Access:
    """Return the door with the paths open that the configuration makes public."""
    public: frozenset[str] = frozenset(settings.api.public)
    if "/docs" in public:
        public |= {"/openapi.json"}
    return dataclasses.replace(access, open_paths=OPEN_PATHS | access.open_paths | public)
