"""Writing LogQL: the one place where text becomes a part of a query. Pure.

Whatever a caller gives stands in a query as a quoted string, or not at all. A query that a person wrote is narrowed by
adding matchers to each of its selectors, which its tokens show: matchers of one selector are joined by "and", so
nothing else in the query can undo them.
"""

import re
from collections.abc import Iterable, Sequence

import msgspec

# The matchers of a log query, in front of its filters: braces inside of strings do not close them.
_SELECTOR = re.compile(r"\s*\{(?:[^\"`}]|\"(?:[^\"\\]|\\.)*\"|`[^`]*`)*\}")
# What Go's text/scanner, which Loki reads queries with, takes for one token. What it would skip as a comment, or take
# for a character, is refused: where the two would disagree, a brace could hide.
_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\\n]|\\[^\n])*"|`[^`]*`)"""
    r"""|(?P<refused>//|/\*|\#|')"""
    r"""|(?P<plain>[ \t\r\n]+|[A-Za-z0-9_]+|[{}()\[\],=!~|<>+\-*/%^@.:$])"""
)
_REGEX_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")


def quoted(value: str) -> str:
    """Return text as a string of LogQL: JSON's escapes are a part of Go's, which LogQL reads."""
    return msgspec.json.encode(value).decode()


def literal(value: str) -> str:
    """Return a regular expression (RE2) that matches exactly this text."""
    return _REGEX_SPECIAL.sub(r"\\\g<0>", value)


def matcher(label: str, values: Iterable[str]) -> str:
    """Return the matcher of a label that has one of these values; with none of them, one that nothing passes.

    `label` is a name that the caller has checked, or its own.
    """
    wanted = sorted(set(values))
    if not wanted:
        return f'{label}="no", {label}="such"'
    if len(wanted) == 1 and wanted[0]:
        return f"{label}={quoted(wanted[0])}"
    return f"{label}=~{quoted('|'.join(literal(value) for value in wanted))}"


def selector(matchers: Sequence[str], *, anything: str) -> str:
    """Return a selector; `anything` is a label that every entry has, since Loki wants a matcher that is not empty."""
    return "{" + (", ".join(matchers) or f'{anything}=~".+"') + "}"


def split(query: str) -> tuple[str, str] | None:
    """Split a log query into its selector and what follows; None if it does not begin with one."""
    found = _SELECTOR.match(query)
    return (found[0], query[found.end() :]) if found else None


def narrowed(query: str, matchers: Sequence[str]) -> str:
    """Return a query in LogQL, of whatever kind, in which each selector has these matchers too.

    Raises: ValueError, with a sentence, if it holds what is not known for certain to be read by Loki as it is here.
    """
    at, parts = 0, []
    added = ", ".join(matchers)
    while at < len(query):
        token = _TOKEN.match(query, at)
        if token is None or token["refused"]:
            raise ValueError(f"{query[at : at + 2]!r} at character {at + 1} is not allowed outside of strings")
        parts.append(token[0])
        at = token.end()
        if token[0] == "{" and added:
            rest = query[at:].lstrip(" \t\r\n")
            parts.append(added if rest.startswith("}") else f"{added}, ")
    return "".join(parts)
