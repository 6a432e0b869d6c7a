"""What must become of one Kafka record: slow, plain, and written from docs/log-format.md alone.

It shares no code with the shipper (only the settings and the list of reasons), decodes with orjson and the standard
library instead of msgspec, and looks at one record at a time. Where it and the pipeline differ, one of them is wrong.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import oracle_json
import oracle_time
from shipper.records import Message, Reason
from shipper.settings import Filter, Paths, Redact, Settings

LEVEL_LABELS = ("level", "detected_level")
LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")
_ALIASES = {
    "silly": "trace",
    "verbose": "debug",
    "information": "info",
    "notice": "info",
    "warning": "warn",
    "err": "error",
    **dict.fromkeys(("critical", "crit", "emerg", "alert", "panic"), "fatal"),
    **{str(10 * (rank + 1)): level for rank, level in enumerate(LEVELS)},
}
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_GROUP = re.compile(r"\$(?:(\$)|\{(\w+)\}|(\w+))")
_UNKNOWN = "unknown"
_OTHER = "other"


@dataclass(frozen=True)
class Shipped:
    """An entry that Loki must hold."""

    labels: dict[str, str]
    timestamp_ns: int
    line: bytes
    metadata: dict[str, str]


@dataclass(frozen=True)
class DeadLettered:
    """A record that goes to the dead letter topic."""

    reason: Reason


@dataclass(frozen=True)
class Filtered:
    """A record that a rule lets go, or that is empty."""

    rule: str


Outcome = Shipped | DeadLettered | Filtered


def expect(record: Message, settings: Settings, *, now_ns: int) -> Outcome:
    """Say what must become of this record."""
    value = record.value()
    if not value:
        return Filtered("empty")
    fields = oracle_json.parse(value, named_paths(settings))
    if isinstance(fields, Reason):
        return expect_malformed(record, fields, settings, now_ns=now_ns)
    rule = _first_rule(record, fields, settings)
    if rule is not None:
        return Filtered(rule)
    labels, metadata = dict(settings.labels.static), {}
    for name, paths in settings.labels.fields.items():
        labels[name] = _label(name, _text_at(fields, paths), settings)
        if _is_demoted(name, labels[name], settings):
            metadata[f"{name}_demoted"], labels[name] = labels[name], _OTHER
    for name in sorted(settings.structured_metadata):
        text = _metadata(name, fields, record, settings)
        if text:
            metadata[name] = text
    timestamp_ns = oracle_time.timestamp_ns(_field_at(fields, settings.timestamp.field), settings.timestamp, record)
    line = _redacted(value.decode(), settings.redact).encode()
    return _within_limits(Shipped(labels, timestamp_ns, line, metadata), settings, now_ns)


def expect_malformed(record: Message, reason: Reason, settings: Settings, *, now_ns: int) -> Outcome:
    """Say what must become of this record if it cannot be read, for this reason."""
    if settings.malformed.policy == "dead_letter":
        return DeadLettered(reason)
    labels = settings.labels.static | {name: _label(name, None, settings) for name in settings.labels.fields}
    line = _redacted((record.value() or b"").decode("utf-8", "replace"), settings.redact).encode()
    timestamp_ns = oracle_time.kafka_timestamp_ns(record)
    return _within_limits(Shipped(labels, timestamp_ns, line, {"shipper_error": reason.value}), settings, now_ns)


def acceptable(record: Message, settings: Settings, *, now_ns: int) -> list[Outcome]:
    """List what may become of this record: one outcome, but for nesting whose depth no decoder promises."""
    outcomes = [expect(record, settings, now_ns=now_ns)]
    if oracle_json.is_deep(record.value() or b""):
        outcomes += [
            expect_malformed(record, reason, settings, now_ns=now_ns) for reason in (Reason.TOO_DEEP, Reason.NOT_JSON)
        ]
    return outcomes


def named_paths(settings: Settings) -> set[str]:
    """Every field path that the configuration names."""
    paths: list[str] = []
    for named in (
        *settings.labels.fields.values(),
        *settings.structured_metadata.values(),
        settings.timestamp.field,
        *(rule.field for rule in settings.filters if rule.field),
    ):
        paths += as_list(named)
    return set(paths)


def as_list(paths: Paths) -> list[str]:
    """One path, or several, as several."""
    return [paths] if isinstance(paths, str) else list(paths)


def sampled(partition: int, offset: int, share: float) -> bool:
    """Say whether a sampling filter keeps the record of this partition and offset (splitmix64)."""
    mask = 2**64 - 1
    mixed = (((partition << 48) ^ offset) + 0x9E3779B97F4A7C15) & mask
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & mask
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
    return mixed ^ (mixed >> 31) < int(share * 2**64)


def level_of(text: str) -> str:
    """Fold a level's spellings into one."""
    lowered = text.lower()
    return _ALIASES.get(lowered, lowered)


def _texts_at(fields: object, paths: Paths) -> Iterator[tuple[str, str]]:
    for path in as_list(paths):
        value = oracle_json.at(fields, path)
        if value is not None and value != "":
            yield path, value if isinstance(value, str) else oracle_json.dump(value)


def _text_at(fields: object, paths: Paths) -> str | None:
    return next((text for _, text in _texts_at(fields, paths)), None)


def _field_at(fields: object, paths: Paths) -> object:
    values = (oracle_json.at(fields, path) for path in as_list(paths))
    return next((value for value in values if value is not None), None)


def _label(name: str, text: str | None, settings: Settings) -> str:
    if text is not None and name in LEVEL_LABELS:
        text = level_of(text)
    text = _readable(_redacted(text or "", settings.redact)) or _UNKNOWN
    return text.encode()[: settings.loki.limits.label_value_bytes_max].decode("utf-8", "ignore")


def _is_demoted(name: str, value: str, settings: Settings) -> bool:
    values = settings.label_values
    if value == _UNKNOWN:
        return False
    if name in values.allowed:
        return value not in values.allowed[name]
    return values.demote_matching != "" and re.search(values.demote_matching, value) is not None


def _readable(text: str) -> str:
    """Loki refuses U+FFFD in labels, and the whole request with it; in structured metadata it makes a space of it."""
    return text.replace("\ufffd", " ")


def _metadata(name: str, fields: object, record: Message, settings: Settings) -> str:
    paths = settings.structured_metadata[name]
    found = next(_texts_at(fields, paths), None)
    if found is None and name == "request_id":
        found = next(_header_texts(record, paths), None)
    if found is None:
        return ""
    path, text = found
    trace = _TRACEPARENT.fullmatch(text) if path.split(".")[-1] == "traceparent" else None
    return _readable(_redacted(trace[1] if trace else text, settings.redact))


def _header_texts(record: Message, paths: Paths) -> Iterator[tuple[str, str]]:
    for path in as_list(paths):
        same_name = [
            value for name, value in record.headers() or () if name.lower() == path.lower() and value is not None
        ]
        if same_name and same_name[-1]:
            yield path, same_name[-1].decode("utf-8", "replace")


def _first_rule(record: Message, fields: object, settings: Settings) -> str | None:
    for rule in settings.filters:
        if not _matches(rule, fields, settings):
            continue
        if rule.action == "drop" or not sampled(record.partition(), record.offset(), rule.share):
            return rule.name
    return None


def _matches(rule: Filter, fields: object, settings: Settings) -> bool:
    of_level = next((settings.labels.fields[name] for name in LEVEL_LABELS if name in settings.labels.fields), "")
    text = _text_at(fields, rule.field or of_level)
    if text is None:
        return False
    if rule.any_of is not None:
        return text in rule.any_of
    if rule.matches is not None:
        return re.search(rule.matches, text) is not None
    level = level_of(text)
    return rule.below_level is not None and level in LEVELS and LEVELS.index(level) < LEVELS.index(rule.below_level)


def _redacted(text: str, rules: list[Redact]) -> str:
    for rule in rules:
        text = re.sub(rule.pattern, lambda match, rule=rule: _replacement(rule.replacement, match), text)  # type: ignore[misc]  # mypy cannot type a lambda's default
    return text


def _replacement(template: str, match: re.Match[str]) -> str:
    """Fill in groups as Rust's regex crate does: `$1`, `${name}`, `$$`; a group that is not there is empty."""

    def fill(group: re.Match[str]) -> str:
        if group[1]:
            return "$"
        name = group[2] or group[3]
        try:
            return match[int(name) if name.isdecimal() else name] or ""
        except IndexError:
            return ""

    return _GROUP.sub(fill, template)


def _within_limits(entry: Shipped, settings: Settings, now_ns: int) -> Outcome:
    limits = settings.loki.limits
    metadata_bytes = sum(len(name.encode()) + len(text.encode()) for name, text in entry.metadata.items())
    if len(entry.line) > limits.line_bytes_max:
        return DeadLettered(Reason.LINE_TOO_LONG)
    if (
        len(entry.metadata) > limits.structured_metadata_count_max
        or metadata_bytes > limits.structured_metadata_bytes_max
    ):
        return DeadLettered(Reason.METADATA_TOO_LARGE)
    if entry.timestamp_ns < now_ns - int(limits.entry_age_max_s * 1e9):
        return DeadLettered(Reason.TOO_OLD)
    if entry.timestamp_ns > now_ns + int(limits.entry_ahead_max_s * 1e9):
        return DeadLettered(Reason.TOO_NEW)
    return entry
