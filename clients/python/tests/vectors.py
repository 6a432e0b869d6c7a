"""The cases of clients/vectors, with the values that JSON does not have."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "records.json").read_text(encoding="utf-8")
)
_UNDEFINED = object()


class _StackedError(Exception):
    stack: str | None = None


def stack_of(error: BaseException) -> str | None:
    """The stack that the case gives an error."""
    assert isinstance(error, _StackedError)
    return error.stack


def record(case: dict[str, Any]) -> bytes:
    """The bytes that must be written."""
    pieces = case["record"]
    return "".join(map(value, [pieces] if isinstance(pieces, str) else pieces)).encode()


def value(written: Any) -> Any:  # noqa: ANN401, C901, PLR0911, PLR0912 - a table
    """A value of a case."""
    if isinstance(written, list):
        return [value(element) for element in written]
    if not isinstance(written, dict):
        return written
    match list(written.items()):
        case [("$date", text)]:
            return datetime.fromisoformat(text)
        case [("$int", text)]:
            return int(text)
        case [("$float", text)]:
            return float(text)
        case [("$bytes", number)]:
            return b"x" * number
        case [("$set", elements)]:
            return set(elements)
        case [("$map", pairs)]:
            return _Pairs((value(key), value(one)) for key, one in pairs)
        case [("$repeat", [text, times, *rest])]:
            return text * times + "".join(rest)
        case [("$items", number)]:
            return list(range(number))
        case [("$members", number)]:
            return {f"k{index}": index for index in range(number)}
        case [("$deep", number)]:
            return {"d": value({"$deep": number - 1})} if number else 1
        case [("$surrogate", _)]:
            return "a\ud800b"
        case [("$undefined", _)]:
            return _UNDEFINED
        case [("$raises", name)]:
            return type(name, (), {"__str__": lambda _: 1 / 0})()
        case [("$error", parts)]:
            return _error(value(parts) if parts.get("cause") != "self" else parts)
    return _members(written)


def _members(written: dict[str, Any]) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for name, one in written.items():
        made[name] = _tie(one, made)
    return {name: one for name, one in made.items() if one is not _UNDEFINED} if _UNDEFINED in made.values() else made


def _tie(written: Any, around: dict[Any, Any]) -> Any:  # noqa: ANN401
    if written == {"$circular": "self"}:
        return around
    if isinstance(written, list):
        return [_tie(one, around) for one in written]
    return value(written)


def _error(parts: dict[str, Any]) -> BaseException:
    error: BaseException = type(parts["type"], (_StackedError,), {"stack": parts.get("stack")})(parts["message"])
    if parts.get("cause"):
        error.__cause__ = error if parts["cause"] == "self" else parts["cause"]
    return error


class _Pairs(dict[Any, Any]):
    """A map: 1 and "1" are two of its keys."""
