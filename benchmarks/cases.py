"""What is varied: a base case, and cases that differ from it in one thing each.

The base is what the goals are about: realistic records of five services, some 350 bytes each, in an lz4 topic of four
partitions, all well-formed, one worker, default configuration.
"""

import itertools
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from shipper.devstack.generate import Chunk, generate
from shipper.settings import Filter, Redact, Settings

_SEED = 1
_HISTORY_MS = 600_000
_LEVEL = re.compile(rb'"level":"[a-z]+"')
_SMALL = b'{"timestamp":"%b","level":"%b","service":"%b","message":"Message stored"}'
_VOCABULARY = [b"%x" % number for number in range(16, 4_000, 7)] + [
    b"message",
    b"stored",
    b"user",
    b"room",
    b"of",
    b"in",
] * 40
_FIELDS = re.compile(rb'"timestamp":"([^"]*)","level":"([^"]*)","service":"([^"]*)"')


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        name: unique.
        records: how many a run ships; fewer of larger ones, so that every run takes seconds.
        record_bytes: the size that records are brought to; 0 for as they are made.
        streams: distinct label sets; 0 for as they are made (17).
        malformed: share of records that cannot be parsed.
        partitions: of the topic.
        compression: of the topic, as Kafka names it.
        spread: whether all partitions get as much; else a service's records are in one, as its services write them.
        rules: whether two filters and three redactions are configured.
        settings: `section.key=value` each, other than default.
        workers: processes that share the topic.
        pairs: runs that count.
        beside: the case that this one is also measured in turns with, if any.
        beside_most: how many times as much as that it may cost.
    """

    name: str
    records: int = 500_000
    record_bytes: int = 0
    streams: int = 0
    malformed: float = 0.0
    partitions: int = 4
    compression: str = "lz4"
    rules: bool = False
    spread: bool = False
    settings: tuple[str, ...] = ()
    workers: int = 1
    pairs: int = 3
    beside: str = ""
    beside_most: float = 1.0

    def chunks(self) -> Iterator[Chunk]:
        """Make the case's records; their times lie in the last ten minutes, so that none is too old for Loki."""
        now_ms = time.time_ns() // 1_000_000
        rows = itertools.count()
        for chunk in generate(
            self.records, seed=_SEED, first_ms=now_ms - _HISTORY_MS, last_ms=now_ms, malformed=self.malformed
        ):
            keys, values = chunk.keys, chunk.values
            if self.streams:
                pairs = [_renamed(*it, self.streams) for it in zip(keys, values, rows, strict=False)]
                keys, values = [key for key, _ in pairs], [value for _, value in pairs]
            if self.record_bytes:
                values = list(map(_sized(self.record_bytes), values))
            if self.spread:
                keys = [b"%d" % row for row in range(len(keys))]
            yield replace(chunk, keys=keys, values=values)

    def configure(self, settings: Settings) -> Settings:
        """Return the settings with the case's rules."""
        if not self.rules:
            return settings
        return msgspec.structs.replace(
            settings,
            filters=[
                Filter(name="health", field="route", any_of=["/health", "/ready"]),
                Filter(name="chatter", below_level="info", action="sample", share=0.9),
            ],
            redact=[
                Redact(name="mail", pattern=r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}"),
                Redact(name="bearer", pattern=r"(?i)bearer [a-z0-9._-]{8,}"),
                Redact(name="card", pattern=r"\b(?:\d{4}[ -]?){3}\d{4}\b"),
            ],
        )


BASE = Case("base", pairs=5, records=1_000_000)
CASES = (
    BASE,
    Case("base, without native code", settings=("workers.native=false",), pairs=5, records=1_000_000),
    Case("120 bytes", record_bytes=120),
    Case("1,500 bytes", record_bytes=1_500, records=200_000),
    Case("16 KB", record_bytes=16_384, records=20_000),
    Case("1 partition", partitions=1),
    Case("16 partitions", partitions=16, spread=True),
    Case("5 streams", streams=5),
    Case("200 streams", streams=200),
    Case("5,000 streams", streams=5_000, beside="5 streams", beside_most=2.0),
    Case("1 % malformed", malformed=0.01, beside="base", beside_most=1.1),
    Case("50 % malformed", malformed=0.5, records=200_000),
    Case("no compression", compression="none"),
    Case("zstd", compression="zstd"),
    Case("2 filters, 3 redactions", rules=True),
    Case("2 workers", workers=2, spread=True),
)


def _renamed(key: bytes, value: bytes, row: int, streams: int) -> tuple[bytes, bytes]:
    """Return a record of one level whose service has a number: so many services as there are to be streams."""
    number = row % max(streams // 5, 1)
    name = key if streams == 5 else key + b"-%d" % number
    value = value.replace(b'"service":"' + key, b'"service":"' + name, 1)
    return name, _LEVEL.sub(b'"level":"info"', value, count=1)


def _sized(size: int) -> Callable[[bytes], bytes]:
    """Return what brings records to a size: smaller ones lose fields, larger ones get a body of words.

    Args:
        size: bytes of a value, more or less.
    """
    random = np.random.default_rng(_SEED)
    text = b" ".join(random.choice(_VOCABULARY, 2 * size + 1_000).tolist())
    places = itertools.cycle(random.integers(0, len(text) - size, 997).tolist())

    def change(value: bytes) -> bytes:
        if len(value) > size:
            found = _FIELDS.search(value)
            return _SMALL % found.groups() if found else value[:size]
        at = next(places)
        return value[:-1] + b',"body":"' + text[at : at + size - len(value) - 10] + b'"}'

    return change
