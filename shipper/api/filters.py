"""Which lines are meant: the parameters that all reading calls share, and the LogQL that they become.

A value reaches LogQL through `logql.quoted`, and a field's path through `_path`; nothing else of a caller's does.
"""

import re
from http import HTTPStatus
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from shipper.api.asking import Asking
from shipper.api.problems import bad_parameter
from shipper.api.scope import LEVEL, LEVELS, SERVICE
from shipper.loki.logql import matcher, quoted, selector
from shipper.loki.query_errors import LokiQueryError
from shipper.moments import EARLIEST_NS, NS, duration_ns, moment_ns, rfc3339

_FIELD = re.compile(r"(?P<path>[^=!<>~]+)(?P<operator>=~|!~|!=|>=|<=|=|>|<)(?P<value>.*)", re.DOTALL)
_PRINTABLE = re.compile(r"[^\0\ud800-\udfff]*")
_PATH_PART = re.compile(r'[^"\\\x00-\x1f\x7f]+')
_PATH_PARTS_MAX = 10
_LIMIT = 100
_ALIAS = "shipper_field_{}"  # no record's own metadata has this name
_NUMERIC = (">", ">=", "<", "<=")


def _field(text: str) -> str:
    found = _FIELD.fullmatch(text)
    if not found:
        raise ValueError("wants path=value, such as metadata.upstream=auth; also != =~ !~ > >= < <=")
    parts = found["path"].strip().split(".")
    # Loki's JSON expressions have no escapes within a name.
    if len(parts) > _PATH_PARTS_MAX or not all(map(_PATH_PART.fullmatch, parts)):
        raise ValueError(f"{found['path']!r} is no path of a field, such as metadata.upstream")
    if found["operator"] in _NUMERIC and not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", found["value"].strip()):
        raise ValueError(f"{found['operator']} compares numbers, and {found['value']!r} is none")
    return text


def check_text(text: str) -> str:
    """Return the text; raises ValueError for what no line of a log can hold."""
    if not _PRINTABLE.fullmatch(text):
        raise ValueError("holds a character that no log line can hold")
    return text


def _timeout(text: str) -> str:
    duration_ns(text)
    return text


Text = Annotated[str, Field(min_length=1, max_length=1_000), AfterValidator(check_text)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(check_text)]
Moment = Annotated[str, Field(min_length=1, max_length=40)]


Limit = Annotated[int | None, Field(ge=1, description="So many lines at most; 100 by default.", examples=[100])]


def limit_of(limit: int | None, asking: Asking) -> int:
    """Return how many lines are wanted; raises Problem where these are more than are given at once."""
    most = asking.settings.api.lines_max
    if limit and limit > most:
        raise bad_parameter("limit", f"at most {most} lines are given at once")
    return limit or min(_LIMIT, most)


class Window(BaseModel):
    """The range of time that a call is about."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    from_: Moment | None = Field(
        None,
        alias="from",
        description="From this time on: RFC 3339, or how long ago (`90s`, `15m`, `1h`, `2d`). An hour ago by default.",
        examples=["1h", "2026-11-24T09:00:00Z"],
    )
    to: Moment | None = Field(None, description="Up to this time, without it. Now by default.", examples=["10m"])
    timeout: Annotated[str, AfterValidator(_timeout)] | None = Field(
        None, description="Give up after so long (`500ms`, `5s`), and stop Loki's work for this call.", examples=["5s"]
    )

    def range_ns(self, asking: Asking, now_ns: int, *, bounded: bool = True) -> tuple[int, int]:
        """Return the range in nanoseconds since the epoch; raises Problem that names the parameter.

        Gives the time that a caller allows to `asking`, and notes the range for the audit.
        """
        api = asking.settings.api
        if self.timeout:
            asking.timeout_s = min(asking.timeout_s, max(duration_ns(self.timeout), 1) / NS)
        to_ns = self._moment("to", self.to, now_ns) if self.to else now_ns
        from_ns = (
            self._moment("from", self.from_, now_ns) if self.from_ else max(EARLIEST_NS, to_ns - int(api.range_s * NS))
        )
        if from_ns >= to_ns:
            raise bad_parameter("from", f"{rfc3339(from_ns)} is not before `to`, {rfc3339(to_ns)}")
        if bounded and to_ns - from_ns > api.range_max_s * NS:
            raise bad_parameter(
                "from", f"the range is longer than {api.range_max_s / 86_400:g} days; ask for less at once"
            )
        asking.note(**{"from": rfc3339(from_ns), "to": rfc3339(to_ns)})
        return from_ns, to_ns

    @staticmethod
    def _moment(name: str, text: str, now_ns: int) -> int:
        try:
            # A + that was not escaped arrives as a space.
            return moment_ns(re.sub(r" (?=\d\d:\d\d$)", "+", text), now_ns)
        except (ValueError, OverflowError):
            raise bad_parameter(
                name,
                f"{text!r} is no time: give RFC 3339, as 2026-11-24T06:00:00Z, or how long ago, as 90s, 15m, 1h, 2d",
            ) from None


class Filters(Window):
    """Which lines of the range are meant; all conditions hold."""

    service: list[Name] = Field([], max_length=50, description="Of this service; given several times: of any of them.")
    level: Literal["trace", "debug", "info", "warn", "error", "fatal"] | None = Field(
        None, description="Of this level or a more serious one."
    )
    text: list[Text] = Field([], max_length=10, description="The line contains this text, letter by letter.")
    regex: Text | None = Field(None, description="The line matches this regular expression (RE2).")
    request_id: Name | None = Field(None, description="Of this request.")
    user_id: Name | None = Field(None, description="On behalf of this user.")
    field: list[Annotated[Text, AfterValidator(_field)]] = Field(
        [],
        max_length=10,
        description="A field of the record: `path=value`; also `!=`, `=~`, `!~` (RE2), `>`, `>=`, `<`, `<=`.",
        examples=[["metadata.upstream=auth", "durationMs>250"]],
    )

    async def query(self, asking: Asking) -> str:
        """Return the log query of these filters and of what the caller may see, and note it for the audit.

        Raises: Problem for a regular expression that Loki cannot read; LokiQueryError.
        """
        await self._check_patterns(asking)
        matchers = list(asking.matchers)
        if self.service:
            matchers.append(matcher(SERVICE, self.service))
        if self.level:
            matchers.append(matcher(LEVEL, LEVELS[LEVELS.index(self.level) :]))
        stages = [f"|= {quoted(text)}" for text in self.text]
        if self.regex:
            stages.append(f"|~ {quoted(self.regex)}")
        stages += [
            f"| {name}={quoted(value)}"
            for name, value in (("request_id", self.request_id), ("user_id", self.user_id))
            if value
        ]
        stages += [stage for number, text in enumerate(self.field) for stage in _stages(text, number)]
        found = " ".join([selector(matchers, anything=SERVICE), *stages])
        asking.note(query=found)
        return found

    async def _check_patterns(self, asking: Asking) -> None:
        """Have Loki read the regular expressions: where it has nothing to match, it would not say that one is wrong."""
        patterns = [("regex", self.regex)] if self.regex else []
        fields = [_FIELD.fullmatch(text) for text in self.field]
        patterns += [("field", found["value"]) for found in fields if found and "~" in found["operator"]]
        for name, pattern in patterns:
            try:
                await asking.reader().raw("/format_query", {"query": f"{{a=~{quoted(pattern)}}}"})
            except LokiQueryError as error:
                if error.status == HTTPStatus.BAD_REQUEST:
                    raise bad_parameter(name, f"{pattern!r} is no regular expression that Loki reads (RE2)") from None
                raise

    def asked_for(self) -> dict[str, Any]:
        """Return the parameters that decide which lines are meant, for what must belong to exactly them."""
        return self.model_dump(mode="json", exclude={"limit", "cursor", "timeout"})


def _stages(text: str, number: int) -> list[str]:
    found = _FIELD.fullmatch(text)
    assert found  # noqa: S101 - the model has checked it
    alias, operator, value = _ALIAS.format(number), found["operator"], found["value"]
    extract = f"| json {alias}={quoted(_path(found['path'].strip()))}"
    if operator in _NUMERIC:
        # What is no number would pass, with an error beside it.
        return [extract, f"| {alias} {operator} {value.strip()}", '| __error__=""']
    return [extract, f"| {alias}{operator}{quoted(value)}"]


def _path(path: str) -> str:
    """Return the path as Loki's JSON expressions have it: each name in brackets and quotes."""
    return "".join(f'["{part}"]' for part in path.split("."))
