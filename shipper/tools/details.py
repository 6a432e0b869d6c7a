"""The few records and entries that an operator looks at, read once more: the ledger holds no text."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby

import msgspec

from shipper.errors import CannotStartError
from shipper.kafka.archive import Archive
from shipper.loki import encode
from shipper.loki.query import LokiReader
from shipper.pipeline import Rules, prepare_all
from shipper.records import RecordBatch, TopicPartition
from shipper.tools.entries import Read, of_streams
from shipper.tools.ledger import Place, Rows, row_fingerprint

IsStored = Callable[[str, int, bytes], bool]
"""Takes a stream's labels, a timestamp in nanoseconds, and a fingerprint."""

_LINE_CHARS_MAX = 200
_SECOND_LOOKS_MAX = 100
_GAP_RECORDS = 1_000  # so many are read over rather than sought
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Missing(msgspec.Struct, frozen=True):
    """A record that is nowhere; `timestamp` is its entry's, RFC 3339 with nanoseconds."""

    topic: str
    partition: int
    offset: int
    reason: str
    timestamp: str
    labels: dict[str, str]
    line: str


class Unexpected(msgspec.Struct, frozen=True):
    """An entry in Loki that is there too often, or that no record explains."""

    reason: str
    timestamp: str
    labels: dict[str, str]
    line: str


class IncompleteAnswerError(CannotStartError):
    """Loki gives an entry that it left out before: its answers prove nothing."""


def missing(
    archive: Archive, rules: Rules, partitions: Sequence[TopicPartition], places: Sequence[Place], is_stored: IsStored
) -> list[Missing]:
    """Read these records again, say what they would have become, and look once more for the entries of some.

    Args:
        archive: where they lie.
        rules: the compiled settings.
        partitions: by the index that places have.
        places: sorted.
        is_stored: asks Loki for one entry.

    Raises: IncompleteAnswerError.
    """
    wanted = {(partitions[place.partition], place.offset) for place in places}
    found: dict[tuple[TopicPartition, int], Missing] = {}
    for ranges in _rounds(partitions, places):
        for batch in archive.read(ranges):
            for message in batch.messages:
                at = (TopicPartition(batch.topic, message.partition()), message.offset())
                if at in wanted:
                    looks = len(found) < _SECOND_LOOKS_MAX
                    found[at] = _missing(RecordBatch(batch.topic, [message]), rules, is_stored if looks else None)
    return [found[at] for at in sorted(found)]


def _rounds(partitions: Sequence[TopicPartition], places: Sequence[Place]) -> Iterator[dict[TopicPartition, range]]:
    """Yield ranges to read, one of a partition at a time."""
    runs: dict[TopicPartition, list[range]] = {}
    for index, group in groupby(places, key=lambda place: place.partition):
        of_partition = runs.setdefault(partitions[index], [])
        for _, offset in group:
            if of_partition and offset - of_partition[-1].stop <= _GAP_RECORDS:
                of_partition[-1] = range(of_partition[-1].start, offset + 1)
            else:
                of_partition.append(range(offset, offset + 1))
    while runs:
        yield {at: of_partition.pop(0) for at, of_partition in runs.items()}
        runs = {at: of_partition for at, of_partition in runs.items() if of_partition}


def _missing(batch: RecordBatch, rules: Rules, is_stored: IsStored | None) -> Missing:
    (prepared,) = prepare_all(batch, rules, now_ns=0)
    message, streams = batch.messages[0], prepared.streams
    at = (batch.topic, message.partition(), message.offset())
    if not len(streams):
        reason = prepared.rejected[0].reason.value
        line = (message.value() or b"").decode(errors="replace")
        return Missing(*at, f"no dead letter ({reason})", time_text(message.timestamp()[1] * 10**6), {}, _cut(line))
    (fingerprint,), (timestamp_ns,) = of_streams(streams)
    _, (start,), (end,) = encode.read_headers(streams)
    line = streams.entries[start:end].decode()
    labels = next(labels for labels, size in zip(streams.labels, streams.bounds[1:], strict=True) if size).decode()
    if is_stored and is_stored(labels, int(timestamp_ns), fingerprint):
        raise IncompleteAnswerError(
            f"Loki gives the entry of {batch.place(0)}, which it left out when it was asked for all: its answers are "
            "incomplete; look at its log, raise server.grpc_server_max_send_msg_size and …_recv_msg_size there, and "
            "verify again"
        )
    return Missing(*at, "not in Loki", time_text(int(timestamp_ns)), _labels(labels), _cut(line))


def unexpected(reader: LokiReader, read: Read, selector: str, rows: Mapping[str, Sequence[Rows]]) -> list[Unexpected]:
    """Read these entries again.

    Args:
        reader: where they lie.
        read: makes fingerprints of entries.
        selector: of all streams in question.
        rows: the rows of entries in the ledger, by the reason that is told.
    """
    reasons = {
        (int(row["where"]), row_fingerprint(row)): reason
        for reason, arrays in rows.items()
        for array in arrays
        for row in array
    }
    told = []
    for at_ns in sorted({at_ns for at_ns, _ in reasons}):
        for entry in reader.entries(selector, at_ns, at_ns + 1):
            (fingerprint,) = read.fingerprints([entry])
            # Once each, however many copies there are.
            if reason := reasons.pop((at_ns, fingerprint), None):
                told.append(Unexpected(reason, time_text(at_ns), read.labels(entry), _cut(entry.line)))
    return told


def time_text(time_ns: int) -> str:
    """Write a time as RFC 3339 with nanoseconds."""
    seconds, nanos = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"


def _labels(text: str) -> dict[str, str]:
    # The escapes of label strings are a part of JSON's.
    return {match[1]: json.loads(f'"{match[2]}"') for match in _LABEL.finditer(text)}


def _cut(line: str) -> str:
    return line if len(line) <= _LINE_CHARS_MAX else line[: _LINE_CHARS_MAX - 1] + "…"
