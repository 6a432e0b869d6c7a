"""Dead letters, and what a redrive did, as objects for JSON: what `shipper dlq` and the log API say of them."""

from base64 import b64encode
from typing import Any

from shipper.kafka.letters import Letter
from shipper.moments import show_ms
from shipper.tools.dead_letters import Known
from shipper.tools.redrive import Outcome, Plan


def state(known: Known) -> str:
    """Return what became of a letter."""
    return "waiting" if known.marker is None else "redriven"


def fields(known: Known) -> dict[str, Any]:
    """Return what is known of a letter, for JSON. `timestamp` is the record's own, by Kafka."""
    (topic, partition, offset), timestamp_ms = known.origin
    return {
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "timestamp": show_ms(timestamp_ms) if timestamp_ms >= 0 else None,
        "dead_lettered_at": show_ms(known.written_ms),
        "reason": known.reason,
        "detail": known.detail,
        "value_bytes": known.value_bytes,
        "state": state(known),
        "rounds": known.rounds,
        "redriven_at": show_ms(known.marker.written_ms) if known.marker else None,
        "redriven_to": str(known.marker.to) if known.marker else None,
        "letters": [{"partition": copy.partition, "offset": copy.offset} for copy in known.copies],
    }


def all_fields(known: Known, letter: Letter) -> dict[str, Any]:
    """Return all of a letter, for JSON; bytes that are no UTF-8 stand in `…_base64`, with null in their place."""
    headers = [{"name": name, **_bytes("value", value)} for name, value in letter.headers]
    return {**fields(known), **_bytes("key", letter.key), "headers": headers, **_bytes("value", letter.value)}


def _bytes(name: str, value: bytes | None) -> dict[str, str | None]:
    if value is None:
        return {name: None}
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {name: None, f"{name}_base64": b64encode(value).decode()}


def of_redrive(planned: Plan, outcome: Outcome, *, dry_run: bool) -> dict[str, Any]:
    """Return what a redrive did, or would do."""
    return {
        "dry_run": dry_run,
        "to_put_back": len(planned.letters),
        "put_back": outcome.put_back.total(),
        "topics": dict(sorted(outcome.put_back.items())),
        "skipped_redriven": outcome.redriven,
        "skipped_unsettled": planned.unsettled,
        "beyond_limit": planned.beyond,
        "failed": [_failure(known, why) for known, why in outcome.failed],
    }


def _failure(known: Known, why: str) -> dict[str, object]:
    topic, partition, offset = known.origin.place
    return {"topic": topic, "partition": partition, "offset": offset, "reason": known.reason, "why": why}
