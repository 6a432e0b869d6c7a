"""Real Alertmanager: groups alerts, silences what follows from others, and sends messages."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from shipper.devstack.parts import locate
from shipper.devstack.server import HOST, Server, free_port


class AlertmanagerServer(Server):
    """An Alertmanager on `url`, alone.

    Args:
        data_dir: its folder.
        config: what its configuration file says.
    """

    name = "alertmanager"

    def __init__(self, data_dir: Path, config: Mapping[str, Any]) -> None:
        super().__init__(data_dir)
        self._port = free_port()
        self._config = config

    @property
    def url(self) -> str:
        """The address before `/api/v2/…`."""
        return f"http://{HOST}:{self._port}"

    def _command(self) -> Sequence[str]:
        config = self.data_dir / "alertmanager.yml"
        config.write_text(json.dumps(self._config, indent=2))  # JSON is YAML
        return [
            str(locate("alertmanager")),
            f"--config.file={config}",
            f"--storage.path={self.data_dir / 'data'}",
            f"--web.listen-address={HOST}:{self._port}",
            "--cluster.listen-address=",  # no others to look for
        ]

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/-/ready", timeout=2).ok
        except requests.RequestException:
            return False
