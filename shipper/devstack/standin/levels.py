"""`detected_level`: the structured metadata that Loki adds to every entry.

Source: pkg/distributor/field_detection.go of Grafana Loki.
"""

import re
from collections.abc import Iterator, Mapping

import msgspec

NAME = "detected_level"
_FIELDS = (
    *("level", "LEVEL", "Level", "log.level", "severity", "SEVERITY", "Severity", "SeverityText"),
    *("lvl", "LVL", "Lvl", "severity_text", "Severity_Text", "SEVERITY_TEXT"),
)
_FIELDS_FOLDED = {name.casefold(): rank for rank, name in reversed(list(enumerate(_FIELDS)))}
_JSON_DEPTH_MAX = 2
_KNOWN = {
    **dict.fromkeys(("trace", "trc"), "trace"),
    **dict.fromkeys(("debug", "dbg"), "debug"),
    **dict.fromkeys(("info", "inf", "information"), "info"),
    **dict.fromkeys(("warn", "wrn", "warning"), "warn"),
    **dict.fromkeys(("error", "err"), "error"),
    "critical": "critical",
    "fatal": "fatal",
}
_WORD = re.compile(
    r"""(?:(?<=[ \t\n[({"=])|^)(trace|debug|fatal|critical|error|err|warning|warn|info)(?=[ \t\n[\](){}:,!"=]|$)"""
)
_LOGFMT = re.compile(r'([^\s="]+)=("(?:[^"\\]|\\.)*"|[^\s"]*)')


def normalize(level: str) -> str:
    """Fold a level's spelling as Loki does; an unknown one is kept as it is."""
    return _KNOWN.get(level.lower(), level)


def detect(labels: Mapping[str, str], metadata: Mapping[str, str], line: str) -> str:
    """Return the level that Loki adds: from a label, else from structured metadata, else from the line.

    The answer is empty where Loki adds none.
    """
    for values in (labels, metadata):
        for name in _FIELDS:
            if name in values:
                return normalize(values[name])
    stripped = line.strip()
    if stripped.startswith("{") and stripped.endswith("}"):
        found = _from_json(line)
    elif "=" in line:
        found = _from_logfmt(line)
    else:
        found = ""
    return _KNOWN.get(found.lower()) or _from_words(line)


def _from_json(line: str) -> str:
    try:
        return next(_levels(msgspec.json.decode(line), 0), "")
    except (msgspec.DecodeError, RecursionError):
        return ""


def _levels(value: object, depth: int) -> Iterator[str]:
    if not isinstance(value, dict) or depth >= _JSON_DEPTH_MAX:
        return
    for name, inner in value.items():
        if isinstance(inner, str) and name in _FIELDS:
            yield inner
        yield from _levels(inner, depth + 1)


def _from_logfmt(line: str) -> str:
    ranked = [
        (_FIELDS_FOLDED[name.casefold()], value.strip('"'))
        for name, value in _LOGFMT.findall(line)
        if name.casefold() in _FIELDS_FOLDED
    ]
    return min(ranked, default=(0, ""))[1]


def _from_words(line: str) -> str:
    match = _WORD.search(line.lower())
    return _KNOWN[match[1]] if match else "unknown"
