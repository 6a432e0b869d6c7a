"""`shipper verify`: works out again what Loki must hold, reads what it holds, and compares, entry by entry.

    dead letters ─▶ letters ──┐
    records ─▶ prepare_all() ─▶ account ─▶ ┌────────┐
                                           │ ledger │ ─▶ comparison ─▶ details
    entries, by pages ───────────────────▶ └────────┘

The order matters. What is committed is asked first, and letters and entries are read later: all that was promised
must be there by then. What follows it in Kafka is read last: it explains entries that nobody promised yet.

Records are worked out without limits of age: what was in time when it was shipped is too old today. Such a record may
have ended in Loki or in the dead letter topic, and only these two can tell.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
from msgspec.structs import replace

from shipper.kafka.archive import Archive
from shipper.loki.connection import session
from shipper.loki.query import LokiReader, StreamEntry
from shipper.pipeline import Rules, prepare_all
from shipper.records import RecordBatch, TopicPartition
from shipper.settings import Settings
from shipper.tools import details, entries, sight
from shipper.tools.account import Account
from shipper.tools.comparison import Comparison
from shipper.tools.findings import Findings, Tally
from shipper.tools.ledger import Kind, Ledger, Rows, rows_of
from shipper.tools.letters import Letters
from shipper.tools.promised import Promised, Wanted, promised, topics_of

Progress = Callable[[str, int, int], None]
"""Is told what is being read, how many there were so far, and how many there will be about."""

_NS_PER_S = 10**9
_DAY_NS = 86_400 * _NS_PER_S
_AGE_MAX_S = 9_223_372_036.0  # 292 years: the range of nanoseconds in 64 bits
_PAGE = 5_000  # what Loki allows by default
_REACH_S = 5.0
_QUERY_TIMEOUT_S = 30.0
_COPY = "stored more often than there are records"
_UNEXPLAINED = "no record explains it"
_IN_PART = (
    "only a part of the topics is judged: an entry in Loki that no record explains may belong to a record outside, so "
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

    Raises: ConfigError, KafkaUnavailableError, CannotStartError, LokiQueryError, LedgerFullError, with the way out.
    """
    topics_of(settings, wanted)
    http, loki = session(settings.loki), settings.loki
    # Before anything else is read, so that a Loki that is not there is said at once.
    LokiReader(loki.url, session=http, retry_deadline_s=_REACH_S, timeout_s=loki.timeout_s).labels(
        now_ns - _DAY_NS, now_ns
    )
    reader = LokiReader(loki.url, session=http, timeout_s=_QUERY_TIMEOUT_S)
    visible = sight.judge(sight.ask(http, loki), now_ns)
    with Archive(settings.kafka) as archive:
        return compare(
            archive, reader, settings, wanted, visible, now_ns=now_ns, listed_max=listed_max, progress=progress
        )


def compare(
    archive: Archive,
    reader: LokiReader,
    settings: Settings,
    wanted: Wanted,
    visible: sight.Sight,
    *,
    now_ns: int,
    listed_max: int,
    progress: Progress,
) -> Findings:
    """Do it, with Kafka and Loki at hand; as `verify`."""
    with Ledger() as ledger:
        promise = promised(archive, settings, wanted)
        letters, unseen_letters = _letters(archive, settings.dead_letter.topic, promise, progress)
        account = Account(promise.judged, letters, ledger, horizon_ns=visible.horizon_ns, listed_max=listed_max)
        rules = Rules.compile(_ageless(settings))
        _take(archive, promise.judged, rules, account, progress)
        deleted = _deleted_meanwhile(archive, promise, account)
        is_whole = promise.is_whole and not deleted
        stored = _Stored(reader, settings)
        spans = [*account.days.values(), *([_all_that_loki_takes(settings, now_ns)] if is_whole else [])]
        for rows in stored.read(entries.spans(spans, apart_ns=_DAY_NS), int(account.records.sum()), progress):
            ledger.add(rows)
        if is_whole:
            is_whole = set(archive.partitions(settings.kafka.topics)) == promise.judged.keys()
            _take(archive, _meanwhile(archive, promise), rules, account, progress)
        comparison = Comparison(len(promise.judged), listed_max)
        comparison.take(ledger.groups())
        comparison.list_missing(account.unburied_at)
        missing = details.missing(archive, rules, list(promise.judged), comparison.missing_at, stored.holds)
        unexpected = {_COPY: comparison.surplus_rows, _UNEXPLAINED: comparison.unexplained_rows if is_whole else []}
        return Findings(
            topics=list(dict.fromkeys(at.topic for at in promise.judged)),
            is_whole=is_whole,
            tallies=_tallies(promise, account, comparison),
            unexplained=comparison.unexplained if is_whole else 0,
            collapsed=comparison.collapsed,
            missing=missing,
            unexpected=details.unexpected(reader, stored.form, stored.selector, unexpected),
            cannot_see=[
                *promise.cannot_see,
                *deleted,
                *unseen_letters,
                *visible.cannot_see,
                *(visible.if_missing if missing else []),
                *([] if is_whole else [_IN_PART]),
            ],
        )


def _ageless(settings: Settings) -> Settings:
    """Return the settings without limits of age; what they refused, and when, the dead letter topic tells."""
    limits = replace(settings.loki.limits, entry_age_max_s=_AGE_MAX_S, entry_ahead_max_s=_AGE_MAX_S)
    return replace(settings, loki=replace(settings.loki, limits=limits))


def _letters(archive: Archive, topic: str, promise: Promised, progress: Progress) -> tuple[Letters, list[str]]:
    if not archive.has(topic):
        return Letters([], []), [f"the dead letter topic {topic} does not exist, so no record counts as dead-lettered"]
    partitions = archive.partitions([topic])
    lows, highs = archive.lows(partitions), archive.highs(partitions)
    batches = archive.read({at: range(lows[at], highs[at]) for at in partitions})
    gone = sum(lows.values())
    letters = Letters(_watched(batches, "dead letters", sum(highs.values()) - gone, progress), promise.judged)
    deleted = f"Kafka's retention has deleted {gone:,} dead letters of {topic}: their records count as missing"
    return letters, [deleted] if gone else []


def _take(
    archive: Archive, ranges: dict[TopicPartition, range], rules: Rules, account: Account, progress: Progress
) -> None:
    for batch in _watched(archive.read(ranges), "records", sum(map(len, ranges.values())), progress):
        for part in prepare_all(batch, rules, now_ns=0):
            account.take(part)


def _deleted_meanwhile(archive: Archive, promise: Promised, account: Account) -> list[str]:
    """Look whether retention was faster than we were."""
    lows = archive.lows(list(promise.judged))
    records = 0
    for index, (at, span) in enumerate(promise.judged.items()):
        if lows[at] > span.start and account.first[index] != span.start:
            records += min(lows[at], span.stop) - span.start
    deleted = f"Kafka's retention deleted about {records:,} records while they were being read: they are not verified"
    return [deleted] if records else []


def _meanwhile(archive: Archive, promise: Promised) -> dict[TopicPartition, range]:
    """Return what follows what is judged, up to now: Loki may have had it already."""
    highs = archive.highs(list(promise.judged))
    return {at: range(span.stop, max(span.stop, highs[at])) for at, span in promise.judged.items()}


def _all_that_loki_takes(settings: Settings, now_ns: int) -> tuple[int, int]:
    """Return the time in which an entry could have been stored, whatever its record says."""
    limits = settings.loki.limits
    return max(0, now_ns - int(limits.entry_age_max_s * _NS_PER_S)), now_ns + int(limits.entry_ahead_max_s * _NS_PER_S)


class _Stored:
    """What Loki holds of this configuration's streams."""

    def __init__(self, reader: LokiReader, settings: Settings) -> None:
        self._reader = reader
        self.form, self.selector = entries.Read(settings), entries.matching(settings)

    def read(self, spans: Iterable[tuple[int, int]], total: int, progress: Progress) -> Iterator[Rows]:
        """Yield a row for each entry in these spans of time, both ends included."""
        done = 0
        for first_ns, last_ns in spans:
            found = self._reader.entries(self.selector, first_ns, last_ns + 1, page=_PAGE)
            while chunk := list(islice(found, _PAGE)):
                yield self._rows(chunk)
                done += len(chunk)
                progress("entries", done, total)

    def holds(self, labels: str, at_ns: int, fingerprint: bytes) -> bool:
        """Look for one entry."""
        return fingerprint in self.form.fingerprints(list(self._reader.entries(labels, at_ns, at_ns + 1)))

    def _rows(self, chunk: list[StreamEntry]) -> Rows:
        times, zeros = np.array([entry.timestamp_ns for entry in chunk], np.int64), np.zeros(len(chunk), np.int64)
        return rows_of(self.form.fingerprints(chunk), times, zeros, zeros + Kind.FOUND)


def _watched(batches: Iterable[RecordBatch], what: str, total: int, progress: Progress) -> Iterator[RecordBatch]:
    done = 0
    for batch in batches:
        yield batch
        done += len(batch)
        progress(what, done, total)


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
