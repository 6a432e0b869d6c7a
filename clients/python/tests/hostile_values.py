"""Values that do harm to whoever looks at them: each raises, lies or never ends, in the way that its name says."""

# ruff: noqa: ANN401 - these stand in for anything

import datetime as dt
import enum
from collections.abc import Iterator, Mapping
from typing import Any


class HarmError(Exception):
    """What hostile values raise."""


def _raising(*names: str, **members: Any) -> Any:
    def harm(*_: object, **__: object) -> Any:
        raise HarmError

    return type("Hostile", (), {**dict.fromkeys(names, harm), **members})()


class _NoClass:
    @property  # type: ignore[misc] # it harms
    def __class__(self) -> Any:
        raise HarmError


class _Attributes:
    def __getattribute__(self, name: str) -> Any:
        raise HarmError


class _Mapping(Mapping[str, object]):
    def __getitem__(self, name: str) -> object:
        raise HarmError

    def __iter__(self) -> Iterator[str]:
        return iter("ab")

    def __len__(self) -> int:
        return 2


class _Length(list[int]):
    def __len__(self) -> int:
        raise HarmError


class _Endless(list[int]):
    def __iter__(self) -> Iterator[int]:
        while True:
            yield 1


class _Zone(dt.tzinfo):
    def utcoffset(self, _: dt.datetime | None) -> Any:
        raise HarmError

    dst = tzname = utcoffset


class _Text(str):
    __slots__ = ()

    def _harm(self, *_: object, **__: object) -> Any:
        raise HarmError

    __str__ = __len__ = __hash__ = lower = encode = isascii = translate = _harm


class _Number(int):
    __str__ = __int__ = __index__ = __neg__ = __lt__ = lambda *_: 1 / 0  # type: ignore[assignment]


class _Meta(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise HarmError


class _Nameless(metaclass=_Meta):
    def __str__(self) -> str:
        raise HarmError


class BrokenError(Exception):
    """An exception that cannot be told."""

    def __str__(self) -> str:
        raise HarmError

    __repr__ = __str__


class _SilentError(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise HarmError


class _NoTruthError(Exception):
    __bool__ = __len__ = __eq__ = __hash__ = lambda *_: 1 / 0  # type: ignore[assignment]


class _Recursive:
    def __str__(self) -> str:
        return f"{self}"


class _Enum(enum.Enum):
    ONE = 1

    def __str__(self) -> str:
        raise HarmError


def _released() -> memoryview:
    view = memoryview(b"abc")
    view.release()
    return view


def _raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except Exception:  # noqa: BLE001 - it is what was raised
        return error


ERRORS: dict[str, Exception] = {
    "cannot be told": _raised(BrokenError()),
    "allows no question": _raised(_SilentError("s")),
    "neither true nor equal": _raised(_NoTruthError("n")),
    "its cause cannot be told": _raised(ValueError("v"), BrokenError()),
    "its cause allows no question": _raised(ValueError("v"), _SilentError("s")),
    "its cause is neither true nor equal": _raised(ValueError("v"), _NoTruthError("n")),
}


TOLD: dict[str, Any] = {
    "a text that cannot be made": _raising("__str__"),
    "a text that is none": _raising(__str__=lambda _: 7),
    "a text that never ends": _Recursive(),
    "no attribute": _Attributes(),
    "a class that cannot be asked for": _NoClass(),
    "a mapping whose members cannot be had": _Mapping(),
    "a length that cannot be had": _Length([1]),
    "a zone without an offset": dt.datetime(2026, 1, 1, tzinfo=_Zone()),
    "a type without a name": _Nameless(),
    "an error that cannot be told": BrokenError(),
    "a constant that cannot be told": _Enum.ONE,
    "a view that was released": _released(),
    "a time before the first": dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=14))),
}
"""Of these the record must say that they could not be serialised."""

TAKEN: dict[str, Any] = {
    "a text of a class of its own": _Text("text"),
    "an integer of a class of its own": _Number(7),
    "a list without an end": _Endless([1]),
    "no hash, no comparison": _raising("__hash__", "__eq__", "__bool__"),
    "a lone surrogate": "a\ud800",
}
"""These are written all the same."""
