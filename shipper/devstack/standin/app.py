"""Loki's HTTP API, as far as the project uses it."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from http import HTTPStatus

import msgspec
import snappy
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from shipper.devstack.standin import ingest, labels, logql
from shipper.devstack.standin.limits import BODY_BYTES_MAX, Limits, duration_text, limit_text
from shipper.devstack.standin.store import Bucket, Entry, Stream, Tenant
from shipper.devstack.standin.wire import DecodeError, decode_push

_MEGABYTE = 1 << 20
_DEFAULT_LIMIT = 100
_DEFAULT_RANGE_NS = 3600 * 10**9
_SECONDS_DIGITS_MAX = 10
_CATEGORIZE = "categorize-labels"


def _refuse(status: int, text: str) -> HTTPException:
    return HTTPException(status, text)


class LokiApi:
    """The endpoints, and what they share."""

    def __init__(self, limits: Limits, *, auth_enabled: bool, clock_ns: Callable[[], int]) -> None:
        self._limits = limits
        self._auth_enabled = auth_enabled
        self._clock_ns = clock_ns
        self._tenants: dict[str, Tenant] = {}
        self._lines_received = self._bytes_received = 0

    def _tenant(self, request: Request) -> Tenant:
        name = request.headers.get("x-scope-orgid", "") if self._auth_enabled else "fake"
        if not name:
            raise _refuse(HTTPStatus.UNAUTHORIZED, "no org id\n")
        if name not in self._tenants:
            rate, burst = self._limits.ingestion_rate_mb * _MEGABYTE, self._limits.ingestion_burst_size_mb * _MEGABYTE
            self._tenants[name] = Tenant(name, Bucket(rate, burst))
        return self._tenants[name]

    async def push(self, request: Request) -> Response:
        tenant = self._tenant(request)
        declared = int(request.headers.get("content-length", 0))
        if declared > BODY_BYTES_MAX:
            text = f"request body too large: message size too large than max ({declared} vs {BODY_BYTES_MAX})\n"
            raise _refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
        content_type = request.headers.get("content-type", "").split(";")[0].strip()
        if not content_type:
            raise _refuse(HTTPStatus.BAD_REQUEST, "mime: no media type\n")
        encoding = request.headers.get("content-encoding", "")
        if encoding not in ("", "snappy"):
            raise _refuse(HTTPStatus.BAD_REQUEST, f'Content-Encoding "{encoding}" not supported\n')
        if content_type == "application/json":
            raise _refuse(HTTPStatus.BAD_REQUEST, "the stand-in takes protobuf only, JSON it leaves to Loki\n")
        body = await request.body()
        try:
            decompressed = snappy.uncompress(body)
        except snappy.UncompressError:
            raise _refuse(HTTPStatus.BAD_REQUEST, "snappy: corrupt input\n") from None
        try:
            streams = decode_push(decompressed)
        except DecodeError as error:
            raise _refuse(HTTPStatus.BAD_REQUEST, f"{error}\n") from None
        self._bytes_received += len(decompressed)
        self._lines_received += sum(len(stream.lines) for stream in streams)
        status, text = ingest.push(tenant, streams, self._limits, self._clock_ns())
        return (
            Response(status_code=status) if status == HTTPStatus.NO_CONTENT else PlainTextResponse(f"{text}\n", status)
        )

    async def query_range(self, request: Request) -> Response:
        tenant, parameters = self._tenant(request), await _parameters(request)
        start_ns, end_ns = self._bounds(parameters)
        query = _parse(parameters.get("query", ""))
        if not isinstance(query, logql.LogQuery):
            raise _refuse(HTTPStatus.BAD_REQUEST, "the stand-in answers metric queries at /loki/api/v1/query only")
        limit = self._limit(parameters)
        direction = parameters.get("direction", "backward").lower()
        if direction not in ("forward", "backward"):
            raise _refuse(HTTPStatus.BAD_REQUEST, f"invalid direction '{direction}'")
        found = query.entries(tenant, start_ns, end_ns, limit=limit, newest_first=direction == "backward")
        flags = request.headers.get("x-loki-response-encoding-flags", "")
        if _CATEGORIZE in flags:
            result = {"resultType": "streams", "result": _categorized(list(found)), "encodingFlags": [_CATEGORIZE]}
        else:
            result = {"resultType": "streams", "result": _merged(list(found))}
        return _success({**result, "stats": {}})

    async def query(self, request: Request) -> Response:
        tenant, parameters = self._tenant(request), await _parameters(request)
        query = _parse(parameters.get("query", ""))
        if not isinstance(query, logql.CountQuery):
            raise _refuse(
                HTTPStatus.BAD_REQUEST,
                "log queries are not supported as an instant query type, "
                "please change your query to a range query type",
            )
        at_ns = _time_ns(parameters.get("time", ""), self._clock_ns())
        counts = query.counts(tenant, at_ns)
        if len(counts) > self._limits.max_query_series:
            raise _refuse(
                HTTPStatus.BAD_REQUEST,
                f"maximum number of series ({self._limits.max_query_series}) reached for a single query; "
                "consider reducing query cardinality by adding more specific stream selectors, reducing the time "
                "range, or aggregating results with functions like sum(), count() or topk()",
            )
        at_s = at_ns // 10**6 / 1000
        vector = [{"metric": dict(group), "value": [at_s, str(count)]} for group, count in counts.items()]
        return _success({"resultType": "vector", "result": vector, "stats": {}})

    async def label_names(self, request: Request) -> Response:
        tenant = self._tenant(request)
        return _success_list(sorted({name for stream in tenant.streams.values() for name in stream.labels}))

    async def label_values(self, request: Request) -> Response:
        tenant, name = self._tenant(request), request.path_params["name"]
        return _success_list(
            sorted({stream.labels[name] for stream in tenant.streams.values() if name in stream.labels})
        )

    async def series(self, request: Request) -> Response:
        tenant = self._tenant(request)
        matches = request.query_params.getlist("match[]") or request.query_params.getlist("match")
        found: dict[str, dict[str, str]] = {}
        for match in matches:
            query = _parse(match)
            if not isinstance(query, logql.LogQuery) or query.filters:
                raise _refuse(HTTPStatus.BAD_REQUEST, "only label matchers are supported")
            found |= {labels.write(stream.labels.items()): stream.labels for stream in query.streams(tenant)}
        return _success(list(found.values()))

    async def ready(self, _: Request) -> Response:
        return PlainTextResponse("ready\n")

    async def buildinfo(self, _: Request) -> Response:
        return JSONResponse(
            {"version": "3.7.8-stand-in", "revision": "stand-in", "branch": "stand-in", "goVersion": ""}
        )

    async def metrics(self, _: Request) -> Response:
        return PlainTextResponse(
            "# TYPE loki_distributor_lines_received_total counter\n"
            f"loki_distributor_lines_received_total {self._lines_received}\n"
            "# TYPE loki_distributor_bytes_received_total counter\n"
            f"loki_distributor_bytes_received_total {self._bytes_received}\n"
        )

    def _bounds(self, parameters: dict[str, str]) -> tuple[int, int]:
        now_ns = self._clock_ns()
        end_ns = _time_ns(parameters.get("end", ""), now_ns)
        start_ns = _time_ns(parameters.get("start", ""), min(end_ns, now_ns) - _DEFAULT_RANGE_NS)
        if end_ns < start_ns:
            raise _refuse(HTTPStatus.BAD_REQUEST, "end timestamp must not be before or equal to start time")
        length_ns, longest_ns = end_ns - start_ns, self._limits.max_query_length
        if 0 < longest_ns < length_ns:
            raise _refuse(
                HTTPStatus.BAD_REQUEST,
                f"the query time range exceeds the limit (query length: {duration_text(length_ns)}, "
                f"limit: {limit_text(longest_ns)})",
            )
        return start_ns, end_ns

    def _limit(self, parameters: dict[str, str]) -> int:
        try:
            limit = int(parameters.get("limit") or _DEFAULT_LIMIT)
        except ValueError as error:
            raise _refuse(HTTPStatus.BAD_REQUEST, str(error)) from None
        if limit <= 0:
            raise _refuse(HTTPStatus.BAD_REQUEST, "limit must be a positive value")
        most = self._limits.max_entries_limit_per_query
        if 0 < most < limit:
            text = f"max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {most})"
            raise _refuse(HTTPStatus.BAD_REQUEST, text)
        return limit


def build_app(limits: Limits, *, auth_enabled: bool = False, clock_ns: Callable[[], int] = time.time_ns) -> Starlette:
    """Return the stand-in as an ASGI application with an empty store.

    Args:
        limits: what it refuses.
        auth_enabled: whether every request must name its tenant in `X-Scope-OrgID`.
        clock_ns: the time, in nanoseconds since the epoch.
    """
    api, prefix = LokiApi(limits, auth_enabled=auth_enabled, clock_ns=clock_ns), "/loki/api/v1"
    return Starlette(
        routes=[
            Route(f"{prefix}/push", api.push, methods=["POST"]),
            Route(f"{prefix}/query_range", api.query_range, methods=["GET", "POST"]),
            Route(f"{prefix}/query", api.query, methods=["GET", "POST"]),
            Route(f"{prefix}/labels", api.label_names),
            Route(f"{prefix}/label/{{name}}/values", api.label_values),
            Route(f"{prefix}/series", api.series),
            Route(f"{prefix}/status/buildinfo", api.buildinfo),
            Route("/ready", api.ready),
            Route("/metrics", api.metrics),
        ],
        exception_handlers={HTTPException: _plain_text},
    )


async def _plain_text(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        return PlainTextResponse("404 page not found\n", HTTPStatus.NOT_FOUND)
    return PlainTextResponse(error.detail, error.status_code)


async def _parameters(request: Request) -> dict[str, str]:
    form = await request.form() if request.method == "POST" else {}
    return {**request.query_params, **{name: str(value) for name, value in form.items()}}


def _parse(text: str) -> logql.LogQuery | logql.CountQuery:
    try:
        return logql.parse(text)
    except logql.QueryError as error:
        raise _refuse(HTTPStatus.BAD_REQUEST, str(error)) from None


def _time_ns(text: str, default_ns: int) -> int:
    """Read a time as Loki does: up to ten digits are seconds, more are nanoseconds; or a fraction, or RFC 3339."""
    try:
        if not text:
            return default_ns
        if text.lstrip("-").isdigit():
            return int(text) * 10**9 if len(text) <= _SECONDS_DIGITS_MAX else int(text)
        if text.replace(".", "", 1).isdigit():
            return round(float(text) * 1000) * 10**6
        return round(datetime.fromisoformat(text).timestamp() * 10**6) * 1000
    except ValueError:
        raise _refuse(HTTPStatus.BAD_REQUEST, f'could not parse the time "{text}"') from None


def _categorized(found: Sequence[tuple[Stream, Entry]]) -> list[object]:
    groups: dict[int, tuple[dict[str, str], list[object]]] = {}
    for stream, entry in found:
        _, values = groups.setdefault(id(stream), (stream.labels, []))
        values.append(
            [str(entry.timestamp_ns), entry.line, {"structuredMetadata": entry.metadata} if entry.metadata else {}]
        )
    return [{"stream": stream, "values": values} for stream, values in groups.values()]


def _merged(found: Sequence[tuple[Stream, Entry]]) -> list[object]:
    groups: dict[str, list[object]] = defaultdict(list)
    sets: dict[str, dict[str, str]] = {}
    for stream, entry in found:
        merged = {**entry.metadata, **stream.labels}
        name = labels.write(merged.items())
        sets[name] = merged
        groups[name].append([str(entry.timestamp_ns), entry.line])
    return [{"stream": sets[name], "values": values} for name, values in groups.items()]


def _success(data: object) -> Response:
    return Response(msgspec.json.encode({"status": "success", "data": data}), media_type="application/json")


def _success_list(data: Sequence[object]) -> Response:
    body = {"status": "success", "data": data} if data else {"status": "success"}
    return Response(msgspec.json.encode(body), media_type="application/json")
