"""The shipper of the demo: `shipper run` as a process of its own with a configuration of its own, and what it says."""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import requests
from prometheus_client.parser import text_string_to_metric_families

from shipper import config
from shipper.devstack.server import HOST, Server, free_port
from shipper.settings import Settings

WORKERS = 2
_ANSWER_TIMEOUT_S = 5.0
_STALLED_S = 60.0
_CONFIG = """\
# What `shipper demo` runs with; all else is default.
[kafka]
bootstrap_servers = ["{bootstrap}"]

[loki]
url = "{loki_url}"

[workers]
count = {workers}

[status]
listen = "{host}:{port}"
"""


class Totals(msgspec.Struct, frozen=True):
    """Records and bytes since the start, as `/status` names them."""

    consumed: int
    delivered: int
    filtered: int
    dead_lettered: int
    in_flight: int
    bytes_in: int
    bytes_out: int
    pushes: int
    retries: int

    @property
    def settled(self) -> int:
        """Records of which shipper knows what became of them."""
        return self.delivered + self.filtered + self.dead_lettered


class Partition(msgspec.Struct, frozen=True):
    """One partition of the log topic; None while its worker does not know yet."""

    topic: str
    partition: int
    worker: int
    high_watermark: int | None
    lag_records: int | None


class Worker(msgspec.Struct, frozen=True):
    """One worker process."""

    index: int
    state: str
    cpu_percent: float
    rss_bytes: int


class Loki(msgspec.Struct, frozen=True):
    """How shipper sees Loki: ok, retrying or refusing, and what it answered last if not well."""

    state: str
    last_error: str | None


class Status(msgspec.Struct, frozen=True):
    """The document of `/status`, as far as the demo shows it."""

    totals: Totals
    partitions: list[Partition]
    workers: list[Worker]
    loki: Loki

    def is_caught_up(self, records: int) -> bool:
        """Say whether everything is settled and committed of a topic that holds so many records."""
        written = sum(partition.high_watermark or 0 for partition in self.partitions)
        is_behind = any(partition.lag_records != 0 for partition in self.partitions)
        return written >= records and not is_behind and not self.totals.in_flight


class ShipperProcess(Server):
    """`shipper run` with two workers, on the configuration file `config`.

    Args:
        data_dir: folder for the configuration and the log.
        bootstrap: address of Kafka.
        loki_url: address of Loki.
    """

    name = "shipper"

    def __init__(self, data_dir: Path, *, bootstrap: str, loki_url: str) -> None:
        super().__init__(data_dir)
        port = free_port()
        self.url = f"http://{HOST}:{port}"
        self.config = data_dir / "config.toml"
        self.config.write_text(
            _CONFIG.format(bootstrap=bootstrap, loki_url=loki_url, workers=WORKERS, host=HOST, port=port)
        )
        self._session = requests.Session()

    @property
    def settings(self) -> Settings:
        """What it runs with."""
        return config.load(self.config, env={})

    def status(self) -> Status:
        """Ask how it stands.

        Raises: ServerFailedError with the end of its log, when it has ended or does not answer.
        """
        return msgspec.json.decode(self._get("/status"), type=Status)

    def watch(self, records: int, *, sleep: Callable[[], None], clock: Callable[[], float]) -> Iterator[Status]:
        """Yield the status again and again, the last time when all of so many records in Kafka are settled.

        Args:
            records: how many Kafka holds.
            sleep: waits a moment between two looks.
            clock: seconds from any fixed moment.

        Raises: ServerFailedError, when it ends, or settles nothing for a minute.
        """
        settled, settled_at = 0, clock()
        while True:
            status = self.status()
            yield status
            if status.is_caught_up(records):
                return
            if status.totals.settled != settled:
                settled, settled_at = status.totals.settled, clock()
            elif clock() - settled_at > _STALLED_S:
                raise self._failed(
                    f"stood still for {_STALLED_S:.0f} s with {settled:,} of {records:,} records shipped"
                )
            sleep()

    def count(self, metric: str, label: str) -> Counter[str]:
        """Return a counter of `/metrics`, summed by one of its labels; what was never counted is left out."""
        counts: Counter[str] = Counter()
        for family in text_string_to_metric_families(self._get("/metrics").decode()):
            for sample in family.samples:
                if sample.name == metric and sample.value:
                    counts[sample.labels[label]] += int(sample.value)
        return counts

    def _get(self, path: str) -> bytes:
        try:
            answer = self._session.get(self.url + path, timeout=_ANSWER_TIMEOUT_S)
            answer.raise_for_status()
        except requests.RequestException as error:
            if not self.running:
                code = self._process.returncode if self._process else None
                raise self._failed(f"ended with exit code {code}") from error
            raise self._failed(f"did not answer at {self.url}{path} ({error})") from error
        return answer.content

    def _command(self) -> Sequence[str]:
        # Settings in the user's environment would win over the file, and send the demo's records elsewhere.
        foreign = [name for name in os.environ if name.startswith("SHIPPER_") and "__" in name]
        clean = [shutil.which("env") or "env", *(f"--unset={name}" for name in foreign)] if foreign else []
        return [*clean, sys.executable, "-m", "shipper", "run", "--config", str(self.config)]

    def _is_ready(self) -> bool:
        try:
            return self._session.get(f"{self.url}/healthz", timeout=2).ok
        except requests.RequestException:
            return False
