"""THE MAP: what becomes of Kafka records on their way to Loki.

    kafka/source ─▶ ┌───────────────── prepare(), pure ─────────────────┐ ─▶ loki/client ─▶ kafka/offsets ─▶ commit
     RecordBatch    │ decode ─▶ timestamp, enrich ─▶ filter ─▶ redact   │    PushRequest,       ▲
                    │   │       ─▶ label ─▶ limits ─▶ encode            │    until it is        │ the contiguous
                    └───┼───────────┼───────────────────────────────────┘    settled            │ settled prefix
                        └───────────┴──▶ Rejected(row, reason) ─▶ kafka/dlq, confirmed ─────────┘

What is sent to Loki is a pure function of the records and the config: no clock (`now_ns` is an argument, and decides
only what is too old or too new to be sent, and what is sent by itself), no random number, no neighbour in the batch. So
a retry or a replay sends identical bytes, which Loki collapses, and `verify` can work out what Loki must hold.

All columns below have one element per record (row) of the batch; `going` says which rows are still on their way.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from shipper import native
from shipper.errors import ConfigError
from shipper.loki import encode, limits
from shipper.loki.lanes import Lanes
from shipper.native import stages
from shipper.records import Bools, Demoted, Int64s, Prepared, Reason, RecordBatch, Rejected, StreamSet
from shipper.settings import Paths, Settings
from shipper.transform import enrich, level, timestamp
from shipper.transform import filter as filter_rules
from shipper.transform.decode import Decoded, Decoder
from shipper.transform.label import DEMOTED, Labeller
from shipper.transform.redact import redact, redact_lines

EMPTY = "empty"
"""The built-in filter: a record without a value (a tombstone) is no log line."""

_KAFKA_DIGITS = 3  # Kafka's own timestamps are milliseconds


@dataclass(frozen=True)
class Rules:
    """The settings, compiled to what `prepare` works with; `Rules.compile` makes one."""

    settings: Settings
    decoder: Decoder
    join: encode.Joiner
    labeller: Labeller
    lanes: Lanes
    request_id: tuple[str, ...]
    """Fields, and so headers, that may hold the request ID."""
    labels: dict[str, pl.Expr]
    metadata: dict[str, pl.Expr]
    matching: dict[str, pl.Expr]
    """Filter name → which records it matches."""

    @classmethod
    def compile(cls, settings: Settings) -> "Rules":
        """Compile the settings.

        Raises: ConfigError if a pattern is no regular expression of the Rust crate `regex`.
        """
        for rule in settings.filters:
            _check_pattern(f"filters[{rule.name!r}].matches", rule.matches or "")
        for secret in settings.redact:
            _check_pattern(f"redact[{secret.name!r}].pattern", secret.pattern)
        _check_pattern("label_values.demote_matching", settings.label_values.demote_matching)
        labels = {name: _several(paths) for name, paths in settings.labels.fields.items()}
        pairs = {name: _several(paths) for name, paths in sorted(settings.structured_metadata.items())}
        level_paths = next((paths for name, paths in labels.items() if name in level.LABELS), ("level",))
        filters = {rule.name: (rule.field,) if rule.field else level_paths for rule in settings.filters}
        texts = {path for fields in (labels, pairs, filters) for paths in fields.values() for path in paths}
        is_native = native.is_used(wanted=settings.workers.native)
        times = _several(settings.timestamp.field)
        return cls(
            settings=settings,
            decoder=(stages.NativeDecoder if is_native else Decoder)(sorted(texts), times, settings.timestamp.formats),
            join=stages.join_entries if is_native else encode.join_entries,
            labeller=Labeller(
                tuple(labels),
                settings.labels.static,
                settings.loki.limits.label_value_bytes_max,
                settings.redact,
                settings.label_values,
            ),
            lanes=Lanes(settings.loki.in_flight_max),
            request_id=pairs.get(enrich.REQUEST_ID, ()),
            labels={name: enrich.first_present(paths) for name, paths in labels.items()},
            metadata={name: enrich.first_present(paths) for name, paths in pairs.items()},
            matching={
                rule.name: filter_rules.matching(rule, enrich.first_present(filters[rule.name]))
                for rule in settings.filters
            },
        )


def prepare(batch: RecordBatch, rules: Rules, *, now_ns: int) -> Prepared:
    """Turn records into push requests; every row ends in exactly one of the streams, the rejected, the filtered.

    Args:
        batch: what Kafka gave.
        rules: the compiled settings.
        now_ns: nanoseconds since the epoch; decides which entries Loki would refuse for their age.
    """
    settings = rules.settings
    decoded = rules.decoder.decode(batch.values)
    timestamp_ns = _timestamps(decoded, batch)
    texts = decoded.texts
    labels, metadata, matched = (texts.select(**wanted) for wanted in (rules.labels, rules.metadata, rules.matching))

    going = np.ones(len(batch), np.bool_)
    going[list(decoded.empty)] = False
    rejected: list[Rejected] = []
    if settings.malformed.policy == "dead_letter":
        rejected += decoded.faults.values()
        going[list(decoded.faults)] = False
    going, filtered = filter_rules.apply(settings.filters, matched.to_dict(), batch.partitions, batch.offsets, going)
    if decoded.empty:
        filtered[EMPTY] = len(decoded.empty)

    rows = np.flatnonzero(going)
    grouped = rules.labeller.group(_only(labels, rows, len(batch)), len(rows))
    metadata = _complete(metadata, decoded, batch, rules, rows, grouped.demoted)
    lines, line_bytes = _lines(decoded, going, rules)
    too_much = limits.exceeding(
        line_bytes,
        _bytes_of(metadata, len(batch)),
        timestamp_ns,
        going,
        settings.loki.limits,
        now_ns=now_ns,
    )
    going[[guilty.row for guilty in too_much]] = False
    rejected += too_much

    stream_of_entry, rows = grouped.stream_of_row[going[rows]], rows[going[rows]]
    metadata = _only(metadata, rows, len(batch))
    stream_bytes = np.bincount(stream_of_entry, line_bytes[rows], len(grouped.labels))
    streams = encode.build(
        grouped.labels,
        np.array(rules.lanes.of(grouped.labels, stream_bytes.astype(np.int64).tolist()), np.int64),
        stream_of_entry,
        batch.partitions,
        rows,
        lines,
        line_bytes,
        timestamp_ns,
        metadata,
        rules.join,
    )
    return Prepared(
        batch=batch,
        bytes_in=int(decoded.line_bytes.sum()),
        streams=streams,
        requests=encode.plan(
            streams,
            settings.loki.request_bytes_max,
            limits.may_be_behind(timestamp_ns[streams.rows], settings.loki.limits, now_ns=now_ns),
        ),
        rejected=tuple(rejected),
        filtered=filtered,
        malformed=dict(Counter(fault.reason for row, fault in decoded.faults.items() if going[row])),
        demoted={
            name: Demoted(len(texts) - texts.null_count(), str(texts.drop_nulls()[-1]))
            for name, texts in grouped.demoted.items()
        },
        label_values=grouped.values,
    )


def prepare_all(batch: RecordBatch, rules: Rules, *, now_ns: int) -> Iterator[Prepared]:
    """Prepare a batch; if that fails, its halves, down to the one record that is the cause: it costs nobody else.

    It fails only by a mistake of ours. Without this the same record would end every worker that comes to it.

    Returns: preparations that together cover the batch, in its order.
    """
    try:
        yield prepare(batch, rules, now_ns=now_ns)
    except (Exception, pl.exceptions.PanicException) as error:  # noqa: BLE001 - whatever it is, it is about one record
        if len(batch) > 1:
            for half in batch.halves():
                yield from prepare_all(half, rules, now_ns=now_ns)
        else:
            nothing, zero = np.zeros(0, np.int64), np.zeros(1, np.int64)
            streams = StreamSet((), nothing, zero, b"", zero, nothing, nothing.astype(np.int32))
            bytes_in = sum(map(len, filter(None, batch.values)))
            yield Prepared(batch, bytes_in, streams, (), (Rejected(0, Reason.INTERNAL_ERROR, repr(error)),))


def _timestamps(decoded: Decoded, batch: RecordBatch) -> Int64s:
    """Return each row's nanoseconds since the epoch: from its field, else Kafka's, unknown digits filled up."""
    ns, digits = decoded.ns, decoded.digits
    unreadable = np.flatnonzero(digits < 0)
    if len(unreadable):
        from_kafka_ms = np.array(batch.timestamps_ms(unreadable.tolist()), np.int64)
        ns[unreadable] = np.clip(from_kafka_ms, 0, timestamp.SECONDS_END * 1_000 - 1) * 1_000_000
        digits[unreadable] = _KAFKA_DIGITS
    return timestamp.resolve(ns, digits, batch.offsets)


def _complete(
    metadata: pl.DataFrame,
    decoded: Decoded,
    batch: RecordBatch,
    rules: Rules,
    rows: Int64s,
    demoted: Mapping[str, pl.Series],
) -> pl.DataFrame:
    """Add what is no field of its own: request IDs from headers, why a record could not be parsed, demoted labels.

    Args:
        metadata: texts by name, one row per record; redacted here.
        decoded: what the records' values are.
        batch: where the headers are.
        rules: the compiled settings.
        rows: the records that `demoted` is about.
        demoted: label → demoted values, redacted already.
    """
    columns = metadata.to_dict()
    if rules.request_id and columns[enrich.REQUEST_ID].null_count():
        columns[enrich.REQUEST_ID] = enrich.fill_request_ids(
            columns[enrich.REQUEST_ID], rules.request_id, batch, decoded.faults
        )
    if rules.settings.redact:
        columns = {name: _emptied(redact(texts, rules.settings.redact)) for name, texts in columns.items()}
    for name, texts in columns.items():
        if texts.str.contains(enrich.REPLACEMENT_CHARACTER, literal=True).any():  # half the price of replacing nothing
            columns[name] = texts.str.replace_all(enrich.REPLACEMENT_CHARACTER, " ", literal=True)
    if decoded.faults:
        reasons = pl.Series([fault.reason for fault in decoded.faults.values()], dtype=pl.String)
        columns[enrich.ERROR] = pl.repeat(None, len(batch), dtype=pl.String, eager=True).scatter(
            list(decoded.faults), reasons
        )
    for label, texts in demoted.items():
        columns[DEMOTED.format(label)] = pl.repeat(None, len(batch), dtype=pl.String, eager=True).scatter(rows, texts)
    return pl.DataFrame({name: columns[name] for name in sorted(columns) if columns[name].null_count() < len(batch)})


def _only(frame: pl.DataFrame, rows: Int64s, of: int) -> pl.DataFrame:
    """Return some of a frame's rows, in order; the frame itself where these are all `of` it, or where it has none."""
    return frame[rows] if frame.width and len(rows) < of else frame


def _emptied(texts: pl.Series) -> pl.Series:
    """Return texts with the empty ones as null: Loki drops metadata without a value."""
    return texts.set(texts == "", None)


def _lines(decoded: Decoded, going: Bools, rules: Rules) -> tuple[Sequence[bytes], Int64s]:
    """Return the line of each row, and its length: the value as it came, made UTF-8, secrets replaced."""
    changed = {row: decoded.lines[row].decode("utf-8", "replace").encode() for row in decoded.faults}
    if not changed and not rules.settings.redact:
        return decoded.lines, decoded.line_bytes
    lines, line_bytes = list(decoded.lines), decoded.line_bytes.copy()
    for row, line in changed.items():
        lines[row] = line
    if rules.settings.redact:
        redacted = redact_lines(lines, np.flatnonzero(going).tolist(), rules.settings.redact)
        for row, line in redacted.items():
            lines[row] = line
        changed |= redacted
    line_bytes[list(changed)] = list(map(len, changed.values()))
    return lines, line_bytes


def _bytes_of(metadata: pl.DataFrame, rows: int) -> Int64s:
    """Return what each row's metadata adds up to, names included, in bytes."""
    sizes = [
        (texts.str.len_bytes().cast(pl.Int64) + len(texts.name.encode())).fill_null(0)
        for texts in metadata.iter_columns()
    ]
    return sum((size.to_numpy() for size in sizes), start=np.zeros(rows, np.int64))


def _several(paths: Paths) -> tuple[str, ...]:
    return (paths,) if isinstance(paths, str) else tuple(paths)


def _check_pattern(key: str, pattern: str) -> None:
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as error:
        # A paragraph that ends in the cause, and another about polars' own affairs.
        cause = str(error).partition("\n\n")[0].splitlines()[-1].removeprefix("regex error: ").removeprefix("error: ")
        raise ConfigError(f"{key} = {pattern!r} is no regular expression: {cause}") from error
