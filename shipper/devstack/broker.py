"""The embedded Kafka-compatible broker, which comes as a wheel: for the demo, and for tests beside Kafka."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from shipper.devstack.kafka import has_broker
from shipper.devstack.server import HOST, Server, ServerFailedError, answers, free_port


def _binary() -> Path:
    """Return the broker's program inside its installed package.

    The package's console script is a Python process that waits for this program: killing it would leave that running.
    """
    package = importlib.util.find_spec("noida_db")
    if package is None or package.origin is None:
        raise ServerFailedError("the embedded broker (the package noida-db) is not installed; run `make install`")
    binary = Path(package.origin).with_name("noida-db")
    if not binary.is_file():
        raise ServerFailedError(f"the package noida-db has no program for this system: {binary} is not there")
    if not binary.stat().st_mode & 0o111:  # wheels do not carry the executable bit; the console script sets it too
        binary.chmod(0o755)
    return binary


class EmbeddedBroker(Server):
    """A broker of a few MB on `bootstrap` that speaks Kafka's protocol as far as the shipper uses it."""

    name = "broker"

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self._port = free_port()

    @property
    def bootstrap(self) -> str:
        """The address for `bootstrap.servers`."""
        return f"{HOST}:{self._port}"

    def _command(self) -> Sequence[str]:
        return [
            str(_binary()),
            *("start", "--only", "kafka"),
            *("--host", HOST, "--kafka-port", str(self._port)),
            *("--data-dir", str(self.data_dir / "data")),
        ]

    def _is_ready(self) -> bool:
        return answers(self._port) and has_broker(self.bootstrap)
