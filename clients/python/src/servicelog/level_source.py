"""Live levels: an HTTP endpoint is asked every few seconds, and what it says counts until it expires.

The answer is `{"levels": {"*": "debug", "app.db": "trace"}, "expiresAt": "2026-11-24T10:00:00Z"}`, with an `ETag`;
`*` is for all loggers without a level of their own, and without `expiresAt` the answer counts until the next one.
404 and 204 say that there is nothing: the configured levels count. So they do after the expiry, whether the endpoint
answers or not; until then, an endpoint that does not answer changes nothing.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from servicelog import levels
from servicelog.console import say
from servicelog.levels import Levels
from servicelog.settings import Settings

_TIMEOUT_S: Final = 2.0
_ANSWER_BYTES_MAX: Final = 65_536
_NOTHING: Final = (204, 404)


class LevelSource:
    """Asks, and sets the levels.

    Args:
        settings: where to ask, how often, and with which token.
        target: what is set.
        changed: called after each change.
    """

    def __init__(self, settings: Settings, target: Levels, changed: Callable[[], None] | None = None) -> None:
        self._url = settings.level_url
        self._every_s = settings.level_every_s
        self._token = settings.level_token
        self._token_file = settings.level_token_file
        self._levels = target
        self._changed = changed
        self._etag: str | None = None
        self._expires_s: float | None = None
        self._failing = False
        self._stop = threading.Event()

    def start(self) -> None:
        """Ask from a thread of its own."""
        threading.Thread(target=self._run, name="servicelog-levels", daemon=True).start()

    def stop(self) -> None:
        """Ask no more; the configured levels count."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.ask()
                self._failing = False
            except Exception as error:  # noqa: BLE001 - the network, and what others answer: the levels stay
                if not self._failing:
                    say(f"levels cannot be asked for at {self._url}: {error}. Those in force stay.")
                self._failing = True
            self._expire()
            self._stop.wait(self._every_s)
        self._set({}, None)

    def ask(self) -> None:
        """Ask once.

        Raises: OSError, ValueError if there is no answer, or none that can be read.
        """
        from urllib import error, request  # noqa: PLC0415 - 30 ms that only this thread takes

        headers = {"If-None-Match": self._etag} if self._etag else {}
        if not self._url.startswith(("http://", "https://")):
            raise ValueError("level_url must begin with http:// or https://")
        asked = request.Request(self._url, headers=headers)  # noqa: S310 - seen to above
        if token := self._read_token():
            asked.add_unredirected_header("Authorization", f"Bearer {token}")  # for this host, wherever it may point
        try:
            with request.urlopen(asked, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - as above
                status, etag, body = answer.status, answer.headers.get("ETag"), answer.read(_ANSWER_BYTES_MAX)
        except error.HTTPError as refusal:
            with contextlib.closing(refusal):
                if refusal.code == 304:  # noqa: PLR2004 - Not Modified
                    return
                if refusal.code not in _NOTHING:
                    raise
                status, etag, body = refusal.code, None, b""
        self._etag = etag
        if status in _NOTHING:
            self._set({}, None)
            return
        said = json.loads(body)
        by_logger = {str(name): str(level) for name, level in said["levels"].items()}
        for level in by_logger.values():
            levels.number(level)
        expires = said.get("expiresAt")
        self._set(by_logger, _seconds(expires) if expires else None)

    def _read_token(self) -> str:
        if self._token_file:
            return Path(self._token_file).read_text(encoding="utf-8").strip()
        return self._token

    def _set(self, by_logger: dict[str, str], expires_s: float | None) -> None:
        self._expires_s = expires_s
        before = self._levels.generation
        self._levels.set_live(by_logger)
        if self._changed is not None and self._levels.generation != before:
            self._changed()

    def _expire(self) -> None:
        if self._expires_s is not None and time.time() >= self._expires_s:
            self._set({}, None)


def _seconds(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


_RUNNING: Final["set[LevelSource]"] = set()


def start(settings: Settings, target: Levels, changed: Callable[[], None] | None = None) -> None:
    """Ask for the service's levels from now on."""
    source = LevelSource(settings, target, changed)
    _RUNNING.add(source)
    source.start()


def stop() -> None:
    """Ask no more."""
    while _RUNNING:
        _RUNNING.pop().stop()


def _after_fork() -> None:
    for source in _RUNNING:
        source.start()


os.register_at_fork(after_in_child=_after_fork)
