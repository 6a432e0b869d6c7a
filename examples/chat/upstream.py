"""The gateway's calls to the services behind it: with the request's identity, a bound on time, and a record each."""

import asyncio
import os
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, Self
from urllib.parse import quote

import httpx
from fastapi import HTTPException

import servicelog
from examples.chat import faults
from servicelog import propagate

_ATTEMPTS: Final = 3
_PAUSE_S: Final = 0.05
# Asked twice, these do what they do once. What was refused was not done: that is repeated, whatever it is. What broke
# off may have been done.
_REPEATABLE: Final = frozenset({"GET", "PUT"})
_SECONDS: Final = 1_000

_log = servicelog.get_logger("Upstream")


class Upstreams:
    """The services behind the gateway, by their short names; AUTH_URL, USER_URL and CHAT_URL say where they are."""

    def __init__(self) -> None:
        self._urls = {name: os.environ[f"{name.upper()}_URL"] for name in ("auth", "user", "chat")}
        self._client = httpx.AsyncClient(
            timeout=faults.UPSTREAM_TIMEOUT_S,
            event_hooks={"request": [propagate.httpx_async_hook]},
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def call(
        self,
        upstream: str,
        method: str,
        route: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        **path: str,
    ) -> Any:  # noqa: ANN401 - whatever the service answers
        """Ask a service, again where that helps, and return the answer's body.

        Args:
            upstream: auth, user or chat.
            method: GET, POST, …
            route: the path's template, as `/v1/users/{user}`.
            body: sent as JSON.
            headers: more headers.
            query: behind the `?`.
            path: what the template's names stand for.

        Raises: HTTPException, with the service's own status below 500; 504 where it was too slow, else 502.
        """
        url = self._urls[upstream] + route.format_map({name: quote(value, safe="") for name, value in path.items()})
        for attempt in range(1, _ATTEMPTS + 1):
            answer, reason = None, None
            own = {faults.HEADER: faults.header(), faults.ATTEMPT: str(attempt), **(headers or {})}
            began_s = time.perf_counter()
            try:
                answer = await self._client.request(method, url, json=body, headers=own, params=query)
                reason = "status" if answer.is_server_error else None
            except httpx.TimeoutException:
                reason = "timeout"
            except httpx.ConnectError:
                reason = "refused"
            except httpx.TransportError:
                reason = "broken"
            (_log.warn if reason else _log.info)(
                "Upstream called",
                event="upstream_call",
                outcome="failure" if reason else "success",
                reason=reason,
                method=method,
                durationMs=round((time.perf_counter() - began_s) * _SECONDS, 3),
                upstream=upstream,
                upstreamRoute=route,
                upstreamStatus=answer.status_code if answer is not None else None,
                attempt=attempt,
            )
            if answer is not None and not answer.is_server_error:
                return _content(answer)
            if attempt == _ATTEMPTS or not (method in _REPEATABLE or reason == "refused"):
                break
            await asyncio.sleep(_PAUSE_S * attempt)
        status = HTTPStatus.GATEWAY_TIMEOUT if reason == "timeout" else HTTPStatus.BAD_GATEWAY
        raise HTTPException(status, f"{upstream} does not answer as it should")


def _content(answer: httpx.Response) -> Any:  # noqa: ANN401 - the same
    content = answer.json()
    if answer.is_client_error:
        raise HTTPException(answer.status_code, content.get("detail"))
    return content
