"""Entries as the API shows them, and the order within one nanosecond, which Loki does not have."""

import hashlib
import re
from typing import Any

import msgspec
from pydantic import BaseModel, Field

from shipper.loki.paging import StreamEntry
from shipper.moments import EARLIEST_NS, LATEST_NS, rfc3339

DIGEST_BYTES = 8
_ID = re.compile(r"([0-9]{1,19})-([0-9a-f]{16})")


class Line(BaseModel):
    """A log line; for the OpenAPI document: what is sent is written by `shown`."""

    id: str = Field(
        description="Names this line, as in /v1/logs/context?line=…", examples=["1763974800123000007-9f86d081884c7d65"]
    )
    timestamp: str = Field(examples=["2026-11-24T09:00:00.123000007Z"])
    labels: dict[str, str] = Field(
        examples=[{"level": "info", "service": "chat-service", "service_name": "chat-service"}]
    )
    metadata: dict[str, str] = Field(examples=[{"request_id": "0e32a00a-2024-498f-a4ed-51ee263ed0f2"}])
    line: str = Field(
        description="As the service wrote it.", examples=['{"timestamp":"2026-11-24T09:00:00.123Z","level":"info"}']
    )


def digest(entry: StreamEntry) -> bytes:
    """Return what tells this entry from others of its nanosecond, and orders them: the same whenever it is read."""
    whole = (sorted(entry.labels.items()), sorted(entry.metadata.items()), entry.line)
    return hashlib.blake2b(msgspec.msgpack.encode(whole), digest_size=DIGEST_BYTES).digest()


def shown(entry: StreamEntry, its_digest: bytes) -> dict[str, Any]:
    """Return the entry as JSON shows it."""
    return {
        "id": id_of(entry.timestamp_ns, its_digest),
        "timestamp": rfc3339(entry.timestamp_ns),
        "labels": entry.labels,
        "metadata": entry.metadata,
        "line": entry.line,
    }


def id_of(at_ns: int, its_digest: bytes) -> str:
    """Return what names the entry of a time and a digest."""
    return f"{at_ns}-{its_digest.hex()}"


def parse_id(text: str) -> tuple[int, bytes]:
    """Return the time and the digest that an id names; raises ValueError."""
    found = _ID.fullmatch(text)
    if not found or not EARLIEST_NS <= int(found[1]) <= LATEST_NS:
        raise ValueError(f"{text!r} is no id of a line, such as 1763974800123000007-9f86d081884c7d65")
    return int(found[1]), bytes.fromhex(found[2])
