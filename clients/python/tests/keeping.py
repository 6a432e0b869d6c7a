"""What is logged, kept instead of delivered."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from servicelog.core import CURRENT, Core, use
from servicelog.delivery import Stderr
from servicelog.settings import Settings


class Kept(Stderr):
    """Keeps records."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    def send(self, record: bytes) -> None:
        self.sent.append(record)

    @property
    def records(self) -> list[dict[str, Any]]:
        """What was written, but for the lines of the test's own HTTP client."""
        return [one for one in map(json.loads, self.sent) if one.get("context") not in ("httpx", "asyncio")]


@contextmanager
def keeping(**settings: Any) -> Iterator[Kept]:  # noqa: ANN401 - as in Settings
    """Keep, for a block, what the library writes."""
    before, sink = CURRENT.core, Kept()
    use(Core(Settings(service="chat-service", **settings), sink))
    try:
        yield sink
    finally:
        use(before)
