"""Kafka and Loki in memory, as far as `verify` asks them; what was shipped is written with the oracle's help."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from messages import StoredMessage
from oracle import Shipped, expect
from shipper.kafka.archive import Archive, Offsets
from shipper.loki.query import LokiReader, StreamEntry
from shipper.records import RecordBatch, TopicPartition
from shipper.settings import Limits, Loki, Settings
from shipper.tools.findings import Findings
from shipper.tools.promised import Wanted
from shipper.tools.sight import Sight
from shipper.tools.verify import compare

NOW_NS = 1_760_000_000 * 10**9
ALL_IN_SIGHT = Sight(0, [], [])
SETTINGS = Settings(loki=Loki(limits=Limits(line_bytes_max=200)))
_AGELESS = Settings(loki=Loki(limits=Limits(line_bytes_max=200, entry_age_max_s=9e9, entry_ahead_max_s=9e9)))


@dataclass
class FakeArchive:
    """Topics: records by partition, in the order of their offsets."""

    topics: dict[str, list[list[StoredMessage]]]
    committed_to: dict[TopicPartition, int] = field(default_factory=dict)
    deleted_below: dict[TopicPartition, int] = field(default_factory=dict)
    arriving: dict[TopicPartition, list[StoredMessage]] = field(default_factory=dict)
    """Records that come when the ends are asked for a second time."""
    asked_for_ends: set[TopicPartition] = field(default_factory=set)

    def has(self, topic: str) -> bool:
        return topic in self.topics

    def partitions(self, topics: Iterable[str]) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for topic in topics for number in range(len(self.topics[topic]))]

    def lows(self, partitions: Sequence[TopicPartition]) -> Offsets:
        return {at: self.deleted_below.get(at, 0) for at in partitions}

    def highs(self, partitions: Sequence[TopicPartition]) -> Offsets:
        for at in partitions:
            if at in self.asked_for_ends:
                self._records(at).extend(self.arriving.pop(at, []))
            self.asked_for_ends.add(at)
        return {at: self._end(at) for at in partitions}

    def committed(self, partitions: Sequence[TopicPartition]) -> Offsets:
        return {at: self.committed_to.get(at, self._end(at)) for at in partitions}

    def offsets_at(self, partitions: Sequence[TopicPartition], time_ms: int) -> Offsets:
        return {
            at: next((it.offset() for it in self._records(at) if it.timestamp()[1] >= time_ms), -1) for at in partitions
        }

    def read(self, ranges: Mapping[TopicPartition, range]) -> Iterator[RecordBatch]:
        for at, span in ranges.items():
            low = self.deleted_below.get(at, 0)
            if records := [it for it in self._records(at) if it.offset() in span and it.offset() >= low]:
                yield RecordBatch(at.topic, records)

    def _records(self, at: TopicPartition) -> list[StoredMessage]:
        return self.topics[at.topic][at.partition]

    def _end(self, at: TopicPartition) -> int:
        records = self._records(at)
        return records[-1].offset() + 1 if records else 0


@dataclass
class FakeReader:
    """Entries; selectors are ignored but for what `verify` looks up one by one."""

    stored: list[StreamEntry]
    left_out: list[StreamEntry] = field(default_factory=list)
    """Given only to who asks for a single nanosecond."""

    def entries(self, _: str, start_ns: int, end_ns: int, **__: Any) -> Iterator[StreamEntry]:  # noqa: ANN401 - options that do not matter here
        all_of_it = [*self.stored, *(self.left_out if end_ns == start_ns + 1 else ())]
        found = [entry for entry in all_of_it if start_ns <= entry.timestamp_ns < end_ns]
        yield from sorted(found, key=lambda entry: entry.timestamp_ns)


def entry_of(record: StoredMessage) -> StreamEntry:
    """What Loki gives for a record that was shipped, says the oracle."""
    outcome = expect(record, _AGELESS, now_ns=NOW_NS)
    assert isinstance(outcome, Shipped), outcome
    return StreamEntry(
        outcome.labels | {"service_name": "added"},
        outcome.timestamp_ns,
        outcome.line.decode(),
        outcome.metadata | {"detected_level": "added"},
    )


def letter_of(record: StoredMessage, offset: int, reason: str = "too_old") -> StoredMessage:
    """The dead letter of a record."""
    headers = {
        "dlq.reason": reason,
        "dlq.detail": "",
        "dlq.topic": record.topic(),
        "dlq.partition": record.partition(),
        "dlq.offset": record.offset(),
        "dlq.timestamp_ms": record.timestamp()[1],
    }
    pairs = [*(record.headers() or ()), *((name, str(value).encode()) for name, value in headers.items())]
    return replace(record, place=("logs.dlq", 0, offset), pairs=pairs)


def found_by_verify(
    archive: FakeArchive,
    stored: Iterable[StreamEntry],
    wanted: Wanted | None = None,
    *,
    settings: Settings = SETTINGS,
    sight: Sight = ALL_IN_SIGHT,
    left_out: Iterable[StreamEntry] = (),
) -> Findings:
    """Verify, and see that the numbers add up."""
    found = compare(
        cast("Archive", archive),
        cast("LokiReader", FakeReader(list(stored), list(left_out))),
        settings,
        wanted or Wanted(),
        sight,
        now_ns=NOW_NS,
        listed_max=1_000,
        progress=lambda *_: None,
    )
    for counts in (found.totals, *found.tallies):
        assert counts.expected == counts.found + counts.missing
        assert counts.records == counts.expected + counts.filtered + counts.dead_lettered + counts.unseen
    return found
