"""The part of LogQL that the project uses: read, and answered from a tenant's store.

{service="chat", level=~"warn|error"} |= "timeout" !~ "retry [0-9]+"
sum by (service, level) (count_over_time({env="production"}[1h]))
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice
from typing import NamedTuple

from shipper.devstack.standin import labels
from shipper.devstack.standin.limits import duration_ns
from shipper.devstack.standin.store import Entry, Stream, Tenant

_TOKEN = re.compile(
    r"""\s*(?:(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)|(?P<text>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
    |(?P<range>\[[^\]]*\])|(?P<mark>=~|!=|!~|\|=|\|~|[{}()=,]))""",
    re.VERBOSE,
)
_NOTHING_TO_MATCH = (
    "parse error : queries require at least one regexp or equality matcher that does not have an empty-compatible "
    'value. For instance, app=~".*" does not meet this requirement, but app=~".+" will'
)


class QueryError(ValueError):
    """The query cannot be read, or asks for what Loki refuses."""


class Test(NamedTuple):
    """One comparison of a text: `=`, `!=`, `=~`, `!~` for a label's value; `|=`, `!=`, `|~`, `!~` for a line."""

    operator: str
    text: str

    def passes(self) -> Callable[[str], bool]:
        """Return the comparison as a function of the text."""
        if self.operator in ("=~", "!~", "|~"):
            pattern = _pattern(self.text)
            negated = self.operator == "!~"
            return lambda text: bool(pattern.search(text)) != negated
        wanted = self.text
        if self.operator == "|=":
            return lambda text: wanted in text
        return (lambda text: text != wanted) if self.operator == "!=" else (lambda text: text == wanted)


@dataclass(frozen=True)
class LogQuery:
    """A selector of streams and the filters of lines behind it."""

    matchers: tuple[tuple[str, Test], ...]
    filters: tuple[Test, ...] = ()

    def streams(self, tenant: Tenant) -> list[Stream]:
        """Return the streams whose labels match; a label that a stream lacks counts as empty."""
        tests = [(name, _anchored(test).passes()) for name, test in self.matchers]
        return [
            stream
            for stream in tenant.streams.values()
            if all(passes(stream.labels.get(name, "")) for name, passes in tests)
        ]

    def keep(self) -> Callable[[str], bool]:
        """Return the filters as one function of the line."""
        tests = [
            (lambda line, text=test.text: text not in line) if test.operator == "!=" else test.passes()
            for test in self.filters
        ]
        return lambda line: all(passes(line) for passes in tests)

    def entries(
        self, tenant: Tenant, start_ns: int, end_ns: int, *, limit: int, newest_first: bool
    ) -> Iterator[tuple[Stream, Entry]]:
        """Yield the first `limit` entries of the range, across streams in order of time."""

        def of(stream: Stream) -> Iterator[tuple[Stream, Entry]]:
            found = stream.entries(start_ns, end_ns, keep=self.keep(), newest_first=newest_first)
            return ((stream, entry) for entry in islice(found, limit))

        runs = [of(stream) for stream in self.streams(tenant)]
        return islice(merge(*runs, key=lambda one: one[1].timestamp_ns, reverse=newest_first), limit)


@dataclass(frozen=True)
class CountQuery:
    """`count_over_time` of a log query; summed over everything but `by` where that is not None."""

    log: LogQuery
    range_ns: int
    by: tuple[str, ...] | None = field(default=None)

    def counts(self, tenant: Tenant, at_ns: int) -> Counter[tuple[tuple[str, str], ...]]:
        """Count the entries of (at - range, at] by label set; labels are a stream's and its entries' metadata."""
        counts: Counter[tuple[tuple[str, str], ...]] = Counter()
        start_ns, end_ns = at_ns - self.range_ns + 1, at_ns + 1
        for stream in self.log.streams(tenant):
            if self.by is not None and not self.log.filters and all(name in stream.labels for name in self.by):
                counts[self._group(stream.labels)] += stream.count(start_ns, end_ns)
                continue
            for entry in stream.entries(start_ns, end_ns, keep=self.log.keep()):
                counts[self._group({**entry.metadata, **stream.labels})] += 1
        return +counts

    def _group(self, values: dict[str, str]) -> tuple[tuple[str, str], ...]:
        names = sorted(values) if self.by is None else sorted(set(self.by))
        return tuple((name, values[name]) for name in names if values.get(name))


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise QueryError(f"parse error : error parsing regexp: {error}: `{text}`") from None


def _anchored(test: Test) -> Test:
    if "~" not in test.operator:
        return test
    _pattern(test.text)  # so that what is wrong with it is said of the text as it was given
    return Test(test.operator, rf"(?s:\A(?:{test.text})\Z)")


def parse(text: str) -> LogQuery | CountQuery:
    """Read a query; raises QueryError."""
    reader = _Reader(text)
    query = reader.query()
    reader.finish()
    return query


class _Reader:
    """Reads a query from left to right."""

    def __init__(self, text: str) -> None:
        self._text, self._position = text.rstrip(), 0

    def query(self) -> LogQuery | CountQuery:
        kind, word = self._peek()
        if word == "{":
            return self._log()
        if word == "sum":
            self._take()
            by = self._by()
            self._expect("(")
            inner = self.query()
            self._expect(")")
            by = self._by() if by is None else by
            if not isinstance(inner, CountQuery) or inner.by is not None:
                raise self._unexpected(kind, word)
            return CountQuery(inner.log, inner.range_ns, by or ())
        if word == "count_over_time":
            self._take()
            self._expect("(")
            log = self._log()
            window = self._take("range")
            self._expect(")")
            return CountQuery(log, self._duration_ns(window[1:-1]))
        raise self._unexpected(kind, word)

    def finish(self) -> None:
        kind, token = self._peek()
        if kind:
            raise self._unexpected(kind, token)

    def _by(self) -> tuple[str, ...] | None:
        if self._peek()[1] != "by":
            return None
        self._take()
        self._expect("(")
        names = []
        while self._peek()[1] != ")":
            names.append(self._take("name"))
            if self._peek()[1] != ")":
                self._expect(",")
        self._expect(")")
        return tuple(names)

    def _log(self) -> LogQuery:
        self._expect("{")
        matchers = []
        while self._peek()[1] != "}":
            name, operator = self._take("name"), self._take("mark")
            if operator not in ("=", "!=", "=~", "!~"):
                raise self._unexpected("mark", operator)
            matchers.append((name, Test(operator, self._string())))
            if self._peek()[1] != "}":
                self._expect(",")
        self._expect("}")
        if all(_anchored(test).passes()("") for _, test in matchers):
            raise QueryError(_NOTHING_TO_MATCH)
        filters = []
        while self._peek()[1] in ("|=", "!=", "|~", "!~"):
            filters.append(Test(self._take("mark"), self._string()))
            filters[-1].passes()
        return LogQuery(tuple(matchers), tuple(filters))

    def _string(self) -> str:
        try:
            return labels.unquote(self._take("text"))
        except labels.LabelsError as error:
            raise QueryError(f"parse error : {error}") from None

    def _duration_ns(self, text: str) -> int:
        try:
            return duration_ns(text)
        except ValueError as error:
            raise QueryError(f"parse error : {error}") from None

    def _peek(self) -> tuple[str, str]:
        if self._position >= len(self._text):
            return "", ""
        match = _TOKEN.match(self._text, self._position)
        if not match or not match.lastgroup:
            raise self._unexpected("", self._text[self._position :].split()[0])
        return match.lastgroup, match[match.lastgroup]

    def _take(self, wanted: str = "") -> str:
        kind, token = self._peek()
        if not kind or (wanted and kind != wanted):
            raise self._unexpected(kind, token)
        match = _TOKEN.match(self._text, self._position)
        self._position = match.end() if match else len(self._text)
        return token

    def _expect(self, token: str) -> None:
        kind, found = self._peek()
        if found != token:
            raise self._unexpected(kind, found)
        self._take()

    def _unexpected(self, kind: str, token: str) -> QueryError:
        return QueryError(
            f"parse error at line 1, col {self._position + 1}: syntax error: unexpected {token or kind or '$end'} "
            "(the stand-in reads selectors, line filters and count_over_time, alone or in sum by)"
        )
