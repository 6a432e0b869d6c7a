"""A column of timestamps, in any of the known forms → nanoseconds since the epoch, and how fine they are.

RFC 3339 texts of one length are parsed together: their bytes are a matrix, and each digit position is a column of it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from shipper.records import Bools, Int64s

Format = Literal["rfc3339", "epoch"]

SECONDS_END = 9_223_372_036
"""Timestamps from 1970 up to this second (in the year 2262) fit into int64 nanoseconds; others are unreadable."""

NS_PER_S = 1_000_000_000
_UNREADABLE = -1
_UNITS_NS = 10 ** np.arange(10)
_EPOCH_UNITS = ((10**11, 0), (10**14, 3), (10**17, 6), (2**63, 9))
"""An epoch number below the bound counts units of 10^-digits seconds."""

# Positions in "YYYY-MM-DDThh:mm:ss".
_DIGITS = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18]
_SECONDS_WIDTH = 19
_LENGTH_MAX = 64  # longer texts are no timestamps; bounds how many lengths are looked at


def parse(column: Sequence[object], formats: Sequence[Format]) -> tuple[Int64s, Int64s]:
    """Parse a column of decoded JSON values.

    Args:
        column: texts, numbers, or anything else (which is unreadable).
        formats: the forms to look for: RFC 3339 texts; epoch numbers (or texts of digits) by magnitude.

    Returns: nanoseconds since the epoch, and how many decimal digits of the second are known (0 to 9); where a value
        is unreadable, 0 and -1.
    """
    ns = np.zeros(len(column), np.int64)
    digits = np.full(len(column), _UNREADABLE, np.int64)
    kinds = list(map(type, column))
    if "rfc3339" in formats:
        _fill(column, _rows_of(str, kinds, range(len(column))), ns, digits, _parse_rfc3339)
    if "epoch" in formats:
        left = np.flatnonzero(digits == _UNREADABLE).tolist()
        _fill(column, _rows_of(str, kinds, left), ns, digits, _parse_epoch_texts)
        _fill(column, _rows_of(int, kinds, left), ns, digits, _parse_epoch_integers)
        _fill(column, _rows_of(float, kinds, left), ns, digits, _parse_epoch_floats)
    return ns, digits


def resolve(ns: Int64s, digits: Int64s, offsets: Int64s) -> Int64s:
    """Fill the unknown digits of timestamps from the records' offsets.

    Order inside a millisecond is kept, two equal lines stay two, and a second sending is identical to the first.
    """
    return np.asarray(ns + offsets % _UNITS_NS[9 - digits], np.int64)


def _rows_of(kind: type, kinds: list[type], rows: Sequence[int]) -> Sequence[int]:
    """Return those rows whose value is exactly of the type (a bool is no int); nearly always all of them, or none."""
    if kinds.count(kind) == len(kinds):
        return rows
    return [row for row in rows if kinds[row] is kind]


def _fill(
    column: Sequence[Any],
    rows: Sequence[int],
    ns: Int64s,
    digits: Int64s,
    parse_some: Callable[[Sequence[Any]], tuple[Int64s, Int64s]],
) -> None:
    """Parse the chosen rows and put what comes out into `ns` and `digits`."""
    if len(rows) == len(column):
        ns[:], digits[:] = parse_some(column)
    elif rows:
        at = np.array(rows)
        ns[at], digits[at] = parse_some([column[row] for row in rows])


def _parse_rfc3339(texts: Sequence[str]) -> tuple[Int64s, Int64s]:
    lengths = list(map(len, texts))
    ns = np.zeros(len(texts), np.int64)
    digits = np.full(len(texts), _UNREADABLE, np.int64)
    for length in set(lengths):
        if _SECONDS_WIDTH < length <= _LENGTH_MAX:
            if lengths.count(length) == len(texts):  # nearly always: one logger, one form
                return _parse_equally_long(texts, length)
            rows = np.flatnonzero(np.equal(lengths, length))
            ns[rows], digits[rows] = _parse_equally_long([texts[row] for row in rows.tolist()], length)
    return ns, digits


def _parse_equally_long(texts: Sequence[str], length: int) -> tuple[Int64s, Int64s]:
    # One byte a character, "?" for what is no ASCII; transposed, so that a position is a contiguous column.
    matrix = np.frombuffer("".join(texts).encode("ascii", "replace"), np.uint8).reshape(len(texts), length)
    return _parse_matrix(np.ascontiguousarray(matrix.T))


def _parse_matrix(characters: npt.NDArray[np.uint8]) -> tuple[Int64s, Int64s]:
    """Parse texts of one length.

    Args:
        characters: uint8 (length, n); row i holds the i-th character of every text.
    """
    length = len(characters)
    numbers = characters - ord("0")  # wraps for what is no digit, and is then over 9
    seconds, ok = _parse_seconds(characters, numbers)
    ns = np.zeros_like(seconds)
    digits = np.full_like(seconds, _UNREADABLE)
    zulu = (characters[-1] | 0x20) == ord("z")
    for zone_width, in_zone in ((1, zulu), (6, ~zulu)):
        fraction = range(_SECONDS_WIDTH + 1, length - zone_width)
        if length - zone_width < _SECONDS_WIDTH or len(fraction) == 0 != length - zone_width - _SECONDS_WIDTH:
            continue
        fits = ok & in_zone
        offset_s = np.zeros_like(seconds)
        if zone_width > 1:
            offset_s, zone_ok = _parse_zone(characters[-6:], numbers[-6:])
            fits &= zone_ok
        nanoseconds = np.zeros_like(seconds)
        if fraction:
            fits &= (characters[_SECONDS_WIDTH] == ord(".")) & (numbers[fraction.start : fraction.stop] < 10).all(
                axis=0
            )
            for power, position in zip(range(8, -1, -1), fraction, strict=False):
                nanoseconds += numbers[position].astype(np.int64) * 10**power
        utc_s = seconds - offset_s
        fits &= (utc_s >= 0) & (utc_s < SECONDS_END)
        ns[fits] = utc_s[fits] * NS_PER_S + nanoseconds[fits]
        digits[fits] = min(len(fraction), 9)
    return ns, digits


def _parse_seconds(characters: npt.NDArray[np.uint8], numbers: npt.NDArray[np.uint8]) -> tuple[Int64s, Bools]:
    """Parse `YYYY-MM-DDThh:mm:ss`: seconds since the epoch as if in UTC, and which rows are valid."""
    ok = (numbers[_DIGITS] < 10).all(axis=0)
    ok &= (characters[4] == ord("-")) & (characters[7] == ord("-"))
    ok &= (characters[13] == ord(":")) & (characters[16] == ord(":"))
    ok &= ((characters[10] | 0x20) == ord("t")) | (characters[10] == ord(" "))
    year = _two(numbers, 0) * 100 + _two(numbers, 2)
    month, day, hour, minute, second = (_two(numbers, position) for position in (5, 8, 11, 14, 17))
    ok &= (month >= 1) & (month <= 12) & (hour < 24) & (minute < 60) & (second < 60)
    months = np.where(ok, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    first_day, next_first_day = (
        m.astype("datetime64[D]").astype(np.int64) for m in (months, months + np.timedelta64(1, "M"))
    )
    ok &= (day >= 1) & (day <= next_first_day - first_day)
    return (first_day + day - 1) * 86_400 + hour * 3_600 + minute * 60 + second, ok


def _parse_zone(characters: npt.NDArray[np.uint8], numbers: npt.NDArray[np.uint8]) -> tuple[Int64s, Bools]:
    """Parse `±hh:mm`: the offset from UTC in seconds, and which rows are valid."""
    hour, minute = _two(numbers, 1), _two(numbers, 4)
    ok = (numbers[[1, 2, 4, 5]] < 10).all(axis=0) & (characters[3] == ord(":")) & (hour < 24) & (minute < 60)
    west = characters[0] == ord("-")
    ok &= west | (characters[0] == ord("+"))
    return np.where(west, -1, 1) * (hour * 3_600 + minute * 60), ok


def _two(numbers: npt.NDArray[np.uint8], position: int) -> Int64s:
    """The number that two digits make."""
    return np.asarray(numbers[position] * np.uint8(10) + numbers[position + 1], np.int64)


def _parse_epoch_texts(texts: Sequence[str]) -> tuple[Int64s, Int64s]:
    column = pl.Series(texts, dtype=pl.String)
    ns = np.zeros(len(texts), np.int64)
    digits = np.full(len(texts), _UNREADABLE, np.int64)
    whole = column.str.contains(r"^-?[0-9]{1,19}$").arg_true().to_list()
    _fill(texts, whole, ns, digits, lambda some: _parse_epoch_integers([int(text) for text in some]))
    fractional = column.str.contains(r"^-?[0-9]{1,19}\.[0-9]+$").arg_true().to_list()
    _fill(texts, fractional, ns, digits, lambda some: _parse_epoch_floats([float(text) for text in some]))
    return ns, digits


def _parse_epoch_integers(integers: Sequence[int]) -> tuple[Int64s, Int64s]:
    # What 64 bits cannot hold is unreadable, like what is negative.
    values = np.array([value if -1 < value < 2**63 else -1 for value in integers], np.int64)
    ns = np.zeros(len(values), np.int64)
    digits = np.full(len(values), _UNREADABLE, np.int64)
    floor = 0
    for bound, known in _EPOCH_UNITS:
        fits = (values >= floor) & (values <= bound - 1) & (values // 10**known < SECONDS_END)
        ns[fits] = values[fits] * 10 ** (9 - known)
        digits[fits] = known
        floor = bound
    return ns, digits


def _parse_epoch_floats(floats: Sequence[float]) -> tuple[Int64s, Int64s]:
    # A double of seconds or milliseconds is good to the microsecond; finer units have no fraction worth keeping.
    values = np.array(floats, np.float64)
    ns = np.zeros(len(values), np.int64)
    digits = np.full(len(values), _UNREADABLE, np.int64)
    floor = 0.0
    for bound, known in _EPOCH_UNITS:
        shown = max(known, 6)
        fits = (values >= floor) & (values < bound) & (values / 10**known < SECONDS_END)
        units = values[fits] * 10 ** (shown - known)
        ns[fits] = (np.rint(units) if known < shown else np.trunc(units)).astype(np.int64) * 10 ** (9 - shown)
        digits[fits] = shown
        floor = float(bound)
    return ns, digits
