"""Settings about records that contradict each other, or that Loki or the pipeline cannot take."""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

from shipper.config.problems import Problems, show, twice
from shipper.settings import Paths, Settings

LEVEL_LABELS = ("level", "detected_level")
"""The labels whose values are levels: lower-cased, aliases folded, and what `below_level` compares."""

ERROR_METADATA = "shipper_error"
"""Structured metadata that shipper itself adds to malformed records."""

DEMOTED = "{}_demoted"
"""The structured metadata that a label's value goes to where it is demoted."""

FILTERS_MAX = 64
"""Bound of the counters, which have a slot per filter."""

_NAME = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")


def check(settings: Settings, problems: Problems) -> None:
    """Note what is wrong with the sections about records, whose types are right."""
    _labels(settings, problems)
    _label_values(settings, problems)
    _structured_metadata(settings, problems)
    if not settings.timestamp.formats:
        problems.add("timestamp.formats", 'is empty; give "rfc3339", "epoch" or both')
    _filters(settings, problems)
    _redact(settings, problems)
    _paths(settings, problems)


def _labels(settings: Settings, problems: Problems) -> None:
    labels, limits = settings.labels, settings.loki.limits
    for name in labels.fields.keys() & labels.static.keys():
        problems.contradict(
            (f"labels.{name}", labels.fields[name]),
            (f"labels.static.{name}", labels.static[name]),
            "a label has one value; take one of them out",
        )
    keys = {f"labels.{name}": name for name in labels.fields} | {
        f"labels.static.{name}": name for name in labels.static
    }
    for key, name in keys.items():
        _name(key, name, limits.label_name_bytes_max, problems)
    count = len(set(keys.values()))
    if count > limits.label_count_max:
        problems.contradict(
            ("labels", sorted(set(keys.values()))),
            ("loki.limits.label_count_max", limits.label_count_max),
            f"these are {count} labels; move some to [structured_metadata]",
        )
    for name, value in labels.static.items():
        if not value:
            problems.add(f"labels.static.{name}", "is empty, and Loki drops empty labels; take it out")
        if len(value.encode()) > limits.label_value_bytes_max:
            problems.contradict(
                (f"labels.static.{name}", value),
                ("loki.limits.label_value_bytes_max", limits.label_value_bytes_max),
                f"the value has {len(value.encode())} bytes",
            )


def _label_values(settings: Settings, problems: Problems) -> None:
    for name, allowed in settings.label_values.allowed.items():
        key = f"label_values.allowed.{name}"
        if name not in settings.labels.fields:
            known = ", ".join(sorted(settings.labels.fields)) or "none"
            problems.add(key, f"is no label that comes from a field; those of [labels] are: {known}")
        if not allowed:
            problems.add(key, "is an empty list, which demotes every value; take the label out of [labels] instead")
    taken = {DEMOTED.format(name): name for name in settings.labels.fields}
    for section, names in (
        ("structured_metadata", settings.structured_metadata),
        ("labels", settings.labels.fields),
        ("labels.static", settings.labels.static),
    ):
        for name in names.keys() & taken.keys():
            problems.add(f"{section}.{name}", f"is where a demoted value of the label {taken[name]} goes; rename one")


def _name(key: str, name: str, bytes_max: int, problems: Problems) -> None:
    if not _NAME.fullmatch(name):
        problems.add(key, f"{show(name)} is no name for Loki: letters, digits, _; no digit first; no __ at the start")
    elif name == ERROR_METADATA:
        problems.add(key, "is the name under which shipper says why a record is malformed; choose another")
    elif len(name) > bytes_max:
        problems.contradict(
            (key, name), ("loki.limits.label_name_bytes_max", bytes_max), f"the name has {len(name)} bytes"
        )


def _structured_metadata(settings: Settings, problems: Problems) -> None:
    limits, metadata = settings.loki.limits, settings.structured_metadata
    for name in metadata:
        key = f"structured_metadata.{name}"
        _name(key, name, limits.label_name_bytes_max, problems)
        for label_key, labels in (("labels", settings.labels.fields), ("labels.static", settings.labels.static)):
            if name in labels:
                problems.contradict(
                    (key, metadata[name]),
                    (f"{label_key}.{name}", labels[name]),
                    "a query could not tell the two apart; rename one, or take it out",
                )
    pairs = len(metadata) + len(settings.labels.fields)
    if pairs > limits.structured_metadata_count_max:
        problems.contradict(
            ("structured_metadata", sorted(metadata)),
            ("loki.limits.structured_metadata_count_max", limits.structured_metadata_count_max),
            f"with a demoted value of each label these are {pairs}",
        )


def _filters(settings: Settings, problems: Problems) -> None:
    filters = settings.filters
    if len(filters) > FILTERS_MAX:
        problems.add("filters", f"are {len(filters)}, at most {FILTERS_MAX} can be counted; join some with any_of")
    _names("filters", [rule.name for rule in filters], problems)
    has_level = any(name in settings.labels.fields for name in LEVEL_LABELS)
    for index, rule in enumerate(filters):
        key = f"filters[{index}]"
        conditions = {
            name: getattr(rule, name)
            for name in ("any_of", "matches", "below_level")
            if getattr(rule, name) is not None
        }
        if len(conditions) != 1:
            given = " and ".join(f"{name} = {show(value)}" for name, value in conditions.items()) or "none"
            problems.add(key, f"{show(rule.name)} wants exactly one of any_of, matches and below_level; given: {given}")
        if rule.name == "empty":
            problems.add(f"{key}.name", '"empty" is the built-in rule for records without a value; choose another name')
        if rule.any_of == []:
            problems.add(f"{key}.any_of", "is an empty list, which matches nothing")
        if rule.matches == "":
            problems.add(f"{key}.matches", "is an empty pattern, which matches every record")
        if not rule.field and not (rule.below_level and has_level):
            way_out = "; there is no label level, whose field it would be" if rule.below_level else ""
            problems.add(key, f"{show(rule.name)} wants field, the path of what to look at{way_out}")
        if rule.action == "drop" and problems.places.exact(f"{key}.share"):
            problems.contradict(
                (f"{key}.share", rule.share), (f"{key}.action", rule.action), 'a share is kept by action = "sample"'
            )


def _redact(settings: Settings, problems: Problems) -> None:
    _names("redact", [rule.name for rule in settings.redact], problems)
    for index, rule in enumerate(settings.redact):
        if not rule.pattern:
            problems.add(f"redact[{index}].pattern", "is an empty pattern, which matches everywhere")


def _names(section: str, names: list[str], problems: Problems) -> None:
    for name in twice(names):
        index = len(names) - 1 - names[::-1].index(name)
        problems.add(f"{section}[{index}].name", f"{show(name)} names two rules; counters tell rules apart by name")
    for index, name in enumerate(names):
        if not name.strip():
            problems.add(f"{section}[{index}].name", "is empty; counters name the rule by it")


def _paths(settings: Settings, problems: Problems) -> None:
    """A field is decoded once: as a whole value, or as the object that holds others."""
    first: dict[tuple[str, ...], str] = {}
    for key, path in _all_paths(settings):
        parts = tuple(path.split("."))
        if not all(parts):
            problems.add(key, f"{show(path)} is no path of a field: parts with a dot between, none of them empty")
        else:
            first.setdefault(parts, key)
    # In sorted order, a path stands right before the ones that begin with it, with none between but such ones.
    for parts, longer in pairwise(sorted(first)):
        if longer[: len(parts)] == parts:
            problems.contradict(
                (first[parts], ".".join(parts)),
                (first[longer], ".".join(longer)),
                "one reads the field as a value, the other as an object that holds it; take the inner fields of both",
            )


def _all_paths(settings: Settings) -> Iterator[tuple[str, str]]:
    tables: Iterable[tuple[str, Paths]] = (
        *((f"labels.{name}", paths) for name, paths in settings.labels.fields.items()),
        *((f"structured_metadata.{name}", paths) for name, paths in settings.structured_metadata.items()),
        ("timestamp.field", settings.timestamp.field),
        *((f"filters[{index}].field", rule.field) for index, rule in enumerate(settings.filters) if rule.field),
    )
    for key, paths in tables:
        for path in [paths] if isinstance(paths, str) else paths or [""]:
            yield key, path
