"""Reads from Loki: every entry of a range, once; counts by labels; whether it is ready."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import TypeVar

import msgspec
import requests
import tenacity

from shipper.loki.paging import Page, PageAsked, Series, SeriesAsked, StreamEntry, page_of, pages
from shipper.loki.query_answers import Answer, Listed, Result, Sample, Stream
from shipper.loki.query_errors import ANSWER_CHARS_MAX, LokiQueryError, PassingError, SlowError, raise_unless_ok

__all__ = ["LokiQueryError", "LokiReader", "StreamEntry"]

_API = "/loki/api/v1"
_NS_PER_MS = 10**6
_Kind = TypeVar("_Kind")


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
            retry=tenacity.retry_if_exception_type(PassingError),
            stop=tenacity.stop_after_delay(retry_deadline_s),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
            sleep=sleep,
            reraise=True,
        )
        # A page for which no answer comes is asked for in smaller parts at once.
        self._retrying_page = self._retrying.copy(
            retry=tenacity.retry_if_exception(lambda it: isinstance(it, PassingError) and not isinstance(it, SlowError))
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

        `paging` says how. One nanosecond in which a single stream has `page` entries or more cannot be read, and
        raises.

        Args:
            selector: a log query: matchers, and filters of lines behind them.
            start_ns: nanoseconds since the epoch.
            end_ns: nanoseconds since the epoch.
            page: entries per request at most, 2 or more; no more than Loki's `max_entries_limit_per_query`.

        Raises: LokiQueryError; also while the entries are being consumed.
        """
        reading = pages(selector, start_ns, end_ns, page=page)
        step = next(reading, None)
        while step is not None:
            if isinstance(step, list):
                yield from step
                step = next(reading, None)
                continue
            try:
                answer = self._asked(step)
            except LokiQueryError as error:
                step = reading.throw(error)
            else:
                step = reading.send(answer)

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

    def _asked(self, step: PageAsked | SeriesAsked) -> Page | Series:
        if isinstance(step, SeriesAsked):
            return self._get("/series", step.parameters, Listed[dict[str, str]]).data
        url = f"{self._url}{_API}/query_range"
        body: bytes = (self._retrying_page if step.smaller else self._retrying)(self._get_once, url, step.parameters)
        return page_of(self._decoded(url, body, Answer[Result[Stream]]), len(body), backward=step.backward)

    def _get(self, path: str, parameters: Mapping[str, str | int], kind: type[_Kind]) -> _Kind:
        url = f"{self._url}{_API}{path}"
        return self._decoded(url, self._retrying(self._get_once, url, parameters), kind)

    @staticmethod
    def _decoded(url: str, body: bytes, kind: type[_Kind]) -> _Kind:
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError:
            text = body[:ANSWER_CHARS_MAX].decode(errors="replace")
            raise LokiQueryError(url, HTTPStatus.OK, text) from None

    def _get_once(self, url: str, parameters: Mapping[str, str | int]) -> bytes:
        try:
            answer = self._session.get(url, params=parameters, headers=self._headers, timeout=self._timeout_s)
        except requests.Timeout as error:
            raise SlowError(url, 0, str(error)) from None
        except requests.RequestException as error:
            raise PassingError(url, 0, str(error)) from None
        if answer.status_code != HTTPStatus.OK:
            raise_unless_ok(url, answer.status_code, answer.text[:ANSWER_CHARS_MAX])
        return answer.content


def _values(names: tuple[str, ...], of: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(of.get(name, "") for name in names)
