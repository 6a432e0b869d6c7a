"""Collects what is wrong with a configuration, and knows the place where each setting was given."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import orjson

from shipper.errors import ConfigError
from shipper.settings import Secret

_KEY_PART = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_KEY = rf"{_KEY_PART}(?:\s*\.\s*{_KEY_PART})*"
_HEADER = re.compile(rf"\s*(?P<open>\[\[?)\s*(?P<key>{_KEY})\s*\]")
_ENTRY = re.compile(rf"\s*(?P<key>{_KEY})\s*=")


class Places:
    """Where each setting was given: `config.toml:12`, `environment variable SHIPPER_…`, `--set section.key`."""

    def __init__(self) -> None:
        self._of: dict[str, str] = {}

    def scan(self, text: str, file: str) -> None:
        """Note the line of every section and key of a TOML file; keys inside inline tables have their table's."""
        section, tables = "", dict[str, int]()
        for number, line in enumerate(text.splitlines(), start=1):
            if header := _HEADER.match(line):
                section = _dotted(header["key"])
                if header["open"] == "[[":
                    tables[section] = tables.get(section, -1) + 1
                    section = f"{section}[{tables[section]}]"
                self._of.setdefault(section, f"{file}:{number}")
            elif entry := _ENTRY.match(line):
                key = f"{section}.{_dotted(entry['key'])}" if section else _dotted(entry["key"])
                self._of.setdefault(key, f"{file}:{number}")

    def note(self, key: str, place: str) -> None:
        """Say that the setting was given, or given anew, at this place."""
        self._of[key] = place
        while parent := _parent(key):
            self._of.setdefault(parent, place)
            key = parent

    def exact(self, key: str) -> str | None:
        """Return the place of this very key, None if it was not given."""
        return self._of.get(key)

    def inherit(self, key: str) -> None:
        """Say that the key was given where the table was that it is part of, unless its own place is known."""
        if key not in self._of and (place := self.nearest(key)):
            self._of[key] = place

    def nearest(self, key: str) -> str | None:
        """Return the place of the key, or else of what it is part of."""
        while key and key not in self._of:
            key = _parent(key)
        return self._of.get(key)


class Problems:
    """The mistakes found so far, each with its place and key."""

    def __init__(self) -> None:
        self.places = Places()
        self._sentences: list[str] = []

    def add(self, key: str, sentence: str) -> None:
        """Note that the setting `key` is wrong; the sentence says what is wanted."""
        place = self.places.nearest(key)
        self._sentences.append(f"{place}: {key}: {sentence}" if place else f"{key}: {sentence}")

    def contradict(self, one: tuple[str, Any], other: tuple[str, Any], sentence: str) -> None:
        """Note that two settings, (key, value) each, do not go together; the sentence says why, and what does."""
        first, second = (one, other) if self.places.exact(one[0]) else (other, one)
        place = self.places.exact(first[0])
        self._sentences.append(
            f"{f'{place}: ' if place else ''}{first[0]} = {show(first[1])} and {second[0]} = {show(second[1])} "
            f"({self.places.exact(second[0]) or 'built-in default'}) contradict each other: {sentence}"
        )

    def raise_any(self) -> None:
        """Raise a ConfigError with all of the mistakes, a line each, if there are any."""
        if self._sentences:
            raise ConfigError("\n".join(self._sentences))


def show(value: object) -> str:
    """Return a value as TOML writes it; a secret as stars."""
    if isinstance(value, Secret):
        return '"***"'
    if isinstance(value, float):
        return repr(value)  # JSON knows no inf and nan
    try:
        return orjson.dumps(value, default=str).decode()
    except orjson.JSONEncodeError:  # numbers beyond 64 bits, environment variables that are no UTF-8
        return ascii(value)


def twice(values: Iterable[str]) -> list[str]:
    """Return the values that occur more than once."""
    return [value for value, times in Counter(values).items() if times > 1]


def _dotted(key: str) -> str:
    return ".".join(part.strip("\"'") for part in re.findall(_KEY_PART, key))


def _parent(key: str) -> str:
    return key[: max(key.rfind("."), key.rfind("["), 0)]
