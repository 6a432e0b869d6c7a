"""Every entry of a range once, from a server that knows times only: what to ask next, given the answers so far. Pure.

Loki has no cursor: a page is continued at the timestamp of its last entry. Where a whole page shares one nanosecond,
that nanosecond is read stream by stream. What cannot be read is one nanosecond in which a single stream has a page of
entries or more: that raises, and loses nothing silently. Where lines are long, pages are smaller; where a range is
longer than Loki lets one query be, it is read in parts.

A reader drives `pages`: what it yields is either a question, whose answer (or TooLongError, TooLargeError, SlowError)
is sent (thrown) back in, or a list of entries, which are the next ones in order of time.
"""

from collections.abc import Generator
from typing import NamedTuple

import msgspec

from shipper.loki.logql import quoted, split
from shipper.loki.query_answers import Answer, Result, Stream
from shipper.loki.query_errors import LokiQueryError, SlowError, TooLargeError, TooLongError

_NS_PER_MS = 10**6
_PAGE_MIN = 2
_SPAN_MIN_NS, _WIDENING = 10**9, 4
_SHRINKING = 8  # what does not fit is rarely too large by a little, and each try may cost a time-out
# By default no message within Loki exceeds 4 MiB: an answer that does is refused, or never comes at all.
_ANSWER_BYTES_MAX = 2_500_000


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


class PageAsked(NamedTuple):
    """A question for entries; `smaller`: a smaller one may be answered where this one is not."""

    query: str
    start_ns: int
    end_ns: int
    limit: int
    backward: bool = False
    smaller: bool = False

    @property
    def parameters(self) -> dict[str, str | int]:
        """Those of `query_range`."""
        return {
            "query": self.query,
            "start": self.start_ns,
            "end": self.end_ns,
            "limit": self.limit,
            "direction": "backward" if self.backward else "forward",
        }


class SeriesAsked(NamedTuple):
    """A question for the label sets of the streams that a selector finds."""

    selector: str
    start_ns: int
    end_ns: int

    @property
    def parameters(self) -> dict[str, str | int]:
        """Those of `series`."""
        return {"match[]": self.selector, "start": self.start_ns, "end": self.end_ns}


class Page(NamedTuple):
    """The answer to `PageAsked`: entries in order of time, and how large it was."""

    entries: list[StreamEntry]
    answer_bytes: int


Series = list[dict[str, str]]
Pages = Generator[PageAsked | SeriesAsked | list[StreamEntry], Page | Series | None, None]


def page_of(answer: Answer[Result[Stream]], answer_bytes: int, *, backward: bool) -> Page:
    """Return the entries of an answer of `query_range`, sorted."""
    found = [
        StreamEntry(stream.stream, int(value.timestamp_ns), value.line, value.categories.structured_metadata)
        for stream in answer.data.result
        for value in stream.values
    ]
    return Page(sorted(found, key=lambda entry: entry.timestamp_ns, reverse=backward), answer_bytes)


def pages(query: str, start_ns: int, end_ns: int, *, page: int, tie: int = 0, backward: bool = False) -> Pages:
    """Read a log query from `start_ns` up to, not including, `end_ns`; all entries of a nanosecond come in one list.

    Args:
        query: matchers, and filters of lines behind them.
        start_ns: nanoseconds since the epoch.
        end_ns: nanoseconds since the epoch.
        page: entries per question at most, 2 or more; no more than Loki's `max_entries_limit_per_query`.
        tie: the same for one nanosecond, where it is more than `page`.
        backward: whether the newest come first.
    """
    if page < _PAGE_MIN:
        raise ValueError(f"a page of {page} entries cannot be continued; ask for {_PAGE_MIN} or more")
    span_ns = max(end_ns - start_ns, 0)
    size, whole_ns = page, span_ns
    while start_ns < end_ns:
        window = (max(start_ns, end_ns - span_ns), end_ns) if backward else (start_ns, min(start_ns + span_ns, end_ns))
        try:
            answer = yield PageAsked(query, *window, size, backward, smaller=size > _PAGE_MIN)
        except TooLongError:
            if span_ns <= 1:
                raise
            span_ns = whole_ns = (span_ns + 1) // 2
            continue
        except (TooLargeError, SlowError):
            if size == _PAGE_MIN:
                raise
            size = max(_PAGE_MIN, size // _SHRINKING)
            continue
        assert isinstance(answer, Page)  # noqa: S101 - a reader that answers otherwise is wrong
        found, answer_bytes = answer
        if len(found) < size:
            yield found
            span_ns = min(whole_ns, _WIDENING * span_ns)
            start_ns, end_ns = (start_ns, window[0]) if backward else (window[1], end_ns)
            continue
        last_ns = found[-1].timestamp_ns
        # Loki does less where it is asked for little more than a page: four times as fast on an hour of 200,000
        # entries.
        span_ns = min(whole_ns, max(_SPAN_MIN_NS, 2 * abs(last_ns - found[0].timestamp_ns)))
        if found[0].timestamp_ns == last_ns:
            yield from _tie(query, last_ns, max(page, tie))
            start_ns, end_ns = (start_ns, last_ns) if backward else (last_ns + 1, end_ns)
            continue
        yield [entry for entry in found if entry.timestamp_ns != last_ns]
        start_ns, end_ns = (start_ns, last_ns + 1) if backward else (last_ns, end_ns)
        size = max(_PAGE_MIN, min(page, 2 * size, _ANSWER_BYTES_MAX * len(found) // answer_bytes))


def _tie(query: str, at_ns: int, page: int) -> Pages:
    """Read all entries of one nanosecond, stream by stream where they fill a page."""
    answer = yield PageAsked(query, at_ns, at_ns + 1, page)
    assert isinstance(answer, Page)  # noqa: S101 - as above
    if len(answer.entries) < page:
        yield answer.entries
        return
    parts = split(query)
    if not parts:
        raise LokiQueryError("", 0, f"{query!r} does not begin with a selector in braces")
    # Series are kept by whole milliseconds, and a range of none finds none.
    series = yield SeriesAsked(parts[0], at_ns - _NS_PER_MS, at_ns + _NS_PER_MS)
    assert isinstance(series, list)  # noqa: S101 - as above
    names = sorted({name for labels in series for name in labels})
    tie: list[StreamEntry] = []
    for labels in series:
        # A label that the stream lacks is asked for as empty: other streams may have the same labels and more.
        exact = ", ".join(f"{name}={quoted(labels.get(name, ''))}" for name in names)
        answer = yield PageAsked(f"{{{exact}}}{parts[1]}", at_ns, at_ns + 1, page)
        assert isinstance(answer, Page)  # noqa: S101 - as above
        if len(answer.entries) >= page:
            raise LokiQueryError(
                "",
                0,
                f"the stream {{{exact}}} has {page} entries or more at the nanosecond {at_ns}, and Loki has no "
                "cursor within one; ask for a larger page (as max_entries_limit_per_query allows), or filter lines",
            )
        tie += answer.entries
    yield tie
