"""How Loki is reached: one HTTP session with credentials, tenant and TLS from the settings.

Used for pushes and for reads; `async_connection` is the same for asyncio. Secrets live in the session's authentication
only: never in its default headers, in a repr or in an error's text.
"""

from base64 import b64encode
from contextlib import suppress
from pathlib import Path

import requests
from requests.auth import AuthBase

from shipper import __version__
from shipper.errors import ConfigError
from shipper.settings import Loki, Secret


def session(settings: Loki) -> requests.Session:
    """Open a session with Loki; it connects with its first request, and keeps the connection.

    For one thread at a time. Proxies are taken from the environment, as users of `requests` expect; redirects are
    never followed. A password or token from a file is read here, and again whenever it has been refused.

    Raises: ConfigError if a file that the settings name cannot be read, or if a value cannot stand in an HTTP header.
    """
    made = _Session()
    made.headers["User-Agent"] = f"shipper/{__version__}"
    if settings.tenant:
        made.headers["X-Scope-OrgID"] = header_value("loki.tenant", settings.tenant)
    if settings.bearer_token or settings.bearer_token_file or settings.username:
        made.auth = login = _Authorization(settings)
        made.hooks["response"].append(login.renew)
    if settings.ca_file:
        made.verify = readable("loki.ca_file", settings.ca_file)
    if settings.client_cert_file:
        cert_file = readable("loki.client_cert_file", settings.client_cert_file)
        key_file = settings.client_key_file
        made.cert = (cert_file, readable("loki.client_key_file", key_file)) if key_file else cert_file
    # What the environment says is asked once: `requests` would ask for every push, a third of what a push costs it.
    environment = made.merge_environment_settings(settings.url, {}, None, made.verify, None)
    made.proxies, made.verify, made.trust_env = environment["proxies"], environment["verify"], False
    return made


class _Session(requests.Session):
    """A session that trusts the configured authority, and stays with the configured address."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow nothing: a push that is redirected becomes a GET, and its data is gone."""


class _Authorization(AuthBase):
    """Sets the Authorization header, and reads its secret again once it was refused: the file may have been renewed."""

    def __init__(self, settings: Loki) -> None:
        self._settings = settings
        self._header = authorization(settings)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._header
        return request

    def renew(self, response: requests.Response, **_: object) -> None:
        if response.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
            # A file that is just being replaced is read after the next refusal.
            with suppress(ConfigError):
                self._header = authorization(self._settings)


def authorization(settings: Loki) -> str:
    """Return the Authorization header, its secret read anew from its file; raises ConfigError if that cannot be."""
    if settings.bearer_token or settings.bearer_token_file:
        token = _secret("loki.bearer_token_file", settings.bearer_token_file, settings.bearer_token)
        return f"Bearer {header_value('loki.bearer_token', token)}"
    password = _secret("loki.password_file", settings.password_file, settings.password)
    return f"Basic {b64encode(f'{settings.username}:{password}'.encode()).decode()}"


def _secret(key: str, file: str, value: Secret) -> str:
    """Give the secret itself, or what its file holds but for the newline at the end."""
    if not file:
        return value
    try:
        return Path(file).read_bytes().decode().rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"{key}: cannot read {file}: {error.strerror}; check its path and who may read it") from error
    except UnicodeDecodeError:
        # Its text would hold the secret.
        raise ConfigError(f"{key}: {file} is not UTF-8 text; it must hold the secret and nothing else") from None


def header_value(key: str, value: str) -> str:
    """Return the value of a setting that is sent as a header; raises ConfigError if it cannot be."""
    if not (value.isascii() and value.isprintable() and value and " " not in value):
        raise ConfigError(f"{key}: it must be printable ASCII without spaces, since it is sent as an HTTP header")
    return value


def readable(key: str, file: str) -> str:
    """Return the path of a file that a setting names; raises ConfigError if it cannot be read."""
    try:
        with Path(file).open("rb"):
            return file
    except OSError as error:
        raise ConfigError(f"{key}: cannot read {file}: {error.strerror}; check its path and who may read it") from error
