"""`shipper verify`: works out again what Loki must hold, reads what it holds, and compares, entry by entry.

    Kafka ─▶ prepare_all() ─▶ account ─▶ ┌────────┐
     └─ dead letters ─▶ letters ──┘      │ ledger │ ─▶ comparison ─▶ details
    Loki, by pages ────────────────────▶ └────────┘

What was committed is asked first, and Loki is read later: all that was promised must be there by then. Records are
worked out without limits of age: what was in time when it was shipped is too old today. Such a record may have ended
in Loki or in the dead letter topic, and only these two can tell.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
from msgspec.structs import replace

from shipper.errors import KafkaUnavailableError
from shipper.kafka.archive import Archive
from shipper.loki.connection import session
from shipper.loki.query import LokiReader, StreamEntry
from shipper.pipeline import Rules, prepare_all
from shipper.records import RecordBatch, TopicPartition
from shipper.settings import Settings
from shipper.tools import details, entries, sight
from shipper.tools.account import Account, Place
from shipper.tools.comparison import Comparison
from shipper.tools.findings import Findings, Tally
from shipper.tools.ledger import Kind, Ledger, Rows, rows_of
from shipper.tools.letters import Letters
from shipper.tools.promised import Promised, Wanted, promised

Progress = Callable[[str, int, int], None]
"""Is told what is being read, how many there were so far, and how many there will be about."""

_NS_PER_S = 10**9
_DAY_NS = 86_400 * _NS_PER_S
_AGE_MAX_S = 9_223_372_036.0  # 292 years: the range of nanoseconds in 64 bits
_PAGE = 5_000
_REACH_S = 5.0  # before anything is read: a Loki that is not there is said at once
_QUERY_TIMEOUT_S = 60.0
_COPY = "stored once more than there are records"
_UNEXPLAINED = "no record explains it"
_IN_PART = (
    "only a part of the topics was read: an entry in Loki that no record explains may belong to a record outside, so "
    "of unexpected entries only second copies are told"
)


def verify(settings: Settings, wanted: Wanted, *, now_ns: int, listed_max: int, progress: Progress) -> Findings:
    """Verify what shipper has promised.

    Args:
        settings: the configuration that the records were shipped with.
        wanted: which of the records.
        now_ns: nanoseconds since the epoch.
        listed_max: how many missing and unexpected ones are described.
        progress: is told how far it is.

    Raises: ConfigError, KafkaUnavailableError, LokiQueryError, LedgerFullError, each with the way out.
    """
    http = session(settings.loki)
    LokiReader(settings.loki.url, session=http, retry_deadline_s=_REACH_S, timeout_s=settings.loki.timeout_s).labels(
        now_ns - _DAY_NS, now_ns
    )
    reader = LokiReader(settings.loki.url, session=http, timeout_s=_QUERY_TIMEOUT_S)
    rules = Rules.compile(_ageless(settings))
    with Archive(settings.kafka) as archive, Ledger() as ledger:
        promise = promised(archive, settings, wanted)
        visible = sight.judge(sight.ask(http, settings.loki), now_ns)
        letters, cannot_see = _letters(archive, settings, promise, progress)
        account = Account(promise.judged, letters, ledger, horizon_ns=visible.horizon_ns, listed_max=listed_max)
        _take(archive, promise.ranges(), rules, account, progress)
        is_whole, deleted = _still_whole(archive, promise, account)
        spans = list(account.days.values())
        if is_whole:
            # What was stored with another timestamp than its own would lie anywhere that Loki takes entries for.
            limits = settings.loki.limits
            ahead_ns, age_ns = int(limits.entry_ahead_max_s * _NS_PER_S), int(limits.entry_age_max_s * _NS_PER_S)
            spans.append((max(0, now_ns - age_ns), now_ns + ahead_ns))
        read, selector = entries.Read(settings), entries.matching(settings)
        found = _entries(reader, selector, entries.spans(spans, apart_ns=_DAY_NS))
        for chunk in _chunks(found, int(account.records.sum()), progress):
            ledger.add(_rows(read, chunk))
        if is_whole:
            _take(archive, _tail(archive, promise), rules, account, progress)
        comparison = Comparison(len(promise.judged), listed_max)
        comparison.take(ledger.groups())
        comparison.list_missing(account.unburied_at)
        partitions = list(promise.judged)
        return Findings(
            topics=list(dict.fromkeys(at.topic for at in partitions)),
            is_whole=is_whole,
            tallies=_tallies(promise, account, comparison),
            unexplained=comparison.unexplained if is_whole else 0,
            collapsed=comparison.collapsed,
            missing=details.missing(archive, rules, partitions, [Place(*place) for place in comparison.missing_at]),
            unexpected=details.unexpected(
                reader,
                read,
                selector,
                {_COPY: comparison.surplus_rows, _UNEXPLAINED: comparison.unexplained_rows if is_whole else []},
            ),
            cannot_see=[
                *promise.cannot_see,
                *deleted,
                *cannot_see,
                *visible.cannot_see,
                *([] if is_whole else [_IN_PART]),
            ],
        )


def _ageless(settings: Settings) -> Settings:
    """Return the settings without limits of age; what they refuse, and when, the dead letter topic tells."""
    limits = replace(settings.loki.limits, entry_age_max_s=_AGE_MAX_S, entry_ahead_max_s=_AGE_MAX_S)
    return replace(settings, loki=replace(settings.loki, limits=limits))


def _letters(archive: Archive, settings: Settings, promise: Promised, progress: Progress) -> tuple[Letters, list[str]]:
    topic = settings.dead_letter.topic
    try:
        partitions = archive.partitions([topic])
    except KafkaUnavailableError as error:
        if "UNKNOWN" not in repr(error.__cause__):
            raise
        return Letters([], []), [f"the dead letter topic {topic} does not exist, so no record counts as dead-lettered"]
    lows, highs = archive.lows(partitions), archive.highs(partitions)
    batches = archive.read({at: range(lows[at], highs[at]) for at in partitions})
    gone = sum(lows.values())
    deleted = (
        f"Kafka's retention has deleted {gone:,} dead letters of {topic}: the records that they held count as missing"
    )
    total = sum(highs.values()) - gone
    return Letters(_watched(batches, "dead letters", total, progress), promise.judged), [deleted] if gone else []


def _take(
    archive: Archive, ranges: dict[TopicPartition, range], rules: Rules, account: Account, progress: Progress
) -> None:
    total = sum(map(len, ranges.values()))
    for batch in _watched(archive.read(ranges), "records", total, progress):
        for part in prepare_all(batch, rules, now_ns=0):
            account.take(part)


def _still_whole(archive: Archive, promise: Promised, account: Account) -> tuple[bool, list[str]]:
    """Look whether retention was faster than we were."""
    lows = archive.lows(list(promise.judged))
    lost = sum(
        min(int(account.first[index]), span.stop) - span.start
        for index, (at, span) in enumerate(promise.judged.items())
        if span and lows[at] > span.start and account.first[index] > span.start
    )
    if not lost:
        return promise.is_whole, []
    return False, [f"Kafka's retention deleted {lost:,} records while they were being read: they are not verified"]


def _tail(archive: Archive, promise: Promised) -> dict[TopicPartition, range]:
    """Return what came to Kafka while we read: Loki may have had it already."""
    highs = archive.highs(list(promise.judged))
    return {at: range(span.stop, max(span.stop, highs[at])) for at, span in promise.ranges().items()}


def _entries(reader: LokiReader, selector: str, spans: Iterable[tuple[int, int]]) -> Iterator[StreamEntry]:
    for first_ns, last_ns in spans:
        yield from reader.entries(selector, first_ns, last_ns + 1, page=_PAGE)


def _watched(batches: Iterable[RecordBatch], what: str, total: int, progress: Progress) -> Iterator[RecordBatch]:
    done = 0
    for batch in batches:
        yield batch
        done += len(batch)
        progress(what, done, total)


def _chunks(found: Iterator[StreamEntry], total: int, progress: Progress) -> Iterator[list[StreamEntry]]:
    done = 0
    while chunk := list(islice(found, _PAGE)):
        yield chunk
        done += len(chunk)
        progress("entries", done, total)


def _rows(read: entries.Read, chunk: list[StreamEntry]) -> Rows:
    times = np.array([entry.timestamp_ns for entry in chunk], np.int64)
    zeros = np.zeros(len(chunk), np.int64)
    return rows_of(read.fingerprints(chunk), times, zeros, zeros + Kind.FOUND)


def _tallies(promise: Promised, account: Account, comparison: Comparison) -> list[Tally]:
    missing, buried = comparison.missing + account.unburied, comparison.buried + account.buried
    return [
        Tally(
            topic=at.topic,
            partition=at.partition,
            first_offset=span.start,
            next_offset=span.stop,
            records=int(account.records[index]),
            expected=int(comparison.found[index] + missing[index]),
            found=int(comparison.found[index]),
            missing=int(missing[index]),
            unexpected=int(comparison.surplus[index]),
            filtered=int(account.filtered[index]),
            dead_lettered=int(buried[index]),
            unseen=int(comparison.faded[index]),
            in_both=int(comparison.in_both[index]),
        )
        for index, (at, span) in enumerate(promise.judged.items())
    ]
