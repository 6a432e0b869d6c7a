"""The log API on a port of its own, in a thread, for callers whom a test makes up; and lines in Loki to ask it for."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

import httpx
import uvicorn

from shipper.api import server
from shipper.api.access import Access, CredentialError, Visit
from shipper.api.app import make_app
from shipper.api.principal import Principal, Role
from shipper.devstack.server import HOST, free_port
from shipper.settings import Api, Loki, Settings

PEOPLE: Mapping[str, Principal] = {
    "viewer": Principal("viewer", Role.VIEWER),
    "other": Principal("other", Role.VIEWER),
    "operator": Principal("operator", Role.OPERATOR),
    "chat": Principal("chat", Role.VIEWER, services=frozenset({"chat-service"})),
    "chat-operator": Principal("chat-operator", Role.OPERATOR, services=frozenset({"chat-service"})),
    "nothing": Principal("nothing", Role.OPERATOR, services=frozenset()),
    "staging": Principal("staging", Role.OPERATOR, environments=frozenset({"staging"})),
}


def wait_until(condition: Callable[[], object], what: str, *, deadline_s: float = 60) -> None:
    """Wait until a condition holds; raises TimeoutError."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {deadline_s:g} s: {what}")
        time.sleep(0.02)


class Names:
    """A credential is the name of one of a test's people."""

    def __init__(self, people: Mapping[str, Principal]) -> None:
        self._people = people

    def takes(self, credential: str) -> bool:
        return bool(credential)

    async def principal(self, credential: str) -> Principal:
        if credential not in self._people:
            raise CredentialError("no such name")
        return self._people[credential]


class LogApi:
    """`shipper api` on `url`, from `with` to its end; callers give their names as tokens.

    Attributes:
        visits: what the audit was told.
    """

    def __init__(self, loki_url: str, people: Mapping[str, Principal] = PEOPLE, **api: Any) -> None:  # noqa: ANN401 - settings
        self.settings = Settings(loki=Loki(url=loki_url), api=Api(**api))
        self.visits: list[Visit] = []
        access = Access(authenticators=[Names(people)], audit=lambda _, visit: self.visits.append(visit))
        self._app = make_app(self.settings, access=access)
        port = free_port()
        self.url = f"http://{HOST}:{port}"
        config = server.config(self._app, self.settings.api)
        config.host, config.port = HOST, port
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self.client = httpx.Client(base_url=self.url, timeout=120)

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self._server.started, "the log API answers")
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join(30)

    def get(
        self,
        path: str,
        *,
        who: str = "viewer",
        headers: Mapping[str, str] | None = None,
        **parameters: Any,  # noqa: ANN401 - whatever httpx takes
    ) -> httpx.Response:
        """Ask as somebody; `from_` is the parameter `from`, and None leaves one out."""
        given = {name.rstrip("_"): value for name, value in parameters.items() if value is not None}
        return self.client.get(path, params=given, headers={"Authorization": f"Bearer {who}", **(headers or {})})

    def page(self, path: str, *, who: str = "viewer", **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
        """Return the JSON of an answer that must be 200."""
        answer = self.get(path, who=who, **parameters)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found
