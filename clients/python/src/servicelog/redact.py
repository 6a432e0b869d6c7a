"""What must not leave the process: by the names of members, and by patterns in texts.

The rules are docs/log-format.md's, "Redaction", in its order. Every expression takes time in proportion to the text,
and is tried only where a cheap look says that it may match: most texts are looked at and left.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

REDACTED: Final = "[redacted]"

_ENDINGS: Final = (
    *("password", "passwd", "passphrase", "secret", "token", "apikey", "privatekey", "accesskey", "authorization"),
    *("cookie", "credentials", "cardnumber"),
)
_WHOLE: Final = frozenset({"pwd", "pin", "otp", "cvv", "cvc", "ssn", "jwt", "auth", "sessionid"})
_BETWEEN_WORDS: Final = str.maketrans("", "", "_-. ")

_JWT: Final = re.compile(
    r"(?<![A-Za-z0-9_-])(?=[A-Za-z0-9_-]*eyJ)[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*", re.ASCII
)
_CREDENTIALS: Final = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.ASCII | re.IGNORECASE)
_ADDRESS: Final = re.compile(r"://[^/\s:@]*:[^/\s@]+@", re.ASCII)
_NAMES: Final = "(?:password|passwd|secret|token|api_?key)"
_QUOTED: Final = re.compile(rf"({_NAMES}[\"']?\s*[=:]\s*)(?:(\")[^\"]+|(')[^']+)", re.ASCII | re.IGNORECASE)
_ASSIGNED: Final = re.compile(rf"({_NAMES}=)[^&\s\"']+", re.ASCII | re.IGNORECASE)
_HEX: Final = "[0-9A-Fa-f]"
_UUID: Final = rf"{_HEX}{{8}}-{_HEX}{{4}}-[1-8]{_HEX}{{3}}-[89ABab]{_HEX}{{3}}-{_HEX}{{12}}"
_ID: Final = rf"(?:{_UUID}|(?=[0-9]{{0,31}}[A-Fa-f]){_HEX}{{32}})(?![0-9A-Za-z])"
_RUN: Final = re.compile(r"[0-9](?:[ -]?[0-9]){12}", re.ASCII)
_RUN_OR_ID: Final = re.compile(rf"(?<![0-9A-Za-z]){_ID}|([0-9](?:(?:[ -](?!{_ID}))?[0-9]){{12,}})", re.ASCII)
_GROUP: Final = re.compile(r"[0-9]+", re.ASCII)
_EMAIL: Final = re.compile(r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}", re.ASCII)

_CARD_DIGITS_MIN, _CARD_DIGITS_MAX = 13, 19
_SECRET_CHARS_MIN: Final = 7  # `token=x`: no text that is shorter is looked at
_KEPT_CHARS_MAX, _KEPT_TEXTS = 64, 4_096


_Known = TypeVar("_Known", str, bool)


class Redaction:
    """Takes secrets out; remembers short texts and names that it has seen."""

    def __init__(self, names: Iterable[str] = (), *, emails: bool = False) -> None:
        added = tuple(filter(None, (_compared(name) for name in names)))
        self._endings = (*_ENDINGS, *added)
        self._emails = emails
        self.seen: dict[str, str] = {}
        """Short texts, as they come, and without their secrets; those that came lately."""
        self._secret: dict[str, bool] = {}

    def is_secret(self, name: str) -> bool:
        """Whether the value of a member of this name is a secret."""
        known = self._secret.get(name)
        if known is None:
            compared = _compared(name)
            known = compared.endswith(self._endings) or compared in _WHOLE
            _remember(self._secret, name, known)
        return known

    def text(self, text: str) -> str:
        """The text without its secrets."""
        if len(text) < _SECRET_CHARS_MIN and not self._emails:
            return text
        known = self._redacted(text)
        _remember(self.seen, text, known)
        return known

    def _redacted(self, text: str) -> str:
        lower = text.lower()
        if "eyJ" in text:
            text = _JWT.sub(REDACTED, text)
        if "bearer" in lower or "basic" in lower:
            text = _CREDENTIALS.sub(rf"\1 {REDACTED}", text)
        if "://" in text:
            text = _ADDRESS.sub(f"://{REDACTED}@", text)
        if ("=" in text or ":" in text) and any(word in lower for word in ("passw", "secret", "token", "key")):
            text = _QUOTED.sub(rf"\1\2\3{REDACTED}", text)
            text = _ASSIGNED.sub(rf"\1{REDACTED}", text)
        if len(text) >= _CARD_DIGITS_MIN and _RUN.search(text):
            text = _RUN_OR_ID.sub(lambda found: _without_cards(found[1]) if found[1] else found[0], text)
        if self._emails and "@" in text:
            text = _EMAIL.sub(REDACTED, text)
        return text


def is_card(digits: str) -> bool:
    """Whether a text, as a whole, is a card's number without spaces."""
    return (
        _CARD_DIGITS_MIN <= len(digits) <= _CARD_DIGITS_MAX
        and digits.isascii()
        and digits.isdigit()
        and next(_cards(digits), None) == (0, len(digits))
    )


def _without_cards(run: str) -> str:
    kept, position = "", 0
    for start, end in _cards(run):
        kept += run[position:start] + REDACTED
        position = end
    return kept + run[position:]


def _cards(run: str) -> Iterator[tuple[int, int]]:
    """Where card numbers stand in a run of groups of digits: from the left, the longest first, whole groups.

    Luhn's sum of any part is the difference of two sums from the run's beginning; there are two of each, because it
    depends on the part's end which digits count twice.
    """
    digits = [int(character) for character in run if character not in " -"]
    sums = ([0], [0])
    for index, digit in enumerate(digits):
        twice = digit * 2 - 9 if digit > 4 else digit * 2  # noqa: PLR2004 - from 5 on, twice has two digits
        for parity in (0, 1):
            sums[parity].append(sums[parity][-1] + (twice if index % 2 == parity else digit))
    groups = [match.span() for match in _GROUP.finditer(run)]
    before = [0]
    for start, end in groups:
        before.append(before[-1] + end - start)
    first = 0
    while first < len(groups):
        last = first
        while last < len(groups) and before[last + 1] - before[first] <= _CARD_DIGITS_MAX:
            last += 1
        for one in range(last - 1, first - 1, -1):
            start, end = before[first], before[one + 1]
            luhn = sums[end % 2]
            if end - start < _CARD_DIGITS_MIN:
                break
            if run[groups[first][0]] in "23456" and (luhn[end] - luhn[start]) % 10 == 0:
                yield groups[first][0], groups[one][1]
                first = one
                break
        first += 1


def _compared(name: str) -> str:
    return name.lower().translate(_BETWEEN_WORDS)


def _remember(cache: dict[str, _Known], text: str, known: _Known) -> None:
    if len(text) <= _KEPT_CHARS_MAX:
        if len(cache) >= _KEPT_TEXTS:
            cache.clear()
        cache[text] = known
