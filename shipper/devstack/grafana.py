"""Real Grafana, with the data sources and dashboards of `grafana/` provisioned: where there is one.

No registry that the other parts come from has it, so it is not fetched: who has a Grafana puts it on the PATH, or names
one that runs already in GRAFANA_URL.
"""

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests

from shipper.devstack import parts
from shipper.devstack.server import HOST, Server, free_port

_USER = "admin"


class GrafanaServer(Server):
    """A Grafana on `url`.

    Args:
        data_dir: its folder.
        dashboards: the folder `grafana` of the checkout.
        loki_url: what the data source `loki` asks.
        prometheus_url: what the data source `prometheus` asks.
    """

    name = "grafana"
    ready_timeout_s = 180  # the first start makes its database

    def __init__(self, data_dir: Path, *, dashboards: Path, loki_url: str, prometheus_url: str) -> None:
        super().__init__(data_dir)
        self._dashboards, self._sources = dashboards, {"LOKI_URL": loki_url, "PROMETHEUS_URL": prometheus_url}
        self._wanted = {file.stem for file in (dashboards / "json").glob("*.json")}  # each is named by its uid
        self._port = free_port()
        self.login = (_USER, secrets.token_urlsafe(16))
        """Name and password of its administrator."""

    @property
    def url(self) -> str:
        """The address before `/api/…`."""
        return f"http://{HOST}:{self._port}"

    def _command(self) -> Sequence[str]:
        program = parts.locate("grafana")
        return [str(program), "server", f"--homepath={parts.grafana_home(program)}"]

    def _env(self) -> Mapping[str, str]:
        data = self.data_dir / "data"
        return {
            **self._sources,
            "LOGS_DASHBOARDS": str(self._dashboards / "json"),
            "GF_PATHS_PROVISIONING": str(self._dashboards / "provisioning"),
            "GF_PATHS_DATA": str(data),
            "GF_PATHS_LOGS": str(data / "log"),
            "GF_PATHS_PLUGINS": str(data / "plugins"),
            "GF_SERVER_HTTP_ADDR": HOST,
            "GF_SERVER_HTTP_PORT": str(self._port),
            "GF_SECURITY_ADMIN_USER": _USER,
            "GF_SECURITY_ADMIN_PASSWORD": self.login[1],
            "GF_LOG_MODE": "console",
            "GF_ANALYTICS_REPORTING_ENABLED": "false",
            "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
            "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
            "GF_PLUGINS_PREINSTALL_DISABLED": "true",
        }

    def _is_ready(self) -> bool:
        """Whether it answers and has every dashboard: it takes them in after it has begun to answer."""
        try:
            answer = requests.get(f"{self.url}/api/search", params={"type": "dash-db"}, auth=self.login, timeout=2)
            return answer.ok and self._wanted <= {found["uid"] for found in answer.json()}
        except requests.RequestException:
            return False


def running_elsewhere() -> str:
    """Return the address of a Grafana that runs already, from GRAFANA_URL; empty for none."""
    return os.environ.get("GRAFANA_URL", "").rstrip("/")
