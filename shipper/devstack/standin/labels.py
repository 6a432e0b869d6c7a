"""Label strings as Loki reads and writes them, and the names of structured metadata as Loki rewrites them."""

import re
from collections.abc import Iterable
from functools import lru_cache

# Loki adds `service_name` to a stream that has none: the value of the first of these labels, else `unknown_service`.
_SERVICE_LABELS = (
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
)
_BRACES = 2
_UNDERSCORES = 4  # of a reserved name, two on each side
_ASCII = 0x80
_BASIC_PLANE = 0x1_0000
_TOKEN = re.compile(
    r"""\s*(?:(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)|(?P<mark>=~|!=|!~|[{}=,])
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`))""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))")
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"'}
_QUOTED = {ord(char): "\\" + letter for letter, char in _ESCAPED.items() if letter != "'"}


class LabelsError(ValueError):
    """The text is no set of labels."""


def unquote(text: str) -> str:
    """Value of a string literal (double or single quotes with Go's escapes, or backticks); raises LabelsError."""
    if text[0] == "`":
        return text[1:-1]

    def char(match: re.Match[str]) -> str:
        if match[5]:
            if match[5] not in _ESCAPED:
                raise LabelsError(f"unknown escape sequence \\{match[5]}")
            return _ESCAPED[match[5]]
        return chr(int(match[4], 8) if match[4] else int(match[1] or match[2] or match[3], 16))

    return _ESCAPE.sub(char, text[1:-1])


def quote(text: str) -> str:
    """Write a value as Go's strconv.Quote does."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(_quoted_char(char) for char in text) + '"'


def _quoted_char(char: str) -> str:
    code = ord(char)
    if code in _QUOTED:
        return _QUOTED[code]
    if char.isprintable():
        return char
    return f"\\x{code:02x}" if code < _ASCII else f"\\u{code:04x}" if code < _BASIC_PLANE else f"\\U{code:08x}"


def write(labels: Iterable[tuple[str, str]]) -> str:
    """Write labels as Loki prints them: sorted by name, `{a="b", c="d"}`."""
    return "{" + ", ".join(f"{name}={quote(value)}" for name, value in sorted(labels)) + "}"


def tokens(text: str) -> list[tuple[str, str]]:
    """Split a label string into (kind, text): `name`, `text` (still quoted) or `mark`; raises LabelsError."""
    found, position, end = [], 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if not match or not match.lastgroup:
            raise LabelsError(f"1:{position + 1}: parse error: unexpected character: {text[position]!r}")
        found.append((match.lastgroup, match[match.lastgroup]))
        position = match.end()
    return found


@lru_cache(maxsize=65_536)
def parse(label_bytes: bytes) -> tuple[tuple[str, str], ...]:
    """Read the label string of a pushed stream, empty values left out and `service_name` added, as Loki does.

    Returns: names and values in order; a name may be there twice, which is for the caller to refuse.
    Raises: LabelsError with a text in the manner of Loki's.
    """
    try:
        rest = tokens(label_bytes.decode())
    except UnicodeDecodeError:
        raise LabelsError("1:1: parse error: invalid UTF-8 rune") from None
    if rest and (len(rest) < _BRACES or rest[0] != ("mark", "{") or rest[-1] != ("mark", "}")):
        raise LabelsError("1:1: parse error: unexpected end of input inside braces")
    rest, pairs = rest[1:-1], []
    while rest:
        kinds = [kind for kind, _ in rest[:3]]
        if kinds != ["name", "mark", "text"] or rest[1][1] != "=" or rest[3:4] not in ([], [("mark", ",")]):
            raise LabelsError(f"1:2: parse error: unexpected identifier {rest[0][1]!r} in label set")
        pairs.append((rest[0][1], unquote(rest[2][1])))
        rest = rest[4:]
    labels = [(name, value) for name, value in pairs if value]
    values = dict(labels)
    if "service_name" not in values:
        service = next((values[name] for name in _SERVICE_LABELS if name in values), "unknown_service")
        labels.append(("service_name", service))
    return tuple(sorted(labels))


@lru_cache(maxsize=65_536)
def metadata_name(name_bytes: bytes) -> str:
    """Name under which Loki stores structured metadata: letters, digits and single underscores.

    Raises: LabelsError for a name of which nothing is left.
    Source: LabelNamer.Build of github.com/prometheus/otlptranslator 1.0.0.
    """
    name = name_bytes.decode(errors="replace")
    if not name:
        raise LabelsError("label name is empty")
    reserved = len(name) >= _UNDERSCORES and name.startswith("__") and name.endswith("__")
    inner = re.sub(r"[^a-zA-Z0-9]+", "_", name[2:-2] if reserved else name)
    normalized = f"__{inner}__" if reserved else inner
    if normalized[0].isdigit():
        normalized = "key_" + normalized
    if not normalized.strip("_"):
        raise LabelsError(f"normalization for label name {quote(name)} resulted in invalid name {quote(normalized)}")
    return normalized
