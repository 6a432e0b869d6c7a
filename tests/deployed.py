"""A real Loki under a configuration of `loki/`, as it is deployed but for places, addresses and times."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests
import yaml

from shipper.devstack.loki import LokiServer
from shipper.devstack.server import HOST

ROOT = Path(__file__).parents[1]
LOKI_CONFIGS = sorted(path for path in (ROOT / "loki").glob("*.yaml") if path.name != "overrides.yaml")
_VARIABLE = re.compile(r"\$\{\w+:-([^}]*)\}")

TENANT = "shop"


def read_config(path: Path) -> dict[str, Any]:
    """Return a configuration of Loki's, every variable with its default."""
    config: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(r"\1", path.read_text()))
    return config


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `below` with what `above` has put in, section by section; None takes a key away."""
    merged = dict(below)
    for key, value in above.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            merged[key] = overlay(below.get(key) or {}, value)
        else:
            merged[key] = value
    return merged


class DeployedLoki(LokiServer):
    """A Loki that reads a file of `loki/`.

    Args:
        data_dir: its folder, which takes the place of /loki and of the store.
        config: the file.
        changes: what is different, beside places and addresses.
    """

    def __init__(self, data_dir: Path, config: Path, changes: Mapping[str, Any]) -> None:
        super().__init__(data_dir)
        self._file, self._changes = config, changes

    def _config(self) -> dict[str, Any]:
        written = read_config(self._file)
        root = self.data_dir / "data"
        in_memory = {"instance_addr": HOST, "kvstore": {"store": "inmemory"}}
        server, common = super()._config()["server"], super()._config()["common"]
        on_disk = {
            "server": {key: server[key] for key in server if "listen" in key},
            "common": {**common, "storage": {**common["storage"], "s3": None}},
            "memberlist": None,
            "schema_config": {"configs": [{**written["schema_config"]["configs"][0], "object_store": "filesystem"}]},
            "storage_config": None,
            "compactor": {"working_directory": str(root / "compactor"), "delete_request_store": "filesystem"},
            "ruler": {
                "storage": {"local": {"directory": str(self.data_dir / "rules")}},
                "rule_path": str(root / "rules"),
                "wal": {"dir": str(root / "ruler-wal")},
                "ring": in_memory,
            },
            "runtime_config": None,
            # These three bring it from ten seconds to one until it is ready.
            "frontend": {"scheduler_dns_lookup_period": "500ms"},
            "frontend_worker": {"dns_lookup_duration": "500ms"},
            "ingester": {"lifecycler": {"min_ready_duration": "0s"}, "wal": {"dir": str(root / "wal")}},
        }
        return overlay(overlay(written, on_disk), self._changes)

    def push(self, streams: Sequence[tuple[Mapping[str, str], int, str]]) -> None:
        """Write entries: labels, nanoseconds since the epoch, and line of each."""
        body = {"streams": [{"stream": labels, "values": [[str(at_ns), line]]} for labels, at_ns, line in streams]}
        answer = requests.post(f"{self.url}/loki/api/v1/push", json=body, headers={"X-Scope-OrgID": TENANT}, timeout=30)
        assert answer.status_code == requests.codes.no_content, answer.text
