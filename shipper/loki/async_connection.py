"""How Loki is reached from asyncio: a client with credentials and TLS from the settings, as `connection` has it."""

import ssl
from collections.abc import Generator
from contextlib import suppress

import httpx

from shipper import __version__
from shipper.errors import ConfigError
from shipper.loki.connection import authorization, readable
from shipper.settings import Loki


def client(settings: Loki, *, connections_max: int) -> httpx.AsyncClient:
    """Open a client; the tenant is each request's own. Redirects are never followed.

    Raises: ConfigError if a file that the settings name cannot be read.
    """
    login = bool(settings.bearer_token or settings.bearer_token_file or settings.username)
    return httpx.AsyncClient(
        base_url=settings.url.rstrip("/"),
        auth=_Authorization(settings) if login else None,
        headers={
            "User-Agent": f"shipper/{__version__}",
            "X-Loki-Response-Encoding-Flags": "categorize-labels",
            "Accept-Encoding": "identity",  # Loki is near, and would spend more on compression than the network does
        },
        limits=httpx.Limits(max_connections=connections_max, max_keepalive_connections=connections_max),
        timeout=httpx.Timeout(settings.timeout_s),
        verify=_trust(settings),
        follow_redirects=False,
    )


def _trust(settings: Loki) -> ssl.SSLContext | bool:
    if not (settings.ca_file or settings.client_cert_file):
        return True
    context = ssl.create_default_context(
        cafile=readable("loki.ca_file", settings.ca_file) if settings.ca_file else None
    )
    if settings.client_cert_file:
        cert_file = readable("loki.client_cert_file", settings.client_cert_file)
        context.load_cert_chain(cert_file, settings.client_key_file or None)
    return context


class _Authorization(httpx.Auth):
    """Sets the Authorization header, and reads its secret again once it was refused: the file may have been renewed."""

    def __init__(self, settings: Loki) -> None:
        self._settings = settings
        self._header = authorization(settings)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = self._header
        response = yield request
        if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            # A file that is just being replaced is read after the next refusal.
            with suppress(ConfigError):
                self._header = authorization(self._settings)
