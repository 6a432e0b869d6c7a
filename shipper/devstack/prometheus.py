"""Real Prometheus, scraping what it is given every second."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests

from shipper.devstack.parts import locate
from shipper.devstack.server import HOST, Server, free_port


class PrometheusServer(Server):
    """A Prometheus on `url`.

    Args:
        data_dir: its folder.
        scrape: addresses `host:port` whose `/metrics` it reads, as the job `shipper`.
        others: the address of each other job.
        rule_files: alert and recording rules to load.
        alertmanager: address `host:port` of the Alertmanager that it sends alerts to.
        scrape_interval_s: time between two looks, in whole seconds.
    """

    name = "prometheus"

    def __init__(
        self,
        data_dir: Path,
        *,
        scrape: Sequence[str],
        others: Mapping[str, str] | None = None,
        rule_files: Sequence[Path] = (),
        alertmanager: str | None = None,
        scrape_interval_s: int = 1,
    ) -> None:
        super().__init__(data_dir)
        self._port = free_port()
        self._jobs = {"shipper": scrape, **{job: [address] for job, address in (others or {}).items()}}
        self._rule_files, self._scrape_interval_s = rule_files, scrape_interval_s
        self._alertmanagers = [alertmanager] if alertmanager else []

    @property
    def url(self) -> str:
        """The address before `/api/v1/…`."""
        return f"http://{HOST}:{self._port}"

    def _command(self) -> Sequence[str]:
        interval = f"{self._scrape_interval_s}s"
        config = self.data_dir / "prometheus.yml"
        wanted = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "rule_files": [str(file) for file in self._rule_files],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": self._alertmanagers}]}]},
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": list(targets)}]} for job, targets in self._jobs.items()
            ],
        }
        config.write_text(json.dumps(wanted, indent=2))  # JSON is YAML
        return [
            str(locate("prometheus")),
            f"--config.file={config}",
            f"--storage.tsdb.path={self.data_dir / 'data'}",
            f"--web.listen-address={HOST}:{self._port}",
            # The first alerts may come before the Alertmanager is known, and are sent again a minute later by default.
            "--rules.alert.resend-delay=2s",
        ]

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/-/ready", timeout=2).ok
        except requests.RequestException:
            return False
