"""Reads from Loki: every entry of a range, once; counts by labels; whether it is ready."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import TypeVar

import msgspec
import requests
import tenacity

from shipper.errors import ShipperError
from shipper.loki.query_answers import Answer, Listed, Result, Sample, Stream

_API = "/loki/api/v1"
_TOO_LONG = "the query time range exceeds the limit"
_TOO_LARGE = "larger than max"  # of a gRPC message, between the parts of Loki
_ANSWER_CHARS_MAX = 300
_NS_PER_MS = 10**6
_PAGE_MIN = 2
_SHRINKING = 8  # what does not fit is rarely too large by a little, and each try may cost a time-out
# By default no message within Loki exceeds 4 MiB: an answer that does is refused, or never comes at all.
_ANSWER_BYTES_MAX = 2_500_000
# The matchers of a log query, in front of its filters: braces inside of strings do not close them.
_SELECTOR = re.compile(r"\s*\{(?:[^\"`}]|\"(?:[^\"\\]|\\.)*\"|`[^`]*`)*\}")
_Kind = TypeVar("_Kind")


class LokiQueryError(ShipperError):
    """Loki could not be read; the message is one sentence.

    Attributes:
        url: what was asked, without its parameters.
        status: the answer's status; 0 where there was no answer.
        text: the answer's text, or why there was none.
    """

    def __init__(self, url: str, status: int, text: str) -> None:
        self.url, self.status, self.text = url, status, text
        super().__init__(_sentence(url, status, text))


class _PassingError(LokiQueryError):
    """An answer, or none, that may be another the next time."""


class _SlowError(_PassingError):
    """No answer came in time."""


class _TooLargeError(LokiQueryError):
    """The answer does not fit into a message between the parts of this Loki."""


class _TooLongError(LokiQueryError):
    """The range is longer than this Loki lets one query be."""


class StreamEntry(msgspec.Struct, frozen=True):
    """One entry as Loki holds it.

    Attributes:
        labels: its stream's labels, `service_name` (which Loki adds) included; shared between entries, never changed.
        timestamp_ns: nanoseconds since the epoch.
        line: its text.
        metadata: its structured metadata, `detected_level` (which Loki adds) included.
    """

    labels: dict[str, str]
    timestamp_ns: int
    line: str
    metadata: dict[str, str]


class LokiReader:
    """Reads one tenant of one Loki.

    Args:
        url: the address before `/loki/api/v1/…`.
        tenant: sent as `X-Scope-OrgID` where it is not empty.
        session: carries authentication, certificates and proxies; a plain one by default.
        timeout_s: bound of one request.
        retry_deadline_s: how long 429, 5xx and a Loki that does not answer are tried again.
        sleep: waits so many seconds between two tries.
    """

    def __init__(
        self,
        url: str,
        *,
        tenant: str = "",
        session: requests.Session | None = None,
        timeout_s: float = 30,
        retry_deadline_s: float = 60,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url = url.rstrip("/")
        self._session = session or requests.Session()
        self._headers = {"X-Loki-Response-Encoding-Flags": "categorize-labels"}
        if tenant:
            self._headers["X-Scope-OrgID"] = tenant
        self._timeout_s = timeout_s
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_PassingError),
            stop=tenacity.stop_after_delay(retry_deadline_s),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
            sleep=sleep,
            reraise=True,
        )
        # A page for which no answer comes is asked for in smaller parts at once.
        self._retrying_page = self._retrying.copy(
            retry=tenacity.retry_if_exception(
                lambda it: isinstance(it, _PassingError) and not isinstance(it, _SlowError)
            )
        )

    def ready(self) -> bool:
        """Ask once whether Loki is ready to serve."""
        try:
            answer = self._session.get(f"{self._url}/ready", headers=self._headers, timeout=self._timeout_s)
        except requests.RequestException:
            return False
        return answer.status_code == HTTPStatus.OK

    def labels(self, start_ns: int, end_ns: int) -> tuple[str, ...]:
        """Names of the labels that streams have between the two times; raises LokiQueryError."""
        return tuple(self._get("/labels", {"start": start_ns, "end": end_ns}, Listed[str]).data)

    def entries(self, selector: str, start_ns: int, end_ns: int, *, page: int = 5000) -> Iterator[StreamEntry]:
        """Yield every entry from `start_ns` up to, not including, `end_ns` once, in order of time.

        Loki has no cursor, only times: a page is continued at the timestamp of its last entry. Where a whole page
        shares one nanosecond, that nanosecond is read stream by stream. What cannot be read is one nanosecond in which
        a single stream has `page` entries or more: that raises, and loses nothing silently. Where lines are long, pages
        are smaller.

        Args:
            selector: a log query: matchers, and filters of lines behind them.
            start_ns: nanoseconds since the epoch.
            end_ns: nanoseconds since the epoch.
            page: entries per request at most, 2 or more; no more than Loki's `max_entries_limit_per_query`.

        Raises: LokiQueryError; also while the entries are being consumed.
        """
        if page < _PAGE_MIN:
            raise ValueError(f"a page of {page} entries cannot be continued; ask for {_PAGE_MIN} or more")
        span_ns = max(end_ns - start_ns, 0)
        size = page
        while start_ns < end_ns:
            stop_ns = min(start_ns + span_ns, end_ns)
            try:
                found, answer_bytes = self._page(selector, start_ns, stop_ns, size, smaller=size > _PAGE_MIN)
            except _TooLongError:
                if span_ns <= 1:
                    raise
                span_ns = (span_ns + 1) // 2
                continue
            except (_TooLargeError, _SlowError):
                if size == _PAGE_MIN:
                    raise
                size = max(_PAGE_MIN, size // _SHRINKING)
                continue
            if len(found) < size:
                yield from found
                start_ns = stop_ns
                continue
            last_ns = found[-1].timestamp_ns
            if found[0].timestamp_ns == last_ns:
                yield from self._tie(selector, last_ns, page)
                start_ns = last_ns + 1
                continue
            yield from (entry for entry in found if entry.timestamp_ns < last_ns)
            start_ns = last_ns
            size = max(_PAGE_MIN, min(page, 2 * size, _ANSWER_BYTES_MAX * len(found) // answer_bytes))

    def counts_by(
        self, labels: tuple[str, ...], selector: str, start_ns: int, end_ns: int
    ) -> dict[tuple[str, ...], int]:
        """Count the entries from `start_ns` up to, not including, `end_ns` by the values of some labels.

        Args:
            labels: names of labels or of structured metadata; none of them counts all entries under the key `()`.
            selector: a log query.
            start_ns: nanoseconds since the epoch.
            end_ns: nanoseconds since the epoch.

        Returns: count by values, in the order of `labels`; an entry without a label counts under the empty value.
        Raises: LokiQueryError.
        """
        counts: Counter[tuple[str, ...]] = Counter()
        # LogQL's ranges are whole milliseconds, open at their beginning and closed at their end: (time - range, time].
        range_ms = max(end_ns - start_ns, 0) // _NS_PER_MS
        for entry in self.entries(selector, start_ns, end_ns - range_ms * _NS_PER_MS):
            counts[_values(labels, {**entry.metadata, **entry.labels})] += 1
        if range_ms:
            query = f"sum by ({', '.join(labels)}) (count_over_time({selector} [{range_ms}ms]))"
            for one in self._get("/query", {"query": query, "time": end_ns - 1}, Answer[Result[Sample]]).data.result:
                counts[_values(labels, one.metric)] += int(float(one.value[1]))
        return dict(counts)

    def count(self, selector: str, start_ns: int, end_ns: int) -> int:
        """Count the entries from `start_ns` up to, not including, `end_ns`; raises LokiQueryError."""
        return self.counts_by((), selector, start_ns, end_ns).get((), 0)

    def _page(
        self, query: str, start_ns: int, end_ns: int, limit: int, *, smaller: bool = False
    ) -> tuple[list[StreamEntry], int]:
        """Return the entries of one answer, and its size in bytes; `smaller`: raise where a smaller one may come."""
        parameters: dict[str, str | int] = {
            "query": query,
            "start": start_ns,
            "end": end_ns,
            "limit": limit,
            "direction": "forward",
        }
        url = f"{self._url}{_API}/query_range"
        body: bytes = (self._retrying_page if smaller else self._retrying)(self._get_once, url, parameters)
        streams = self._decoded(url, body, Answer[Result[Stream]]).data.result
        found = [
            StreamEntry(stream.stream, int(value.timestamp_ns), value.line, value.categories.structured_metadata)
            for stream in streams
            for value in stream.values
        ]
        return sorted(found, key=lambda entry: entry.timestamp_ns), len(body)

    def _tie(self, query: str, at_ns: int, page: int) -> Iterator[StreamEntry]:
        """Yield all entries of one nanosecond, read stream by stream where they fill a page."""
        found, _ = self._page(query, at_ns, at_ns + 1, page)
        if len(found) < page:
            yield from found
            return
        matchers = _SELECTOR.match(query)
        if not matchers:
            raise LokiQueryError(self._url + _API, 0, f"{query!r} does not begin with a selector in braces")
        # Series are kept by whole milliseconds, and a range of none finds none.
        window: dict[str, str | int] = {"start": at_ns - _NS_PER_MS, "end": at_ns + _NS_PER_MS}
        series = self._get("/series", window | {"match[]": matchers[0]}, Listed[dict[str, str]]).data
        names = sorted({name for labels in series for name in labels})
        for labels in series:
            # A label that the stream lacks is asked for as empty: other streams may have the same labels and more.
            exact = ", ".join(f"{name}={_quoted(labels.get(name, ''))}" for name in names)
            found, _ = self._page(f"{{{exact}}}{query[matchers.end() :]}", at_ns, at_ns + 1, page)
            if len(found) >= page:
                raise LokiQueryError(
                    f"{self._url}{_API}/query_range",
                    0,
                    f"the stream {{{exact}}} has {page} entries or more at the nanosecond {at_ns}, and Loki has no "
                    "cursor within one; ask for a larger page (as max_entries_limit_per_query allows), or filter lines",
                )
            yield from found

    def _get(self, path: str, parameters: Mapping[str, str | int], kind: type[_Kind]) -> _Kind:
        url = f"{self._url}{_API}{path}"
        return self._decoded(url, self._retrying(self._get_once, url, parameters), kind)

    @staticmethod
    def _decoded(url: str, body: bytes, kind: type[_Kind]) -> _Kind:
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError:
            text = body[:_ANSWER_CHARS_MAX].decode(errors="replace")
            raise LokiQueryError(url, HTTPStatus.OK, text) from None

    def _get_once(self, url: str, parameters: Mapping[str, str | int]) -> bytes:
        try:
            answer = self._session.get(url, params=parameters, headers=self._headers, timeout=self._timeout_s)
        except requests.Timeout as error:
            raise _SlowError(url, 0, str(error)) from None
        except requests.RequestException as error:
            raise _PassingError(url, 0, str(error)) from None
        status, text = answer.status_code, answer.text[:_ANSWER_CHARS_MAX] if not answer.ok else ""
        if _TOO_LARGE in text:
            raise _TooLargeError(url, status, text)
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _PassingError(url, status, text)
        if status == HTTPStatus.BAD_REQUEST and _TOO_LONG in text:
            raise _TooLongError(url, status, text)
        if status != HTTPStatus.OK:
            raise LokiQueryError(url, status, text)
        return answer.content


def _values(names: tuple[str, ...], of: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(of.get(name, "") for name in names)


def _quoted(value: str) -> str:
    return msgspec.json.encode(value).decode()  # JSON's escapes are a part of Go's, which LogQL reads


def _sentence(url: str, status: int, text: str) -> str:
    said = " ".join(text.split())
    if status == 0:
        return f"Loki at {url} gave no answer that can be used: {said}"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return f"Loki at {url} refused access ({status}: {said}); check the tenant and the credentials under [loki]"
    if _TOO_LARGE in said:
        return (
            f"Loki at {url} answered {status}: {said}; raise server.grpc_server_max_send_msg_size and "
            "server.grpc_server_max_recv_msg_size there"
        )
    if status in (HTTPStatus.OK, HTTPStatus.NOT_FOUND) or said.startswith("<"):
        return (
            f"{url} answered {status}, and not as Loki does ({said}); check [loki] url, which ends before /loki/api/v1"
        )
    return f"Loki at {url} answered {status}: {said}"
