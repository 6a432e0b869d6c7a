"""Reads from Loki with asyncio: `query.LokiReader` for many callers at once, each with a tenant."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import TypeVar

import httpx
import msgspec
import tenacity

from shipper.loki.paging import Page, PageAsked, Series, SeriesAsked, StreamEntry, page_of, pages
from shipper.loki.query_answers import Answer, Listed, Result, Stream
from shipper.loki.query_errors import (
    ANSWER_CHARS_MAX,
    LokiQueryError,
    PassingError,
    SlowError,
    TooLargeError,
    raise_unless_ok,
)

BODY_BYTES_MAX = 32 << 20  # pages that are larger are asked for again, smaller
_API = "/loki/api/v1"
_Kind = TypeVar("_Kind")
Parameters = Mapping[str, str | int | float]


class AsyncLokiReader:
    """Reads one tenant of one Loki.

    A request that is given up (its time is over, or its caller is cancelled) closes its connection, at which Loki stops
    working for it.

    Args:
        client: as `async_connection.client` makes it; shared.
        tenant: sent as `X-Scope-OrgID` where it is not empty.
        timeout_s: bound of one request.
        retry_deadline_s: how long 429, 5xx and a Loki that does not answer are tried again; 0: not at all.
    """

    def __init__(
        self, client: httpx.AsyncClient, *, tenant: str = "", timeout_s: float = 30, retry_deadline_s: float = 0
    ) -> None:
        self._client = client
        self._headers = {"X-Scope-OrgID": tenant} if tenant else {}
        self._timeout_s = timeout_s
        self._retrying = tenacity.AsyncRetrying(
            # A page for which no answer comes is asked for in smaller parts at once.
            retry=tenacity.retry_if_exception(
                lambda it: isinstance(it, PassingError) and not isinstance(it, SlowError)
            ),
            stop=tenacity.stop_after_delay(retry_deadline_s),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
            reraise=True,
        )

    async def ready(self) -> bool:
        """Ask once whether Loki is ready to serve."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return (await self._client.get("/ready")).status_code == HTTPStatus.OK
        except (httpx.HTTPError, TimeoutError):
            return False

    async def pages(
        self, query: str, start_ns: int, end_ns: int, *, page: int, tie: int = 0, backward: bool = False
    ) -> AsyncIterator[list[StreamEntry]]:
        """Yield every entry of the range once, in lists in order of time; a nanosecond's entries are in one list.

        Raises: LokiQueryError; also while the entries are being consumed.
        """
        reading = pages(query, start_ns, end_ns, page=page, tie=tie, backward=backward)
        step = next(reading, None)
        while step is not None:
            if isinstance(step, list):
                yield step
                step = next(reading, None)
                continue
            try:
                answer = await self._asked(step)
            except LokiQueryError as error:
                step = reading.throw(error)
            else:
                step = reading.send(answer)

    async def get(self, path: str, parameters: Parameters, kind: type[_Kind]) -> _Kind:
        """Ask `/loki/api/v1` and a path of ours (never a caller's); raises LokiQueryError."""
        return self._decoded(path, await self.raw(path, parameters), kind)

    async def raw(self, path: str, parameters: Parameters) -> bytes:
        """Return the answer's body; raises LokiQueryError."""
        body: bytes = await self._retrying(self._get_once, path, parameters)
        return body

    async def _asked(self, step: PageAsked | SeriesAsked) -> Page | Series:
        if isinstance(step, SeriesAsked):
            return (await self.get("/series", step.parameters, Listed[dict[str, str]])).data
        body = await self.raw("/query_range", step.parameters)
        answer = self._decoded("/query_range", body, Answer[Result[Stream]])
        return page_of(answer, len(body), backward=step.backward)

    def _url(self, path: str) -> str:
        return f"{self._client.base_url}".rstrip("/") + _API + path

    def _decoded(self, path: str, body: bytes, kind: type[_Kind]) -> _Kind:
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError:
            text = body[:ANSWER_CHARS_MAX].decode(errors="replace")
            raise LokiQueryError(self._url(path), HTTPStatus.OK, text) from None

    async def _get_once(self, path: str, parameters: Parameters) -> bytes:
        try:
            async with asyncio.timeout(self._timeout_s):
                async with self._client.stream(
                    "GET", _API + path, params=dict(parameters), headers=self._headers, timeout=None
                ) as answer:
                    body = await self._body(path, answer)
        except TimeoutError:
            raise SlowError(self._url(path), 0, f"no answer within {self._timeout_s:g} s") from None
        except httpx.InvalidURL:
            raise LokiQueryError(self._url(path), HTTPStatus.BAD_REQUEST, "the query is too long") from None
        except httpx.HTTPError as error:
            raise PassingError(self._url(path), 0, str(error) or type(error).__name__) from None
        if answer.status_code != HTTPStatus.OK:
            raise_unless_ok(self._url(path), answer.status_code, body.decode(errors="replace")[:ANSWER_CHARS_MAX])
        return body

    async def _body(self, path: str, answer: httpx.Response) -> bytes:
        body = bytearray()
        async for part in answer.aiter_bytes():
            body += part
            if len(body) > BODY_BYTES_MAX:
                said = f"Loki's answer to {path} has more than {BODY_BYTES_MAX} bytes: ask for less"
                raise TooLargeError("", 0, said)
        return bytes(body)
