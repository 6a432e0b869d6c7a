"""One Loki, real or not, and one test's own streams in it."""

import time
import uuid
from typing import Any

import requests

from loki_proto import Entry, Stream, encode_push
from shipper.loki.query import LokiReader, StreamEntry

S = 10**9
HOUR = 3600 * S
LINE_BYTES_MAX = 256 << 10
# Entries lie here; what Loki takes is measured from now, so this cannot be a constant date.
BASE_NS = (time.time_ns() - HOUR) // S * S


class Target:
    """One Loki, one test's own streams in it."""

    def __init__(self, url: str, tenant: str = "") -> None:
        self.url, self.test_id, self.tenant = url, uuid.uuid4().hex, tenant
        self.reader = LokiReader(url, tenant=tenant)
        self.selector = f'{{test_id="{self.test_id}"}}'

    def stream(self, *entries: Entry, **labels: str) -> Stream:
        pairs = sorted({**labels, "test_id": self.test_id}.items())
        return Stream("{" + ", ".join(f'{name}="{value}"' for name, value in pairs) + "}", entries)

    def push(self, *streams: Stream) -> requests.Response:
        return self.post(encode_push(streams))

    def post(self, body: bytes, **headers: str | None) -> requests.Response:
        named = {"Content-Type": "application/x-protobuf", "X-Scope-OrgID": self.tenant or None, **headers}
        sent: dict[str, Any] = named  # requests leaves out a header of None
        return requests.post(f"{self.url}/loki/api/v1/push", data=body, headers=sent, timeout=30)

    def entries(self, selector: str = "", **options: int) -> list[StreamEntry]:
        found = self.reader.entries(selector or self.selector, BASE_NS - 8 * HOUR, BASE_NS + 3 * HOUR, **options)
        return list(found)

    def read(self) -> list[Entry]:
        """What is in the test's streams, without the level that Loki adds, sorted also within a nanosecond."""
        return sorted(
            Entry(
                one.timestamp_ns,
                one.line,
                tuple(sorted((name, value) for name, value in one.metadata.items() if name != "detected_level")),
            )
            for one in self.entries()
        )


def make_line(text: str = "a line", at_ns: int = BASE_NS, **metadata: str) -> Entry:
    return Entry(at_ns, text, tuple(sorted(metadata.items())))


def padded(value: int, width: int) -> bytes:
    low = [value >> 7 * place & 0x7F | 0x80 for place in range(width - 1)]
    return bytes([*low, value >> 7 * (width - 1)])


def field(number: int, content: bytes, width: int) -> bytes:
    return bytes([number << 3 | 2]) + padded(len(content), width) + content
