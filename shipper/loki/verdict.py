"""What an answer to a push means: delivered, narrow down, or try again. Pure; the client asks it after every try.

    answer                          outcome           action     why
    204                             delivered         DELIVERED  the only success there is
    260                             blocked           RETRY      Loki blocks ingestion for the tenant on purpose
    400, 422 in plain text          refused_entries   NARROW     some entries are bad, Loki has stored the others
    401, 403                        unauthorized      RETRY      an operator mends it, the records wait in Kafka
    408                             timeout           RETRY      a proxy gave up on us
    413                             too_large         NARROW     halves may pass
    429 about active streams        stream_limit      RETRY      too many label sets
    429                             rate_limited      RETRY      tenant or stream is over its rate
    5xx                             server_error      RETRY      stored or not: unknown
    any other, HTML with 200 or 400 not_loki          RETRY      something else stands at that address
    no answer in time               timeout           RETRY      stored or not: unknown
    no connection, or it broke      connection        RETRY      stored or not: unknown

Source: pkg/distributor and pkg/validation of Grafana Loki 3.7. Trying again is always safe: the bytes are identical.
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

# Loki's wording, pkg/validation/validate.go and pkg/chunkenc/interface.go.
_STREAM_LIMIT = re.compile("active stream limit", re.IGNORECASE)
_REASONS = (
    (re.compile("has timestamp too old|entry too far behind"), Reason.TOO_OLD),
    (re.compile("has timestamp too new"), Reason.TOO_NEW),
    (re.compile("max entry size", re.IGNORECASE), Reason.LINE_TOO_LONG),
    (re.compile("structured metadata too large|too many structured metadata"), Reason.METADATA_TOO_LARGE),
)


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


def judge(status: int, headers: Mapping[str, str], body: str, *, now_s: float) -> Verdict:
    """Judge an answer to a push.

    Args:
        status: HTTP status.
        headers: its headers; the mapping does not care for case.
        body: its text, or as much of it as was read.
        now_s: seconds since the epoch, for a Retry-After that is a date.
    """
    match status:
        case 204:
            return Verdict(Action.DELIVERED, Outcome.DELIVERED)
        case 260:
            outcome = Outcome.BLOCKED
        case 400 | 422 if _is_plain_text(headers, body):
            outcome = Outcome.REFUSED_ENTRIES
        case 401 | 403:
            outcome = Outcome.UNAUTHORIZED
        case 408:
            outcome = Outcome.TIMEOUT
        case 413:
            outcome = Outcome.TOO_LARGE
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
        Reason.LINE_TOO_LONG if outcome is Outcome.TOO_LARGE else _reason(body),
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


def _is_plain_text(headers: Mapping[str, str], body: str) -> bool:
    """Whether the body can be Loki's: it refuses entries in plain text, proxies in front of it in HTML or JSON."""
    media_type = headers.get("Content-Type", "text/plain").partition(";")[0].strip().lower()
    return media_type == "text/plain" and not body.lstrip().startswith("<")


def _reason(body: str) -> Reason:
    return next((reason for wording, reason in _REASONS if wording.search(body)), Reason.REFUSED_BY_LOKI)


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
    except ValueError:
        return None
    wait_s = (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp() - now_s
    return min(max(wait_s, 0.0), RETRY_AFTER_MAX_S)
