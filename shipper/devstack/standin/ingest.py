"""The way of a push request into the store: what Loki's distributor checks first, then what its ingester checks.

The distributor refuses entries one by one and keeps the others. The ingester answers with the error of the *last*
stream of the request: success of a later stream hides failure of an earlier one, and entries are dropped behind a 204.
Source: pkg/distributor/{distributor,validator}.go and pkg/ingester/{instance,stream}.go of Grafana Loki 3.7.8.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, compress
from typing import NamedTuple

from shipper.devstack.standin import labels, levels
from shipper.devstack.standin.limits import ERRORS_LISTED_MAX, WINDOW_NS, WRITE_BYTES_MAX, Limits, size_text
from shipper.devstack.standin.store import Bucket, Stream, Tenant, as_text
from shipper.devstack.standin.wire import Pairs, PushedStream

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OK, _BAD_REQUEST, _UNPROCESSABLE, _TOO_MANY, _INTERNAL = 204, 400, 422, 429, 500
# Tags, lengths and the timestamp of one entry in the request from distributor to ingester.
_ENTRY_OVERHEAD_BYTES = 24
_LEVEL = levels.NAME.encode()
_NONE: dict[str, str] = {}


class Answer(NamedTuple):
    """Status and text of Loki's answer."""

    status: int
    text: str = ""


class _Refused(NamedTuple):
    """An entry that the ingester refuses, and the status that it answers with if this is the last one."""

    timestamp_ns: int
    status: int
    reason: str


@dataclass(slots=True)
class _Accepted:
    """The entries of one stream that passed the distributor, in columns.

    Sizes are what the rate limits count: the line and the structured metadata, in bytes.
    """

    labels: dict[str, str]
    timestamps_ns: list[int] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    sizes_bytes: list[int] = field(default_factory=list)


def push(tenant: Tenant, streams: list[PushedStream], limits: Limits, now_ns: int) -> Answer:
    """Check a decoded request and store what passes; the answer is Loki's."""
    if not streams:
        return Answer(_UNPROCESSABLE, "error at least one valid stream is required for ingestion")
    try:
        parsed = [labels.parse(stream.labels) for stream in streams]
    except labels.LabelsError as error:
        return Answer(_BAD_REQUEST, f"couldn't parse labels: {error}")
    errors: Counter[str] = Counter()
    try:
        checked = [
            _check_stream(stream, pairs, limits, now_ns, errors)
            for stream, pairs in zip(streams, parsed, strict=True)
            if stream.lines
        ]
    except labels.LabelsError as error:
        return Answer(_INTERNAL, str(error))
    accepted = [stream for stream in checked if stream.lines]
    refused = Answer(_BAD_REQUEST, _grouped(errors)) if errors else Answer(_OK)
    if not accepted:
        return refused
    answer = _refuse_whole(tenant, accepted, now_ns)
    if answer.status == _OK:
        for stream in accepted:
            answer = _ingest(tenant, stream, limits, now_ns)  # the last one wins: Loki's own trap
    return answer if answer.status != _OK else refused


def _refuse_whole(tenant: Tenant, accepted: list[_Accepted], now_ns: int) -> Answer:
    """Refuse a request that exceeds the tenant's rate, or is too large to be written, before anything is stored."""
    size_bytes = sum(sum(stream.sizes_bytes) for stream in accepted)
    lines = sum(len(stream.lines) for stream in accepted)
    if not tenant.bucket.take(size_bytes, now_ns):
        return Answer(
            _TOO_MANY,
            f"ingestion rate limit exceeded for user {tenant.name} (limit: {int(tenant.bucket.rate_bytes_per_s)} "
            f"bytes/sec) while attempting to ingest '{lines}' lines totaling '{size_bytes}' bytes, reduce log volume "
            "or contact your Loki administrator to see if the limit can be increased",
        )
    write_bytes = size_bytes + lines * _ENTRY_OVERHEAD_BYTES
    if write_bytes > WRITE_BYTES_MAX:
        return Answer(
            _INTERNAL,
            "rpc error: code = ResourceExhausted desc = grpc: received message larger than max "
            f"({write_bytes} vs. {WRITE_BYTES_MAX})",
        )
    return Answer(_OK)


def _grouped(errors: Counter[str]) -> str:
    if len(errors) == 1 and errors.total() == 1:
        return next(iter(errors))
    return "; ".join(f"{count} errors like: {text}" for text, count in errors.items())


def _check_stream(
    stream: PushedStream, stream_labels: tuple[tuple[str, str], ...], limits: Limits, now_ns: int, errors: Counter[str]
) -> _Accepted:
    accepted = _Accepted(dict(stream_labels))
    refusal = _labels_refusal(stream_labels, limits)
    if refusal:
        errors[refusal] += 1
        return accepted
    oldest_ns = now_ns - limits.reject_old_samples_max_age if limits.reject_old_samples else -(1 << 63)
    newest_ns = now_ns + limits.creation_grace_period
    if (
        oldest_ns <= min(stream.timestamps_ns)
        and max(stream.timestamps_ns) <= newest_ns
        and (not limits.max_line_size or max(map(len, stream.lines)) <= limits.max_line_size)
        and not any(stream.metadata)
    ):
        accepted.timestamps_ns, accepted.lines = stream.timestamps_ns, stream.lines
        accepted.metadata = [_NONE] * len(stream.lines)
        accepted.sizes_bytes = list(map(len, stream.lines))
        return accepted
    name = labels.write(stream_labels)
    for timestamp_ns, line, pairs in zip(stream.timestamps_ns, stream.lines, stream.metadata, strict=True):
        if timestamp_ns < oldest_ns:
            errors[
                f"entry for stream '{name}' has timestamp too old: {_rfc3339(timestamp_ns)}, "
                f"oldest acceptable timestamp is: {_rfc3339(oldest_ns)}"
            ] += 1
        elif timestamp_ns > newest_ns:
            errors[f"entry for stream '{name}' has timestamp too new: {_rfc3339(timestamp_ns)}"] += 1
        elif 0 < limits.max_line_size < len(line):
            errors[
                f"max entry size '{limits.max_line_size}' bytes exceeded for stream '{name}' "
                f"while adding an entry with length '{len(line)}' bytes"
            ] += 1
        elif pairs and (refusal := _metadata_refusal(name, pairs, limits)):
            errors[refusal] += 1
        else:
            accepted.timestamps_ns.append(timestamp_ns)
            accepted.lines.append(line)
            accepted.metadata.append(_normalized(pairs) if pairs else _NONE)
            accepted.sizes_bytes.append(len(line) + _size_bytes(pairs))
    return accepted


def _labels_refusal(stream_labels: tuple[tuple[str, str], ...], limits: Limits) -> str:
    stream = labels.write(stream_labels)
    count = len(stream_labels) - 1  # service_name is not counted
    if count > limits.max_label_names_per_series:
        return f"entry for stream '{stream}' has {count} label names; limit {limits.max_label_names_per_series}"
    name_before = ""
    for name, value in stream_labels:
        if len(name) > limits.max_label_name_length:
            return f"stream '{stream}' has label name too long: '{name}'"
        if len(value.encode()) > limits.max_label_value_length:
            return f"stream '{stream}' has label value too long: '{value}'"
        if name == name_before:
            return f"stream '{stream}' has duplicate label name: '{name}'"
        name_before = name
    return ""


def _metadata_refusal(stream: str, pairs: Pairs, limits: Limits) -> str:
    size_bytes = _size_bytes(pairs)
    if 0 < limits.max_structured_metadata_size < size_bytes:
        return (
            f"stream '{stream}' has structured metadata too large: '{size_bytes}' bytes, limit: "
            f"'{limits.max_structured_metadata_size}' bytes. Please see `limits_config.max_structured_metadata_size` "
            "or contact your Loki administrator to increase it"
        )
    if 0 < limits.max_structured_metadata_entries_count < len(pairs):
        return (
            f"stream '{stream}' has too many structured metadata labels: '{len(pairs)}', limit: "
            f"'{limits.max_structured_metadata_entries_count}'. Please see "
            "`limits_config.max_structured_metadata_entries_count` or contact your Loki administrator to increase it"
        )
    return ""


def _size_bytes(pairs: Pairs) -> int:
    return sum(map(len, chain.from_iterable(pairs))) - sum(
        len(name) + len(value) for name, value in pairs if name == _LEVEL
    )


def _normalized(pairs: Pairs) -> dict[str, str]:
    """Metadata as Loki stores it: names normalized, empty values dropped, and a space for what is no character."""
    named = [(labels.metadata_name(name), as_text(value)) for name, value in pairs]
    return {name: value.replace("\ufffd", " ") for name, value in named if value}


def _ingest(tenant: Tenant, pushed: _Accepted, limits: Limits, now_ns: int) -> Answer:
    name = labels.write(pushed.labels.items())
    stream = tenant.streams.get(name)
    if stream is None:
        if 0 < limits.max_global_streams_per_user <= len(tenant.streams):
            return Answer(
                _TOO_MANY,
                f"maximum active stream limit exceeded when trying to create stream {name}, reduce the number of "
                "active streams (reduce labels or reduce label values), or contact your Loki administrator to see if "
                f"the limit can be increased, user: '{tenant.name}'",
            )
        bucket = Bucket(limits.per_stream_rate_limit, limits.per_stream_rate_limit_burst)
        stream = tenant.streams[name] = Stream(pushed.labels, bucket)
    total = len(pushed.lines)
    refused = _drop_refused(stream, pushed, name, limits, now_ns)
    if pushed.lines:
        stream.highest_ns = max(*pushed.timestamps_ns, stream.highest_ns or pushed.timestamps_ns[0])
        stream.add(pushed.timestamps_ns, pushed.lines, pushed.metadata)
    return Answer(refused[-1].status, _listed(refused, total, tenant.name, name)) if refused else Answer(_OK)


def _drop_refused(stream: Stream, pushed: _Accepted, name: str, limits: Limits, now_ns: int) -> list[_Refused]:
    """Take out of `pushed` what is over the stream's rate or outside of the window, entry by entry, as Loki does.

    With its stream sharding on it would refuse the whole stream: that, and the sharding, the stand-in does not have.
    """
    highest_ns = pushed.timestamps_ns[0] if stream.highest_ns is None else stream.highest_ns
    fits = stream.bucket.take(sum(pushed.sizes_bytes), now_ns)
    if fits and min(pushed.timestamps_ns) >= max(highest_ns, *pushed.timestamps_ns) - WINDOW_NS:
        return []
    refused: list[_Refused] = []
    taken: list[bool] = []
    for timestamp_ns, size_bytes in zip(pushed.timestamps_ns, pushed.sizes_bytes, strict=True):
        oldest_ns = highest_ns - WINDOW_NS
        taken.append(False)
        if not fits and not stream.bucket.take(size_bytes, now_ns):
            rate, size = size_text(limits.per_stream_rate_limit), size_text(size_bytes)
            reason = (
                f"Per stream rate limit exceeded (limit: {rate}/sec) while attempting to ingest for stream '{name}' "
                f"totaling {size}, consider splitting a stream via additional labels or contact your Loki "
                "administrator to see if the limit can be increased"
            )
            refused.append(_Refused(timestamp_ns, _TOO_MANY, reason))
        elif timestamp_ns < oldest_ns:
            reason = (
                f"entry too far behind, entry timestamp is: {_rfc3339(timestamp_ns)}, "
                f"oldest acceptable timestamp is: {_rfc3339(oldest_ns)}"
            )
            refused.append(_Refused(timestamp_ns, _BAD_REQUEST, reason))
        else:
            taken[-1] = True
            highest_ns = max(highest_ns, timestamp_ns)
    pushed.timestamps_ns = list(compress(pushed.timestamps_ns, taken))
    pushed.lines = list(compress(pushed.lines, taken))
    pushed.metadata = list(compress(pushed.metadata, taken))
    pushed.sizes_bytes = list(compress(pushed.sizes_bytes, taken))
    return refused


def _listed(refused: list[_Refused], total: int, user: str, stream: str) -> str:
    listed = "".join(
        f"entry with timestamp {_go_time(entry.timestamp_ns)} ignored, reason: '{entry.reason}',\n"
        for entry in refused[:ERRORS_LISTED_MAX]
    )
    return f"{listed}user '{user}', total ignored: {len(refused)} out of {total} for stream: {stream}"


def _rfc3339(timestamp_ns: int) -> str:
    return (_EPOCH + timedelta(seconds=timestamp_ns // 10**9)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _go_time(timestamp_ns: int) -> str:
    """Write a time as Go's Time.String does in UTC: the fraction without its trailing zeros."""
    whole = (_EPOCH + timedelta(seconds=timestamp_ns // 10**9)).strftime("%Y-%m-%d %H:%M:%S")
    fraction = f".{timestamp_ns % 10**9:09d}".rstrip("0").rstrip(".")
    return f"{whole}{fraction} +0000 UTC"
