"""The status endpoint: answers about shipper itself, in a thread of the supervisor. It reads, and changes nothing.

| path | answers |
|---|---|
| `/` | a live page, from the files in `page/`; it loads nothing from anywhere else |
| `/status` | the JSON of `status.describe` |
| `/history` | the last ten minutes as columns; `?since=<ms since the epoch>` leaves out what is not after it |
| `/metrics` | the same in Prometheus' text format |
| `/healthz` | 200: the supervisor lives |
| `/readyz` | 200 when workers run, and Kafka and Loki answer; else 503 with the reasons |
"""

import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shipper import __version__
from shipper.listening import bind
from shipper.process import metrics, status
from shipper.process.history import History
from shipper.process.status import Look

_PAGE = Path(__file__).parent / "page"
_ASSETS = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/chart.js": ("chart.js", "text/javascript; charset=utf-8"),
}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_CONNECTIONS_MAX = 128
_STOP_TIMEOUT_S = 3.0
Endpoint = Callable[[Request], Awaitable[Response]]


def make_app(look: Callable[[], Look], history: History, started_ms: int) -> Starlette:
    """Return the HTTP application.

    Args:
        look: takes a look at everything; called for each request, in the thread of the server.
        history: the last ten minutes.
        started_ms: when the supervisor started, in ms since the epoch.
    """

    async def show_status(_request: Request) -> Response:
        document = status.describe(look(), history.rates(), version=__version__, started_ms=started_ms)
        return _json(document)

    async def show_history(request: Request) -> Response:
        since = request.query_params.get("since", "0")
        if not since.isdecimal():
            return _json({"error": f"since={since!r} is no number of milliseconds since the epoch"}, 400)
        return _json(history.columns(int(since)))

    async def show_metrics(_request: Request) -> Response:
        body = metrics.render(look(), version=__version__, started_ms=started_ms)
        return Response(body, headers={**_HEADERS, "Content-Type": metrics.CONTENT_TYPE})

    async def show_health(_request: Request) -> Response:
        return _json({"alive": True})

    async def show_readiness(_request: Request) -> Response:
        reasons = status.unready(look())
        return _json({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    return Starlette(
        routes=[
            Route("/status", show_status),
            Route("/history", show_history),
            Route("/metrics", show_metrics),
            Route("/healthz", show_health),
            Route("/readyz", show_readiness),
            *(Route(path, _asset(*asset)) for path, asset in _ASSETS.items()),
        ]
    )


def _json(document: Any, status_code: int = 200) -> Response:  # noqa: ANN401 - whatever JSON can hold
    headers = {**_HEADERS, "Content-Type": "application/json"}
    return Response(orjson.dumps(document), status_code=status_code, headers=headers)


def _asset(name: str, content_type: str) -> Endpoint:
    body = (_PAGE / name).read_bytes()

    async def show(_request: Request) -> Response:
        return Response(body, headers={**_HEADERS, "Content-Type": content_type})

    return show


class StatusServer:
    """Serves an application on an address, from `with` to its end.

    Attributes:
        url: where it answers; with port 0 in `listen`, with the port that the system chose.
    """

    def __init__(self, listen: str, app: Starlette) -> None:
        """Bind the address; requests that come before `with` wait.

        Args:
            listen: `host:port`, as in `status.listen`; an IPv6 address stands in brackets.
            app: what answers.

        Raises: CannotStartError if the address cannot be had.
        """
        self._socket = bind("status.listen", listen, connections=_CONNECTIONS_MAX)
        host = listen.rpartition(":")[0]
        self.url = f"http://{host}:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                access_log=False,
                http="h11",
                lifespan="off",
                limit_concurrency=_CONNECTIONS_MAX,
                log_config=None,
                loop="asyncio",
                server_header=False,
                timeout_graceful_shutdown=1,
                ws="none",
            )
        )
        # A daemon: a request that hangs must not keep a drained shipper alive.
        self._thread = threading.Thread(target=self._serve, name="status", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(_STOP_TIMEOUT_S)
        self._socket.close()

    def _serve(self) -> None:
        # Outside the main thread uvicorn leaves signals alone.
        self._server.run(sockets=[self._socket])
