"""Loki's answers to queries, as its HTTP API writes them; the JSON is decoded into these."""

from typing import Generic, TypeVar

import msgspec

Kind = TypeVar("Kind")


class Categories(msgspec.Struct):
    """What an entry has beside its line."""

    structured_metadata: dict[str, str] = msgspec.field(name="structuredMetadata", default_factory=dict)


class Value(msgspec.Struct, array_like=True):
    """An entry, as an array."""

    timestamp_ns: str
    line: str
    categories: Categories = msgspec.field(default_factory=Categories)


class Stream(msgspec.Struct):
    """The entries of a stream in a page."""

    stream: dict[str, str]
    values: list[Value]


class Sample(msgspec.Struct):
    """A sample of a vector."""

    metric: dict[str, str]
    value: tuple[float, str]


class Result(msgspec.Struct, Generic[Kind]):
    """What a query found."""

    result: list[Kind]


class Answer(msgspec.Struct, Generic[Kind]):
    """What the API answers to a query."""

    data: Kind


class Listed(msgspec.Struct, Generic[Kind]):
    """What the API answers where it lists something."""

    data: list[Kind] = []  # left out where it is empty


class Samples(msgspec.Struct):
    """A series of a matrix."""

    metric: dict[str, str]
    values: list[tuple[float, str]]
