"""A stand-in for Grafana Loki 3.7, in memory, for the demo and for tests that need no real one.

It behaves as Loki does as far as the project uses it: the same contract tests run against both, and where the two
differ the stand-in is wrong. What it is known to do differently:

| what | Loki | the stand-in |
|---|---|---|
| where entries live | on disk, through a restart | in memory, until it ends |
| push bodies | protobuf or JSON; snappy, gzip, deflate | snappy protobuf only, the rest is 400 |
| text of an answer to what cannot be parsed | its own parsers' | the same status and beginning, other words behind it |
| label names in quotes, a metric name before the brace | taken | 400, cannot be parsed |
| LogQL | all of it | selectors, line filters, count_over_time alone or in `sum by`, at `query` only |
| regular expressions | RE2 | Python's `re` |
| rates and number of streams | limited by default | unlimited unless configured |
| order within one nanosecond of a stream | grouped by structured metadata | as they came |
| an entry older than 2 h 41 min when it is pushed | readable once its chunk is flushed | readable at once |
| `labels`, `series` | those of the time range | all |
| statistics in answers | filled | empty |
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from shipper.devstack.server import HOST, Server, free_port


class LokiStandIn(Server):
    """The stand-in as a process of its own, so that it shares nobody's interpreter lock; it dies with its parent.

    Args:
        data_dir: folder for its log; it stores nothing there.
        port: where to listen on 127.0.0.1; 0 takes a free one.
        limits: keys of Loki's `limits_config`; what is not given is Loki's default, without rates.
        auth_enabled: whether every request must name its tenant in `X-Scope-OrgID`.
    """

    name = "loki-stand-in"
    ready_timeout_s = 20

    def __init__(
        self, data_dir: Path, *, port: int = 0, limits: Mapping[str, Any] | None = None, auth_enabled: bool = False
    ) -> None:
        super().__init__(data_dir)
        self._port = port or free_port()
        self._limits = dict(limits or {})
        self._auth_enabled = auth_enabled

    @property
    def url(self) -> str:
        """The address before `/loki/api/v1/…`."""
        return f"http://{HOST}:{self._port}"

    def _command(self) -> Sequence[str]:
        command = [sys.executable, "-m", "shipper.devstack.standin", "--port", str(self._port)]
        return [*command, "--limits", json.dumps(self._limits), *(["--auth-enabled"] if self._auth_enabled else [])]

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/ready", timeout=2).ok
        except requests.RequestException:
            return False
