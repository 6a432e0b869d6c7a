"""`python -m benchmarks.api measure`: what the log API costs over asking a real Loki directly; exports; tails."""

import asyncio
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import psutil
import typer
import uvicorn

from benchmarks.measured import cpu_s, rss_peak_bytes
from shipper.api import server
from shipper.api.access import Access
from shipper.api.app import make_app
from shipper.api.principal import Principal, Role
from shipper.devstack.generate import generate
from shipper.devstack.loki import LokiServer
from shipper.devstack.server import HOST, free_port, spawn_leashed
from shipper.moments import rfc3339
from shipper.settings import Loki, Settings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_FIELDS = re.compile(rb'"level":"([^"]*)","service":"([^"]*)"')
_REQUEST = re.compile(rb'"requestId":"([^"]*)"')
_PUSH_LINES = 5_000
_SPAN_NS = 3_600 * 10**9
_HEADERS = {"Authorization": "Bearer bench"}
_READERS = 50
Ask = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]


class _Anybody:
    def takes(self, _credential: str) -> bool:
        return True

    async def principal(self, _credential: str) -> Principal:
        return Principal("bench", Role.OPERATOR)


@app.command()
def serve(loki_url: str, port: int) -> None:
    """Serve the log API to anybody: the process that is measured."""
    settings = Settings(loki=Loki(url=loki_url))
    config = server.config(make_app(settings, access=Access(authenticators=[_Anybody()])), settings.api)
    config.host, config.port = HOST, port
    uvicorn.Server(config).run()


@app.command()
def measure(
    records: Annotated[int, typer.Option(help="In Loki.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(help="Questions of each kind.")] = 200,
) -> None:
    """Fill a Loki, and measure."""
    with tempfile.TemporaryDirectory(prefix="shipper-bench-") as folder, LokiServer(Path(folder)) as loki:
        start_ns, requests = _fill(loki.url, records)
        print(f"{records:,} records in Loki; load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
        with _served(loki.url, Path(folder)) as (url, pid):
            asyncio.run(_overhead(loki.url, url, psutil.Process(pid), start_ns, requests, rounds))
            asyncio.run(_crowd(loki.url, url, start_ns))
            print(f"memory of the log API so far: peak {rss_peak_bytes(pid) / 2**20:.0f} MB")
        for kind in ("ndjson", "ndjson, gzip", "csv", "parquet"):
            with _served(loki.url, Path(folder)) as (url, pid):
                _export(url, pid, kind, start_ns)
        with _served(loki.url, Path(folder)) as (url, _):
            _tail(loki.url, url)


@contextmanager
def _served(loki_url: str, folder: Path) -> Iterator[tuple[str, int]]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.api", "serve", loki_url, str(port)]
    process = spawn_leashed(command, log=folder / "api.log")
    url = f"http://{HOST}:{port}"
    try:
        for _ in range(600):
            try:
                if httpx.get(f"{url}/healthz").is_success:
                    break
            except httpx.HTTPError:
                time.sleep(0.1)
        yield url, process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _fill(loki_url: str, records: int) -> tuple[int, list[str]]:
    """Push generated records, evenly over an hour; return its start and some of the request ids."""
    start_ns = (time.time_ns() - _SPAN_NS - 60 * 10**9) // 10**9 * 10**9
    step_ns, at_ns, requests = _SPAN_NS // records, start_ns, list[str]()
    streams: dict[tuple[str, str], list[Any]] = {}
    held = 0
    with httpx.Client(base_url=loki_url, timeout=120) as client:
        for chunk in generate(records, seed=7, first_ms=start_ns // 10**6, last_ms=(start_ns + _SPAN_NS) // 10**6):
            for value in chunk.values:
                fields, request = _FIELDS.search(value), _REQUEST.search(value)
                assert fields
                metadata = {"request_id": request[1].decode()} if request else {}
                key = fields[2].decode(), fields[1].decode()
                streams.setdefault(key, []).append([str(at_ns), value.decode(), metadata])
                at_ns += step_ns
                held += 1
                if metadata and held == _PUSH_LINES:
                    requests.append(metadata["request_id"])
                if held == _PUSH_LINES:
                    _push(client, streams)
                    streams, held = {}, 0
        _push(client, streams)
    return start_ns, requests


def _push(client: httpx.Client, streams: dict[tuple[str, str], list[Any]]) -> None:
    pushed = [
        {"stream": {"service": service, "level": level}, "values": values}
        for (service, level), values in streams.items()
    ]
    if pushed:
        client.post("/loki/api/v1/push", json={"streams": pushed}).raise_for_status()


def _question(kind: str, start_ns: int, requests: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the same question for the log API and for Loki, over a time that nobody has asked for yet."""
    length_ns = _SPAN_NS if kind == "one request" else 600 * 10**9
    begin = start_ns + (0 if kind == "one request" else random.randrange(_SPAN_NS - length_ns))  # noqa: S311 - not a secret
    limit = 1_000 if kind == "1,000 lines" else 100
    asked: dict[str, Any] = {"from": rfc3339(begin), "to": rfc3339(begin + length_ns), "limit": limit}
    query = '{service=~".+"}'
    if kind == "one request":
        asked["request_id"] = random.choice(requests)  # noqa: S311 - as above
        query += f' | request_id="{asked["request_id"]}"'
    elif kind == "text":
        asked["text"] = "timeout"
        query += ' |= "timeout"'
    else:
        asked["service"] = "chat-service"
        query = '{service="chat-service"}'
    return asked, {"query": query, "start": begin, "end": begin + length_ns, "limit": limit, "direction": "backward"}


async def _timed(asking: Awaitable[httpx.Response]) -> float:
    began = time.perf_counter()
    (await asking).raise_for_status()
    return (time.perf_counter() - began) * 1_000


async def _overhead(
    loki_url: str, url: str, api: psutil.Process, start_ns: int, requests: Sequence[str], rounds: int
) -> None:
    heads = ("Loki p50", "API p50", "ratio", "Loki p99", "API p99", "ratio", "API CPU")
    print(f"\n{'ms':<14}" + "".join(f"{head:>10}" for head in heads))
    async with httpx.AsyncClient(timeout=120) as client:
        for kind in ("100 lines", "1,000 lines", "text", "one request"):
            direct, through, before_s = list[float](), list[float](), cpu_s(api)
            for n in range(rounds + 5):
                asked, question = _question(kind, start_ns, requests)
                a = await _timed(client.get(f"{loki_url}/loki/api/v1/query_range", params=question))
                b = await _timed(client.get(f"{url}/v1/logs", params=asked, headers=_HEADERS))
                if n >= 5:  # the first ones warm caches up
                    direct.append(a)
                    through.append(b)
            row = [(_centile(direct, part), _centile(through, part)) for part in (50, 99)]
            cells = "".join(f"{one:>10.1f}{other:>10.1f}{other / one:>10.2f}" for one, other in row)
            print(f"{kind:<14}{cells}{1_000 * (cpu_s(api) - before_s) / (rounds + 5):>10.1f}")


async def _crowd(loki_url: str, url: str, start_ns: int, seconds: float = 15) -> None:
    for name in ("Loki", "API"):
        took = list[float]()
        limits = httpx.Limits(max_connections=_READERS)
        async with httpx.AsyncClient(timeout=120, limits=limits) as client:
            end = time.monotonic() + seconds

            async def read(
                client: httpx.AsyncClient = client, end: float = end, name: str = name, took: list[float] = took
            ) -> None:
                while time.monotonic() < end:
                    asked, question = _question("100 lines", start_ns, ())
                    if name == "Loki":
                        took.append(await _timed(client.get(f"{loki_url}/loki/api/v1/query_range", params=question)))
                    else:
                        took.append(await _timed(client.get(f"{url}/v1/logs", params=asked, headers=_HEADERS)))

            await asyncio.gather(*(read() for _ in range(_READERS)))
        p50, p99 = _centile(took, 50), _centile(took, 99)
        print(f"{_READERS} readers, {name:<5} {len(took) / seconds:6.1f} answers/s, p50 {p50:.0f} ms, p99 {p99:.0f} ms")


def _export(url: str, pid: int, kind: str, start_ns: int) -> None:
    form, _, packed = kind.partition(", ")
    asked = {"from": rfc3339(start_ns), "to": rfc3339(start_ns + _SPAN_NS), "format": form}
    before, began, sent, lines = rss_peak_bytes(pid), time.perf_counter(), 0, 0
    headers = {**_HEADERS, "Accept-Encoding": packed or "identity"}
    with httpx.stream("GET", f"{url}/v1/export", params=asked, headers=headers, timeout=600) as answer:
        answer.raise_for_status()
        for chunk in answer.iter_raw():
            sent += len(chunk)
    took = time.perf_counter() - began
    with httpx.Client() as client:
        metrics = client.get(f"{url}/metrics", headers=_HEADERS).text
    if found := re.search(r'log_api_lines_total\{route="/v1/export"\} (\S+)', metrics):
        lines = int(float(found[1]))
    print(
        f"export, {kind:<13}{lines:>10,} lines in {took:6.1f} s: {lines / took:>8,.0f} lines/s, {sent / 2**20:6.0f} MB"
        f"; peak memory {rss_peak_bytes(pid) / 2**20:.0f} MB ({before / 2**20:.0f} MB before)"
    )


def _tail(loki_url: str, url: str, lines: int = 40) -> None:
    """Measure from the push to the event, with the default poll of a second."""
    delays = list[float]()
    with (
        httpx.Client(base_url=loki_url) as pusher,
        httpx.stream("GET", f"{url}/v1/tail", params={"service": "tail"}, headers=_HEADERS, timeout=60) as answer,
    ):
        events = answer.iter_lines()
        next(events)
        for _ in range(lines):
            now_ns = time.time_ns()
            _push(pusher, {("tail", "info"): [[str(now_ns), json.dumps({"at": now_ns}), {}]]})
            pushed = time.perf_counter()
            while not next(events).startswith("data: "):
                pass
            delays.append(time.perf_counter() - pushed)
            time.sleep(random.random())  # noqa: S311 - as above
    print(f"tail, from Loki's 204 to the event: p50 {_centile(delays, 50):.2f} s, p99 {_centile(delays, 99):.2f} s")


def _centile(values: Sequence[float], part: int) -> float:
    return statistics.quantiles(values, n=100)[part - 1]


if __name__ == "__main__":
    app()
