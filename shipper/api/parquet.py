"""Lines as a Parquet file that is sent while it is written: a row group for each page, in constant memory.

polars pulls pages from a source of ours and writes into a sink of ours, in a thread. Both wait there for the event
loop, which asks Loki and sends bytes no faster than the caller takes them. They hold threads of polars while they wait,
so few files are written at once.
"""

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import IO, Any, TypeVar, cast

import msgspec
import polars as pl
from polars.io.plugins import register_io_source

from shipper.api.scope import LEVEL, SERVICE
from shipper.api.walk import Numbered

FILES_MAX = 2
_ROWS_PER_GROUP = 10_000
_CHUNK_BYTES = 64 << 10
_CHUNKS_HELD = 8
_T = TypeVar("_T")
_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.String,
    "timestamp": pl.Datetime("ns", "UTC"),
    "service": pl.String,
    "level": pl.String,
    "request_id": pl.String,
    "line": pl.String,
    "labels": pl.String,
    "metadata": pl.String,
}
SCHEMA = pl.Schema(_COLUMNS)
"""The columns; `labels` and `metadata` are JSON."""


class GivenUpError(Exception):
    """Nobody wants the file any more."""


def frame(lines: list[Numbered]) -> pl.DataFrame:
    """Return lines as the columns of `SCHEMA`."""
    rows = [
        (
            f"{entry.timestamp_ns}-{key.hex()}",
            entry.timestamp_ns,
            entry.labels.get(SERVICE),
            entry.labels.get(LEVEL),
            entry.metadata.get("request_id"),
            entry.line,
            msgspec.json.encode(entry.labels).decode(),
            msgspec.json.encode(entry.metadata).decode(),
        )
        for entry, key in lines
    ]
    plain = pl.Schema({**_COLUMNS, "timestamp": pl.Int64})
    return pl.DataFrame(rows, schema=plain, orient="row").cast({"timestamp": SCHEMA["timestamp"]})


async def parquet(pages: AsyncIterator[list[Numbered]]) -> AsyncIterator[bytes]:
    """Yield the bytes of a Parquet file with the lines of all pages; errors of `pages` are raised here."""
    writing = _Writing(pages, asyncio.get_running_loop())
    thread = threading.Thread(target=writing.run, name="parquet", daemon=True)
    thread.start()
    try:
        while (chunk := await writing.chunks.get()) is not None:
            yield chunk
        if writing.error:
            raise writing.error
    finally:
        writing.give_up()


class _Writing(io.RawIOBase):
    """One file that is being written; `run` and what it calls live in a thread, all else in the event loop."""

    def __init__(self, pages: AsyncIterator[list[Numbered]], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.chunks: asyncio.Queue[bytes | None] = asyncio.Queue(_CHUNKS_HELD)
        self.error: BaseException | None = None
        self._pages, self._loop = pages, loop
        self._given_up = asyncio.Event()
        self._pending = bytearray()

    def give_up(self) -> None:
        """Let the thread end."""
        self._given_up.set()

    def run(self) -> None:
        """Write the file."""
        try:
            source = register_io_source(self._frames, schema=SCHEMA, is_pure=False)
            source.sink_parquet(
                cast("IO[bytes]", self), compression="zstd", row_group_size=_ROWS_PER_GROUP, engine="streaming"
            )
            self._send(force=True)
        except BaseException as error:  # noqa: BLE001 - it is raised in the event loop
            self.error = self.error or error
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(asyncio.ensure_future, self._end())

    async def _end(self) -> None:
        if not self._given_up.is_set():
            await self.chunks.put(None)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401 - whatever has bytes
        self._pending += data
        self._send(force=False)
        return len(data)

    def _send(self, *, force: bool) -> None:
        if self._pending and (force or len(self._pending) >= _CHUNK_BYTES):
            chunk, self._pending = bytes(self._pending), bytearray()
            self._wait_for(self.chunks.put(chunk))

    def _frames(
        self, _columns: list[str] | None, _predicate: pl.Expr | None, _rows: int | None, _batch: int | None
    ) -> Iterator[pl.DataFrame]:
        while True:
            try:
                page = self._wait_for(self._next())
            except BaseException as error:
                # polars would tell of it in words of its own.
                self.error = self.error or error
                raise
            if page is None:
                return
            yield frame(page)

    async def _next(self) -> list[Numbered] | None:
        return await anext(self._pages, None)

    def _wait_for(self, wanted: Coroutine[Any, Any, _T]) -> _T:
        """Wait in the thread for something of the event loop; raises GivenUpError when nobody wants the file."""

        async def either() -> _T:
            doing, giving_up = asyncio.ensure_future(wanted), asyncio.ensure_future(self._given_up.wait())
            await asyncio.wait({doing, giving_up}, return_when=asyncio.FIRST_COMPLETED)
            giving_up.cancel()
            if not doing.done():
                doing.cancel()
                raise GivenUpError
            return doing.result()

        return asyncio.run_coroutine_threadsafe(either(), self._loop).result()
