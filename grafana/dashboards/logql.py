"""Pieces of LogQL: which lines, and what is made of them.

Three rules hold everywhere, so that a record that is not as it should be makes a panel say less, and never something
false, and never fails the query for all others:

- the text filter comes before `| json`: it is cheap, and most lines go no further;
- where lines are counted, `| json` takes the named members alone;
- whatever can fail for a line (JSON, a comparison) is followed by `NO_ERROR`, which leaves that line out;
- a number has bounds on both sides (`between`), for the texts `NaN` and `Infinity` are numbers to Loki.
"""

from typing import Final

NO_ERROR: Final = "| __error__=``"
"""A line that failed before it is left out here."""

PATHS: Final = {
    **{name: name for name in ("event", "outcome", "reason", "method", "route", "status", "durationMs", "message")},
    "conversation": "conversationId",
    "error_type": "error.type",
    "error_message": "error.message",
    "upstream": "metadata.upstream",
    "upstream_route": "metadata.upstreamRoute",
    "source": "metadata.sourceAddress",
    "changed": "metadata.changedFields",
    "recipients": "metadata.recipients",
    "message_bytes": "metadata.messageBytes",
    "bytes": "metadata.bytes",
    "channel": "metadata.channel",
    "provider": "metadata.provider",
    "result": "metadata.providerResult",
    "attempt": "metadata.attempt",
    "delivery_ms": "metadata.deliveryMs",
}
"""Names in queries, and where in a record they are (docs/log-format.md, "What the libraries write")."""


_NUMBER_MAX: Final = 10**12
"""Above any duration, size and count that is real."""


def between(member: str, low: int, high: int) -> str:
    """Give the condition that a member is a number from `low` to below `high`."""
    return f"{member} >= {low} and {member} < {high}"


def members(*names: str) -> str:
    """Take these members out of a line's JSON; what is not there is an empty text."""
    return "| json " + ", ".join(f'{name}="{PATHS.get(name, name)}"' for name in names)


def access(stream: str, *names: str, where: str = "") -> str:
    """Select access lines, one per request, with these members.

    Args:
        stream: the stream selector.
        names: of `PATHS`; `status`, if `where` asks for it.
        where: a condition on members: `outcome="failure"`, or one of `between`.
    """
    return _lines(stream, "context", "access", names, where)


def event(stream: str, name: str, *names: str, where: str = "") -> str:
    """Select the lines of an event, with these members; arguments as of `access`."""
    return _lines(stream, "event", name, names, where)


def _lines(stream: str, member: str, value: str, names: tuple[str, ...], where: str) -> str:
    told = f'{stream} |= `"{value}"` {members(member, *names)} | {member}=`{value}` {NO_ERROR}'
    return f"{told} | {where} {NO_ERROR}" if where else told


def count(lines: str, *by: str) -> str:
    """Count lines in each step, or over the range where the query is an instant one."""
    return f"sum{_by(by)} (count_over_time({lines} [$__auto]))"


def rate(lines: str, *by: str) -> str:
    """Count lines per second."""
    return f"sum{_by(by)} (rate({lines} [$__auto]))"


def total(lines: str, member: str, *by: str) -> str:
    """Add up a number that lines have."""
    return f"sum{_by(by)} (sum_over_time({_numbers(lines, member)} [$__auto]))"


def mean(lines: str, member: str, *by: str) -> str:
    """Give the mean of a number, over the lines that have it."""
    return f"avg_over_time({_numbers(lines, member)} [$__auto]) by ({', '.join(by)})"


def quantile(share: float, lines: str, member: str, *by: str) -> str:
    """Give a quantile of a number, over the lines that have it: a service that writes none has no series."""
    return f"quantile_over_time({share}, {_numbers(lines, member)} [$__auto]) by ({', '.join(by)})"


def bytes_per_second(stream: str, *by: str) -> str:
    """Measure the bytes of lines, before Loki compresses them."""
    return f"sum{_by(by)} (bytes_rate({stream} [$__auto]))"


def or_zero(part: str, whole: str) -> str:
    """Fill a count of what can be absent: 0 where there is a whole to be a part of, nothing where there is none."""
    return f"({part} or 0 * {whole})"


def share(part: str, whole: str) -> str:
    """Divide: 0 where nothing of the whole is meant, nothing where there is no whole."""
    return f"{or_zero(part, whole)} / {whole}"


def _numbers(lines: str, member: str) -> str:
    return f"{lines} | {between(member, 0, _NUMBER_MAX)} {NO_ERROR} | unwrap {member}"


def _by(names: tuple[str, ...]) -> str:
    return f" by ({', '.join(names)})" if names else ""
