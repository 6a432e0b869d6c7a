"""What an answer to a push means: delivered, narrow down, or try again. Pure; the client asks it after every try.

    answer                          outcome           action     why
    204                             delivered         DELIVERED  the only success there is
    260                             blocked           RETRY      Loki blocks ingestion for the tenant on purpose
    400 that blames entries         refused_entries   NARROW     some entries are bad, Loki has stored the others
    400 about the size of the body  too_large         NARROW     halves may pass
    400 about the tenant's settings blocked           RETRY      all entries are refused alike: an operator mends it
    401, 403                        unauthorized      RETRY      an operator mends it, the records wait in Kafka
    408                             timeout           RETRY      a proxy gave up on us
    413                             too_large         NARROW     halves may pass
    429 about active streams        stream_limit      RETRY      too many label sets
    429                             rate_limited      RETRY      tenant or stream is over its rate
    5xx                             server_error      RETRY      stored or not: unknown
    any other, any other 400        not_loki          RETRY      something else stands at that address
    no answer in time               timeout           RETRY      stored or not: unknown
    no connection, or it broke      connection        RETRY      stored or not: unknown

Only words that are Loki's own narrow a request down, and so may end in dead letters: a port that speaks TLS and a proxy
answer 400 to everything, which is no reason to give up a single record. Trying again is always safe: the bytes are
identical.

Source: Grafana Loki 3.7.8, pkg/{validation, distributor, ingester, chunkenc, loghttp/push, util/http.go}.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum, StrEnum, auto

from shipper.records import Reason

RETRY_AFTER_MAX_S = 600.0
"""Nobody may tell us to be silent for longer: after ten minutes we look again."""

_DETAIL_CHARACTERS_MAX = 300

# A stream as Loki writes it. What stands in the quotes comes from records: no wording is looked for in there.
_STREAM = r"""stream '\{(?:[^"}]|"(?:[^"\\]|\\.)*+")*+\}'"""


def _opening(wording: str) -> re.Pattern[str]:
    """Match a refusal where an answer begins, alone or as the first of several; further on, a record may have its say.

    Of an answer to a single entry, it is the whole.
    """
    return re.compile(rf"(?:\d+ errors(?: like)?: )?(?:{wording})", re.IGNORECASE | re.DOTALL)


# What single entries, or single streams, are refused for. Source of each: the file named above it.
_BLAMES_ENTRIES = (
    # pkg/validation/validate.go: limits.
    (_opening(rf"entry for {_STREAM} has timestamp too old"), Reason.TOO_OLD),
    (_opening(rf"entry for {_STREAM} has timestamp too new"), Reason.TOO_NEW),
    (_opening(r"max entry size '\d+' bytes exceeded"), Reason.LINE_TOO_LONG),
    (_opening(rf"{_STREAM} has structured metadata too large"), Reason.METADATA_TOO_LARGE),
    (_opening(rf"{_STREAM} has too many structured metadata labels"), Reason.METADATA_TOO_LARGE),
    (_opening(rf"{_STREAM} has (?:label value too long|duplicate label name)"), Reason.REFUSED_BY_LOKI),
    # pkg/ingester/stream.go: order; the reasons are those of pkg/chunkenc/interface.go.
    (_opening("entry with timestamp [^']+ ignored, reason: 'entry (?:too far behind|out of order)"), Reason.TOO_OLD),
    # Among several, the first may be there for its stream's rate.
    (_opening("entry with timestamp [^']+ ignored, reason: '"), Reason.REFUSED_BY_LOKI),
    # pkg/loghttp/push/push.go, pkg/distributor/distributor.go: label strings that cannot be parsed.
    (_opening("couldn't parse labels: |error parsing labels '"), Reason.REFUSED_BY_LOKI),
    # gogo/protobuf and golang/snappy: what is no push request, a time out of its range. "unexpected EOF" is left out:
    # a body that was cut on its way is answered so too.
    (_opening("proto: |timestamp: |snappy: "), Reason.REFUSED_BY_LOKI),
)

# pkg/util/http.go, pkg/loghttp/push/push.go: sizes that Loki answers 400 to, instead of 413.
_TOO_LARGE = _opening(r"decompressed message size too large|compressed message size \d+ exceeds limit")

# pkg/validation/validate.go: what concerns whatever we send, since all streams have the same label names.
_BLAMES_SETTINGS = _opening(
    rf"{_STREAM} includes structured metadata, but this feature is disallowed|{_STREAM} has label name too long"
    rf"|entry for {_STREAM} has \d+ label names; limit|error at least one label pair is required"
    "|missing required labels '|ingestion blocked for user '"
)

_STREAM_LIMIT = re.compile("active stream limit", re.IGNORECASE)


class Action(Enum):
    """What is to be done with the request that was answered."""

    DELIVERED = auto()
    NARROW = auto()
    """Push its halves, down to the entries that are refused alone."""
    RETRY = auto()
    """Push the same bytes again, later."""


class Outcome(StrEnum):
    """How a try ended. A closed list: counters and dashboards name each."""

    DELIVERED = "delivered"
    RATE_LIMITED = "rate_limited"
    STREAM_LIMIT = "stream_limit"
    REFUSED_ENTRIES = "refused_entries"
    UNAUTHORIZED = "unauthorized"
    NOT_LOKI = "not_loki"
    TOO_LARGE = "too_large"
    BLOCKED = "blocked"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECTION = "connection"


class LokiState(StrEnum):
    """How Loki is doing, in one word, for the status."""

    OK = "ok"
    RETRYING = "retrying"
    """It should pass by itself."""
    REFUSING = "refusing"
    """It will not pass before somebody changes something."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one try means.

    Attributes:
        action: what to do with the request.
        outcome: what to count it as.
        detail: for a person: status and what the body says, one line of at most 300 characters; empty when delivered.
        retry_after_s: how long the server asks to be left alone, in seconds, at most `RETRY_AFTER_MAX_S`.
        reason: what an entry is dead-lettered for that gets this verdict alone; only NARROW reads it.
    """

    action: Action
    outcome: Outcome
    detail: str = ""
    retry_after_s: float | None = None
    reason: Reason = Reason.REFUSED_BY_LOKI

    @property
    def is_entrys_own(self) -> bool:
        """Whether an entry that is refused alone is refused for what it is itself: its age, its length.

        Any other refusal may meet all entries alike, whatever they are: a proxy that mangles bodies, or takes none.
        """
        return self.outcome is Outcome.REFUSED_ENTRIES and self.reason is not Reason.REFUSED_BY_LOKI


def judge(status: int, headers: Mapping[str, str], body: str, *, now_s: float) -> Verdict:
    """Judge an answer to a push.

    Args:
        status: HTTP status.
        headers: its headers; the mapping does not care for case.
        body: its text, or as much of it as was read.
        now_s: seconds since the epoch, for a Retry-After that is a date.
    """
    reason = Reason.REFUSED_BY_LOKI
    match status:
        case 204:
            return Verdict(Action.DELIVERED, Outcome.DELIVERED)
        case 260:
            outcome = Outcome.BLOCKED
        case 400:
            outcome, reason = _refusal(body)
        case 401 | 403:
            outcome = Outcome.UNAUTHORIZED
        case 408:
            outcome = Outcome.TIMEOUT
        case 413:
            outcome, reason = Outcome.TOO_LARGE, Reason.LINE_TOO_LONG
        case 429:
            outcome = Outcome.STREAM_LIMIT if _STREAM_LIMIT.search(body) else Outcome.RATE_LIMITED
        case _ if status >= 500:  # noqa: PLR2004 where HTTP's server errors begin
            outcome = Outcome.SERVER_ERROR
        case _:
            outcome = Outcome.NOT_LOKI
    return Verdict(
        Action.NARROW if outcome in (Outcome.REFUSED_ENTRIES, Outcome.TOO_LARGE) else Action.RETRY,
        outcome,
        _detail(status, headers, body),
        _retry_after_s(headers, now_s) if status in (429, 503) else None,
        reason,
    )


def judge_failure(error: Exception) -> Verdict:
    """Judge a try that got no whole answer: a TimeoutError is a timeout, all else a connection that failed or broke."""
    outcome = Outcome.TIMEOUT if isinstance(error, TimeoutError) else Outcome.CONNECTION
    return Verdict(Action.RETRY, outcome, _one_line(str(error) or type(error).__name__))


def loki_state(outcome: Outcome) -> LokiState:
    """Say how Loki is doing, judged by the last try."""
    match outcome:
        case Outcome.DELIVERED | Outcome.REFUSED_ENTRIES | Outcome.TOO_LARGE:
            return LokiState.OK
        case Outcome.UNAUTHORIZED | Outcome.NOT_LOKI | Outcome.BLOCKED | Outcome.STREAM_LIMIT:
            return LokiState.REFUSING
        case Outcome.RATE_LIMITED | Outcome.SERVER_ERROR | Outcome.TIMEOUT | Outcome.CONNECTION:
            return LokiState.RETRYING


def _refusal(body: str) -> tuple[Outcome, Reason]:
    """Tell by its words whom a 400 blames."""
    for wording, reason in _BLAMES_ENTRIES:
        if wording.match(body):
            return Outcome.REFUSED_ENTRIES, reason
    if _TOO_LARGE.match(body):
        return Outcome.TOO_LARGE, Reason.LINE_TOO_LONG
    return Outcome.BLOCKED if _BLAMES_SETTINGS.match(body) else Outcome.NOT_LOKI, Reason.REFUSED_BY_LOKI


def _detail(status: int, headers: Mapping[str, str], body: str) -> str:
    target = headers.get("Location")
    return _one_line(f"HTTP {status}: redirects to {target}" if target else f"HTTP {status}: {body}")


def _one_line(text: str) -> str:
    # More than is kept, since runs of white space shrink to one space.
    printable = "".join(character if character.isprintable() else " " for character in text[:4096])
    return " ".join(printable.split())[:_DETAIL_CHARACTERS_MAX]


def _retry_after_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """Read Retry-After, seconds or a date (RFC 9110, 10.2.3); None where it is missing or makes no sense."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), RETRY_AFTER_MAX_S)
    try:
        then = parsedate_to_datetime(text)
        wait_s = (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp() - now_s
    except (ValueError, OverflowError):
        return None
    return min(max(wait_s, 0.0), RETRY_AFTER_MAX_S)
