"""The log API with everything that it keeps in a real Kafka, on a port of its own, with real tokens."""

import dataclasses
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any, Self

import httpx
import uvicorn

from shipper.api import audit, server, tokens
from shipper.api.app import make_app
from shipper.api.entrance import entrance
from shipper.api.principal import Role
from shipper.api.tables import Tables
from shipper.devstack.server import HOST, free_port
from shipper.kafka.table import Table
from shipper.kafka.table_writer import TableWriter
from shipper.kafka.topics import create_tables
from shipper.settings import Api, ApiTopics, DeadLetter, Kafka, Loki, Settings

WAIT_S = 60.0
_DAY_MS = 86_400_000


def kept_settings(
    bootstrap: str,
    *,
    topic: str = "logs",
    dead_letters: str = "",
    loki_url: str = "",
    **more: Any,  # noqa: ANN401 - settings
) -> Settings:
    """Settings of an installation of its own: topics that nobody else has."""
    name = uuid.uuid4().hex[:12]
    topics = ApiTopics(levels=f"levels-{name}", queries=f"queries-{name}", tokens=f"tokens-{name}")
    settings = Settings(
        kafka=Kafka(bootstrap_servers=[bootstrap], topics=[topic], group_id=name),
        loki=Loki(url=loki_url or f"http://{HOST}:1"),
        dead_letter=DeadLetter(topic=dead_letters or f"dead-{name}"),
        api=Api(topics=topics, **more),
    )
    create_tables(settings)
    return settings


def make_tokens(settings: Settings, wanted: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Make tokens: name \u2192 what `tokens.mint` takes; returns each one's `Authorization`."""
    found = {}
    with Table(settings.kafka, settings.api.topics.tokens) as table:
        writer = TableWriter(settings.kafka, table)
        for name, of in wanted.items():
            given = {"role": Role.VIEWER, "valid_ms": _DAY_MS, "now_ms": time.time_ns() // 1_000_000, **of}
            minted = tokens.mint(name, **given)
            writer.put(minted.prefix, tokens.write(minted.kept))
            found[name] = f"Bearer {minted.token}"
    return found


class KeptApi:
    """One instance of the log API, from `with` to its end.

    Args:
        settings: of `kept_settings`.
        who: name \u2192 the header `Authorization` that `ask` sends for it.
        is_audited: whether accesses are written to the log topic.
    """

    def __init__(self, settings: Settings, who: Mapping[str, str], *, is_audited: bool = False) -> None:
        self.settings, self.who = settings, who
        tables = Tables(settings)
        door = entrance(settings.api, tables)
        if is_audited:
            audit.configure(settings)
        else:
            door = dataclasses.replace(door, audit=lambda _scope, _visit: None)
        config = server.config(make_app(settings, access=door, tables=tables), settings.api)
        config.host, config.port = HOST, free_port()
        scheme = "https" if settings.api.tls_cert_file else "http"
        self.url = f"{scheme}://{HOST}:{config.port}"
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self.client = httpx.Client(base_url=self.url, timeout=WAIT_S, verify=False)  # noqa: S501 - a test's own

    def __enter__(self) -> Self:
        self._thread.start()
        until(lambda: self._server.started or not self._thread.is_alive())
        assert self._server.started
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.end()

    def end(self) -> None:
        """End it: it answers nobody any more."""
        self._server.should_exit = True
        self._thread.join(WAIT_S)

    def ask(self, who: str, method: str, path: str, **more: Any) -> httpx.Response:  # noqa: ANN401 - what httpx takes
        """Ask on behalf of somebody; `headers` are added to theirs."""
        headers = {**({"authorization": self.who[who]} if who else {}), **more.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **more)


def until(condition: Any) -> None:  # noqa: ANN401 - what returns something
    """Wait until a condition holds."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)
