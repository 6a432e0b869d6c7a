"""What the services' libraries write, the shipper reads: every case of clients/vectors goes through prepare()."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from loki_proto import decode_push
from messages import StoredMessage
from shipper.loki.encode import compress, encode
from shipper.pipeline import Rules, prepare
from shipper.records import RecordBatch
from shipper.settings import Settings
from vectors import CASES, record

RULES = Rules.compile(Settings())
NOW_NS = 1_795_564_800 * 10**9  # the end of the cases' day, 2026-11-25T00:00:00Z
OFFSET = 654_321


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_engine_takes_what_the_libraries_write(case: dict[str, Any]) -> None:
    value = record(case)
    batch = RecordBatch("logs", [StoredMessage(value, ("logs", 0, OFFSET))])
    prepared = prepare(batch, RULES, now_ns=NOW_NS)
    assert not prepared.rejected
    (request,) = prepared.requests
    (stream,) = decode_push(compress(encode(request)))
    (entry,) = stream.entries
    written = json.loads(value)
    assert stream.labels == f'{{level="{written["level"]}", service="chat-service"}}'
    assert entry.line.encode() == value
    found = {
        "request_id": written.get("requestId") or written.get("traceId"),
        "trace_id": written.get("traceId"),
        "user_id": written.get("userId"),
    }
    assert dict(entry.metadata) == {name: text for name, text in found.items() if text}
    assert datetime.fromtimestamp(entry.timestamp_ns // 10**9, UTC).isoformat()[:19] == written["timestamp"][:19]
    assert entry.timestamp_ns % 10**9 == int(written["timestamp"][20:23]) * 10**6 + OFFSET
