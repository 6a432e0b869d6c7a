"""The layers of the configuration, as nested dicts: the file's tree, environment and `--set` laid over it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from shipper.config.problems import Problems
from shipper.config.secrets import is_secret
from shipper.settings import Settings

_PREFIX = "SHIPPER_"
_REFERENCE = re.compile(r"\$\{env:([^}]*)\}")
_CLIENT = ["kafka", "client"]
Tree = dict[str, Any]


class Untyped(str):
    """Text whose type is its target's: it came from the environment or the command line, not from TOML."""

    __slots__ = ()


def from_file(tree: Tree) -> Tree:
    """Return a parsed file with `[kafka.client]` flattened: `sasl.password` is one key there, quoted or not."""
    kafka = tree.get("kafka")
    if isinstance(kafka, dict) and isinstance(kafka.get("client"), dict):
        return {**tree, "kafka": {**kafka, "client": _flat(kafka["client"])}}
    return tree


def _flat(tree: Tree) -> Tree:
    flat: Tree = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update({f"{key}.{rest}": inner for rest, inner in _flat(value).items()})
        else:
            flat[key] = value
    return flat


def add_environment(tree: Tree, env: Mapping[str, str], problems: Problems) -> None:
    """Lay `SHIPPER_SECTION__KEY` over the tree; a name without `__`, such as SHIPPER_CONFIG, is no setting."""
    for name in sorted(env):
        if name.startswith(_PREFIX) and "__" in name:
            path = name.removeprefix(_PREFIX).lower().split("__")
            if path[:2] == _CLIENT:
                path = [*_CLIENT, _client_key("__".join(path[2:]))]
            _put(tree, path, env[name], f"environment variable {name}", problems)


def _client_key(name: str) -> str:
    """Return librdkafka's name: `sasl_password` is `sasl.password`; its one name with an underscore is log_level."""
    if name == "log_level":
        return name
    base = name.removesuffix("_file")
    return base.replace("_", ".") + name[len(base) :]


def add_overrides(tree: Tree, overrides: Sequence[str], problems: Problems) -> None:
    """Lay each `section.key=value` over the tree."""
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        path = key.split(".", 2 if key.startswith("kafka.client.") else -1)
        whole = key in {"filters", "redact"}
        if not equals or not all(path) or (len(path) == 1 and not whole):
            problems.places.note(key, "--set")
            problems.add(key, "wants the form section.key=value, such as kafka.group_id=shipper")
        elif is_secret(key) and not _REFERENCE.fullmatch(text):
            problems.places.note(key, "--set")
            problems.add(
                key,
                f"a secret on the command line can be read by everybody on the machine: give {key}_file=PATH, "
                f"or {key}='${{env:NAME}}'",
            )
        else:
            _put(tree, path, text, "--set", problems)


def _put(tree: Tree, path: list[str], text: str, place: str, problems: Problems) -> None:
    problems.places.note(".".join(path), place)
    _keep_defaults(tree, path)
    for part in path[:-1]:
        inner = tree.setdefault(part, {})
        if not isinstance(inner, dict):  # the file has something else there, which is reported with its own place
            return
        tree = inner
    tree[path[-1]] = Untyped(text)


def _keep_defaults(tree: Tree, path: list[str]) -> None:
    """See that one name more in a table of names adds to the defaults; a table in the file replaces them."""
    defaults = Settings()
    if path[0] == "structured_metadata":
        tree.setdefault("structured_metadata", dict(defaults.structured_metadata))
    if path[0] == "labels" and path[1] != "static":
        labels = tree.setdefault("labels", {})
        if isinstance(labels, dict) and labels.keys() <= {"static"}:
            labels.update(defaults.labels.fields)


def expand(tree: Tree, env: Mapping[str, str], problems: Problems) -> Tree:
    """Return the tree with every `${env:NAME}` in a string replaced by that variable's value."""

    def expanded(value: object, key: str) -> object:
        match value:
            case dict():
                return {name: expanded(inner, f"{key}.{name}" if key else name) for name, inner in value.items()}
            case list():
                return [expanded(inner, f"{key}[{index}]") for index, inner in enumerate(value)]
            case str() if names := _REFERENCE.findall(value):
                for name in names:
                    if name not in env:
                        problems.add(key, f"names the environment variable {name}, which is not set")
                return Untyped(_REFERENCE.sub(lambda found: env.get(found[1], ""), value))
        return value

    return {name: expanded(value, name) for name, value in tree.items()}
