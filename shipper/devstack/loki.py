"""Real Grafana Loki: one process, its data in a folder, quick to be ready, with its write-ahead log on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from shipper.devstack.parts import locate
from shipper.devstack.server import HOST, Server, free_port

_LIMITS: Mapping[str, Any] = {
    "ingestion_rate_mb": 512,
    "ingestion_burst_size_mb": 1024,
    # A stream over its own rate loses entries behind a 204: the tenant's must come first.
    "per_stream_rate_limit": "1024MB",
    "per_stream_rate_limit_burst": "2048MB",
    # On by default, it deals the entries of a busy stream to several at random: what is sent again after a crash lands
    # in another one, and is stored twice.
    "shard_streams": {"enabled": False},
}

# A query whose entries do not fit into a message fails, hangs, or is answered with nothing: 4 MiB is 20 long lines.
_WIDE_MESSAGES: Mapping[str, Any] = {
    "grpc_server_max_recv_msg_size": 100 * 1024 * 1024,
    "grpc_server_max_send_msg_size": 100 * 1024 * 1024,
}

# Without it, entries older than some hours are taken but cannot be read until their chunk is flushed.
_LONG_LOOK_BACK: Mapping[str, Any] = {"query_store_max_look_back_period": "-1ns"}


class LokiServer(Server):
    """A monolithic Loki on `url`, set up to store nothing twice and to find everything, with wide rates.

    Args:
        data_dir: its folder; a folder that holds a Loki already is taken up again.
        limits: keys of Loki's `limits_config` that are added to, or win over, the ones here.
        auth_enabled: whether every request must name its tenant in `X-Scope-OrgID`.
        as_it_comes: leave Loki's own defaults, for limits too.
    """

    name = "loki"

    def __init__(
        self,
        data_dir: Path,
        *,
        limits: Mapping[str, Any] | None = None,
        auth_enabled: bool = False,
        as_it_comes: bool = False,
    ) -> None:
        super().__init__(data_dir)
        self._port, self._grpc_port = free_port(), free_port()
        self._limits = {**({} if as_it_comes else _LIMITS), **(limits or {})}
        self._auth_enabled = auth_enabled
        self._as_it_comes = as_it_comes

    @property
    def url(self) -> str:
        """The address before `/loki/api/v1/…`."""
        return f"http://{HOST}:{self._port}"

    def _config(self) -> dict[str, Any]:
        root = str(self.data_dir / "data")
        return {
            "auth_enabled": self._auth_enabled,
            "analytics": {"reporting_enabled": False},
            "server": {
                "http_listen_address": HOST,
                "http_listen_port": self._port,
                "grpc_listen_address": HOST,
                "grpc_listen_port": self._grpc_port,
                "log_level": "warn",
                **({} if self._as_it_comes else _WIDE_MESSAGES),
            },
            "common": {
                "path_prefix": root,
                "replication_factor": 1,
                "instance_addr": HOST,
                "ring": {"instance_addr": HOST, "kvstore": {"store": "inmemory"}},
                "storage": {"filesystem": {"chunks_directory": f"{root}/chunks", "rules_directory": f"{root}/rules"}},
            },
            # These three bring it from ten seconds to one until it is ready.
            "frontend": {"scheduler_dns_lookup_period": "500ms"},
            "frontend_worker": {"dns_lookup_duration": "500ms"},
            "ingester": {
                "lifecycler": {"min_ready_duration": "0s"},
                "wal": {"enabled": True, "dir": f"{root}/wal"},
                **({} if self._as_it_comes else _LONG_LOOK_BACK),
            },
            "schema_config": {
                "configs": [
                    {
                        "from": "2024-01-01",
                        "store": "tsdb",
                        "object_store": "filesystem",
                        "schema": "v13",
                        "index": {"prefix": "index_", "period": "24h"},
                    }
                ]
            },
            "limits_config": self._limits,
        }

    def _command(self) -> Sequence[str]:
        config = self.data_dir / "loki.yaml"
        config.write_text(json.dumps(self._config(), indent=2))  # JSON is YAML
        return [str(locate("loki")), f"-config.file={config}"]

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/ready", timeout=2).ok
        except requests.RequestException:
            return False
