"""From nested dicts to typed settings: unknown keys with their nearest known one, wrong types with what is wanted."""

import difflib
import tomllib
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, get_args, get_origin

import msgspec
from msgspec import Struct, inspect

from shipper.config.layers import Tree, Untyped
from shipper.config.problems import Problems, show
from shipper.config.secrets import is_secret
from shipper.settings import Labels, Paths, Secret, Settings

T = TypeVar("T", bound=Struct)


def settings(tree: Tree, problems: Problems) -> Settings:
    """Return the settings that the tree holds; what is wrong with it goes to `problems`."""
    return _struct(Settings, tree, "", problems) or Settings()


def _struct(kind: type[T], tree: Tree, key: str, problems: Problems) -> T | None:
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    values = {}
    for name, value in tree.items():
        inner = f"{key}.{name}" if key else name
        problems.places.inherit(inner)
        if name not in fields:
            problems.add(inner, _unknown(name, key, fields))
        else:
            values[name] = _value(fields[name].type, value, inner, problems)
    missing = [name for name, field in fields.items() if field.required and name not in tree]
    for name in missing:
        problems.add(key, f"{name} is missing; it must be given")
    return None if missing else kind(**values)


def _value(kind: Any, value: object, key: str, problems: Problems) -> Any:  # noqa: ANN401 - as many types as settings
    if isinstance(value, Untyped):
        value = _typed(kind, value)
    if _is_struct(kind) or get_origin(kind) is dict:
        if isinstance(value, dict):
            return _section(kind, value, key, problems)
        problems.add(key, f"is a section, written [{key}], not {_given(value)}")
        return None
    if get_origin(kind) is list and _is_struct(get_args(kind)[0]):
        if isinstance(value, list) and all(isinstance(item, dict) for item in value):
            return [_struct(get_args(kind)[0], item, f"{key}[{index}]", problems) for index, item in enumerate(value)]
        problems.add(key, f"is a list of tables, each written [[{key}]], not {_given(value)}")
        return None
    return _leaf(kind, value, key, problems)


def _section(kind: Any, tree: Tree, key: str, problems: Problems) -> Any:  # noqa: ANN401 - as above
    if kind is Labels:
        return _labels(tree, key, problems)
    if _is_struct(kind):
        return _struct(kind, tree, key, problems)
    return {name: _value(get_args(kind)[1], value, f"{key}.{name}", problems) for name, value in tree.items()}


def _labels(tree: Tree, key: str, problems: Problems) -> Labels:
    """`[labels]` holds label names beside the table `static`, so its keys are no fields of a struct."""
    fields = {name: value for name, value in tree.items() if name != "static"}
    values = {}
    if fields:
        values["fields"] = _value(dict[str, Paths], fields, key, problems)
    if "static" in tree:
        values["static"] = _value(dict[str, str], tree["static"], f"{key}.static", problems)
    return Labels(**values)


def _leaf(kind: Any, value: object, key: str, problems: Problems) -> Any:  # noqa: ANN401 - as above
    try:
        converted = msgspec.convert(value, kind, dec_hook=_secret)
    except msgspec.ValidationError:
        given = f"a value of type {type(value).__name__}" if is_secret(key) else _given(value)
        problems.add(key, f"wants {_wanted(inspect.type_info(kind))}, not {given}")
        return None
    return converted


def _secret(_: type, value: object) -> Secret:
    if not isinstance(value, str):
        raise TypeError
    return Secret(value)


def _typed(kind: Any, text: str) -> object:  # noqa: ANN401 - as above
    """Return text from outside TOML as the value that its target asks for; nonsense is left to be refused later."""
    wants_list = get_origin(kind) is list or kind == Paths
    if (kind == Paths or wants_list) and not text.startswith("["):
        parts = [part.strip() for part in text.split(",")]
        return parts[0] if kind == Paths and len(parts) == 1 else parts
    if not wants_list and _takes_text(kind):
        return str(text)
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return str(text)


def _takes_text(kind: Any) -> bool:  # noqa: ANN401 - as above
    if isinstance(kind, type) and issubclass(kind, str):
        return True
    return any(isinstance(item, inspect.StrType | inspect.LiteralType) for item in _alternatives(kind))


def _alternatives(kind: Any) -> Iterable[inspect.Type]:  # noqa: ANN401 - as above
    found = inspect.type_info(kind)
    return found.types if isinstance(found, inspect.UnionType) else (found,)


def _is_struct(kind: Any) -> bool:  # noqa: ANN401 - as above
    return isinstance(kind, type) and issubclass(kind, Struct)


def _unknown(name: str, section: str, known: Iterable[str]) -> str:
    what = "unknown key" if section else "unknown section"
    prefix = f"{section}." if section else ""
    elsewhere = {full.rpartition(".")[2]: full for full in known_keys(Settings, "")}
    here = {key: prefix + key for key in known}
    for candidates, likeness in ((here, 0.85), (elsewhere, 1.0), (here, 0.6), (elsewhere, 0.6)):
        if near := difflib.get_close_matches(name, candidates, n=1, cutoff=likeness):
            return f"{what}; the nearest known one is {candidates[near[0]]}"
    return f"{what}; known are {', '.join(prefix + key for key in known)}"


def known_keys(kind: type[Struct], section: str) -> Iterator[str]:
    """Yield the full name of every key of a section and of its inner sections, the sections themselves included."""
    for field in msgspec.structs.fields(kind):
        full = f"{section}.{field.name}" if section else field.name
        yield full
        if _is_struct(field.type) and field.type is not Labels:
            yield from known_keys(field.type, full)


def _given(value: object) -> str:
    match value:
        case dict():
            return "a table"
        case list():
            return f"the list {show(value)}"
        case str():
            return f"the text {show(value)}"
    return show(value)


def _wanted(kind: inspect.Type) -> str:
    words = "a text in quotes"
    match kind:
        case inspect.IntType():
            words = f"a whole number{_bounds(kind)}"
        case inspect.FloatType():
            words = f"a number{_bounds(kind)}"
        case inspect.BoolType():
            words = "true or false"
        case inspect.LiteralType():
            words = "one of " + ", ".join(show(value) for value in kind.values)
        case inspect.ListType():
            words = f"a list in brackets, each of it {_wanted(kind.item_type)}"
        case inspect.UnionType():
            words = " or ".join(_wanted(item) for item in kind.types if not isinstance(item, inspect.NoneType))
    return words


def _bounds(kind: inspect.IntType | inspect.FloatType) -> str:
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    given = [f"{word} {getattr(kind, name)}" for name, word in words.items() if getattr(kind, name) is not None]
    return f" of {' and '.join(given)}" if given else ""
