"""What values of any kind are written as: docs/log-format.md, "Values", line by line."""

import contextlib
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, TypeAlias, cast

import orjson

from servicelog.redact import REDACTED, Redaction, is_card

TEXT_CHARS_MAX: Final = 8_192
STACK_CHARS_MAX: Final = 16_384
MEMBER_CHARS_MAX: Final = 1_024
_VALUES_MAX: Final = 10_000
_ELEMENTS_MAX: Final = 100
_LEVELS_MAX: Final = 12
_CAUSES_MAX: Final = 8

_SAFE_INTEGER: Final = 2**53 - 1
_CARD_MIN: Final = 10**12
# Between these, orjson writes a number that is no integer as ECMAScript does: without an exponent.
_PLAIN_MIN, _PLAIN_MAX = 1e-4, 1e15
_POINT_DIGITS_MAX, _POINT_ZEROS_MAX = 21, 6  # beyond which ECMAScript writes an exponent

_MORE: Final = "…"
# What a value is written as: of what orjson writes, or a Fragment.
Json = Any
StackOf = Callable[[BaseException], str | None]
# The names on the way to a value, nearest first: `("b", ("a", ("metadata", None)))`.
Path: TypeAlias = tuple[str, "Path | None"]


def cut(text: str, chars_max: int) -> str:
    """A text of at most so many code points, and a mark that says how many are missing."""
    return text if len(text) <= chars_max else f"{text[:chars_max]}{_MORE}[+{len(text) - chars_max} chars]"


def date_text(date: datetime) -> str:
    """RFC 3339 in UTC with milliseconds; what has no zone is taken as UTC."""
    utc = date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    return utc.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def error_of(value: object) -> BaseException | None:
    """The value if it is an error; it is not asked for its class, since its answer may be an exception."""
    return cast("BaseException", value) if issubclass(type(value), BaseException) else None


class Values:
    """Writes the values of one record; holds what was counted, and the first problem."""

    def __init__(self, redaction: Redaction, stack_of: StackOf) -> None:
        self._redaction = redaction
        self._stack_of = stack_of
        self._written = 0
        self._around: list[int] = []
        self.problem: str | None = None

    def text(self, text: str, chars_max: int = TEXT_CHARS_MAX) -> str:
        """A text: whole, without secrets, cut."""
        known = self._redaction.seen.get(text)
        if known is not None:
            return known
        if not text.isascii():
            text = _whole(text)
        return cut(self._redaction.text(text), chars_max)

    def number(self, value: object) -> Json | None:
        """A value that is written as a JSON number, or None if it is not."""
        kind = type(value)
        if kind is bool or not issubclass(kind, int | float):
            return None
        number: Any = value
        json = _integer(int.__int__(number)) if issubclass(kind, int) else _float(float.__float__(number))
        return None if isinstance(json, str) else json

    def as_text(self, name: str, value: object, chars_max: int) -> str:
        """The text of a member that is a text, whatever its value is."""
        if type(value) is str:
            return self.text(value, chars_max)
        if issubclass(type(value), str):
            return self.text(str.__str__(value), chars_max)
        counted, self._written = self._written, 0
        json = self._value(value, (name, None))
        self._written = counted
        return self.text(json if isinstance(json, str) else orjson.dumps(json).decode(), chars_max)

    def error(self, error: BaseException, path: Path = ("error", None)) -> dict[str, Json]:
        """An error, and its causes, nearest first."""
        written = self._one_error(error, path)
        known = {id(error)}
        causes: list[dict[str, Json]] = []
        cause = _cause(error)
        while cause is not None and id(cause) not in known and len(causes) < _CAUSES_MAX:
            known.add(id(cause))
            causes.append(self._one_error(cause, (str(len(causes)), ("causes", path))))
            cause = _cause(cause)
        return {**written, "causes": causes} if causes else written

    def _one_error(self, error: BaseException, path: Path) -> dict[str, Json]:
        written = {
            "type": self.text(_type_name(error), MEMBER_CHARS_MAX),
            "message": self.text(self._str(error, ("message", path))),
        }
        try:
            stack = self._stack_of(error)
        except Exception:  # noqa: BLE001 - the same
            stack = None
        return written if stack is None else {**written, "stack": self.text(stack, STACK_CHARS_MAX)}

    def _value(self, value: object, path: Path) -> Json:  # noqa: PLR0911 - a table, line by line
        self._written += 1
        if self._written > _VALUES_MAX:
            return "[too many]"
        kind = type(value)
        if kind is str:
            return self.text(value)  # type: ignore[arg-type]
        if value is None or kind is bool:
            return value
        if kind is int:
            return _integer(value)  # type: ignore[arg-type]
        if kind is float:
            return _float(value)  # type: ignore[arg-type]
        try:
            return self._other(value, path)
        except Exception:  # noqa: BLE001 - the code of others: whatever it raises, the service goes on
            return self._unserialisable(value, path)

    def _other(self, value: object, path: Path) -> Json:  # noqa: PLR0911 - the rest of the table
        if (error := error_of(value)) is not None:
            return "[too deep]" if len(self._around) == _LEVELS_MAX else self.error(error, path)
        match value:
            case str():
                return self.text(str.__str__(value))
            case int():
                return _integer(int.__int__(value))
            case float():
                return _float(float.__float__(value))
            case datetime():
                return date_text(value)
            case bytes() | bytearray():
                return f"[{len(value)} bytes]"
            case memoryview():
                return f"[{value.nbytes} bytes]"
            case Mapping() | list() | tuple() | AbstractSet():
                return self._container(value, path)
        return self.text(self._str(value, path))

    def _container(self, value: Mapping[object, object] | Collection[object], path: Path) -> Json:
        if id(value) in self._around:
            return "[circular]"
        if len(self._around) == _LEVELS_MAX:
            return "[too deep]"
        self._around.append(id(value))
        try:
            if isinstance(value, Mapping):
                return self.members(value.items(), len(value), path)
            elements = [
                self._value(element, (str(index), path)) for index, element in enumerate(islice(value, _ELEMENTS_MAX))
            ]
            if isinstance(value, AbstractSet):
                elements.sort(key=orjson.dumps)
            if len(value) > _ELEMENTS_MAX:
                elements.append(f"[+{len(value) - _ELEMENTS_MAX} items]")
            return elements
        finally:
            self._around.pop()

    def members(self, items: Iterable[tuple[object, object]], number: int, path: Path) -> dict[str, Json]:
        """The members of an object."""
        written: dict[str, Json] = {}
        for name, value in islice(items, _ELEMENTS_MAX):
            raw = name if type(name) is str else self._name(name, path)
            text = self.text(raw)
            written[text] = REDACTED if self._redaction.is_secret(raw) else self._value(value, (text, path))
        if number > _ELEMENTS_MAX:
            written[_MORE] = f"[+{number - _ELEMENTS_MAX} members]"
        return written

    def _name(self, name: object, path: Path) -> str:
        if isinstance(name, str):
            return str.__str__(name)
        if isinstance(name, datetime):
            return date_text(name)
        if name is None or isinstance(name, int | float):
            json = name if name is None or isinstance(name, bool) else self.number(name)
            return orjson.dumps(json).decode() if json is not None or name is None else str(name)
        return self._str(name, path)

    def _str(self, value: object, path: Path) -> str:
        try:
            return str.__str__(str(value))  # not of a class of its own
        except Exception:  # noqa: BLE001 - the same
            return self._unserialisable(value, path)

    def _unserialisable(self, value: object, path: Path) -> str:
        if self.problem is None:
            names: list[str] = []
            rest: Path | None = path
            while rest is not None:
                names.append(rest[0])
                rest = rest[1]
            self.problem = f"{'.'.join(reversed(names))} could not be serialised"
        return self.text(f"[unserialisable {_type_name(value)}]")


def _type_name(value: object) -> str:
    try:
        return str.__str__(type(value).__name__)
    except Exception:  # noqa: BLE001 - the same: of a metaclass
        return "object"


def _cause(error: BaseException) -> BaseException | None:
    with contextlib.suppress(Exception):  # the same: of an exception that allows no question
        cause = error.__cause__
        return error.__context__ if cause is None and not error.__suppress_context__ else cause
    return None


def _whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _integer(value: int) -> Json:
    if -_CARD_MIN < value < _CARD_MIN:
        return value
    digits = _digits(value)
    if is_card(digits):
        return REDACTED
    return value if -_SAFE_INTEGER <= value <= _SAFE_INTEGER else cut(digits, TEXT_CHARS_MAX)


def _digits(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # more digits than `sys.get_int_max_str_digits()` allows: they take quadratic time
        return f"[integer of {value.bit_length()} bits]"


def _float(value: float) -> Json:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value.is_integer() and -_SAFE_INTEGER <= value <= _SAFE_INTEGER:
        return _integer(int(value))
    if _PLAIN_MIN <= abs(value) < _PLAIN_MAX:
        return value
    text = _number_text(value)
    return REDACTED if is_card(text) else orjson.Fragment(text)


def _number_text(value: float) -> str:
    """ECMAScript's `Number::toString`: the shortest digits that are read back the same, as Python's `repr` has them."""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    leading = len(whole + fraction) - len(digits)
    point = len(whole) - leading + int(exponent or 0)
    digits = digits.rstrip("0")
    sign = "-" if value < 0 else ""
    if len(digits) <= point <= _POINT_DIGITS_MAX:
        return sign + digits.ljust(point, "0")
    if 0 < point <= _POINT_DIGITS_MAX:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -_POINT_ZEROS_MAX < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{fraction}e{point - 1:+d}"
