"""What a row of the fault table is played on: a shipper that runs, load on it, one fault after the other.

It must be healthy by itself after each, while the load goes on. It is judged once, at the end of all: a judgement costs
more than a fault.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chaos.load import Load, healthy, is_ready
from shipper.devstack.kafka import KafkaServer, make_topic
from shipper.loki.query import LokiReader
from shipping import Running, Shipping, Written, write

PARTITIONS = 4
RATE = 1_000
"""Records per second."""
WAITING = 200
"""Records that wait before a fault is over: fewer than a worker takes while nothing passes."""
_MINUTE_NS = 60 * 10**9


@dataclass
class Stage:
    """A shipper that runs under load.

    Attributes:
        shipping: its setting.
        running: its status and processes.
        is_well: whether it was healthy after every fault so far; if not, a test has failed, and no other can tell more.
        written: records that tests wrote beside the load.
        guilty: how many of these are dead letters.
    """

    shipping: Shipping
    running: Running
    is_well: bool = True
    written: int = 0
    guilty: int = 0

    def write(self, *records: Written) -> None:
        """Write records beside the load."""
        write(self.shipping.bootstrap, self.shipping.topic, records)
        self.written += len(records)

    @contextmanager
    def healing(self) -> Iterator[None]:
        """Whatever breaks in here is mended at the end of it, and the shipper must then be healthy by itself."""
        assert self.is_well, "an earlier test has failed on this shipper"
        self.is_well = False
        yield
        healthy(self.running)
        self.is_well = True

    def wait_until_delivered(self, more: int) -> None:
        """Wait until so many more records are delivered than now."""
        goal = self.running.status()["totals"]["delivered"] + more
        self.running.wait_for(lambda status: status["totals"]["delivered"] >= goal)

    def finds(self, text: str) -> bool:
        """Whether a reader finds an entry with this text in Loki, of the last minute."""
        query = f'{{test="{self.shipping.label}"}} |= `{text}`'
        now_ns = time.time_ns()
        return any(LokiReader(self.shipping.loki_url).entries(query, now_ns - _MINUTE_NS, now_ns + _MINUTE_NS))

    def wait_until_found(self, text: str) -> None:
        """Wait until a reader finds an entry with this text in Loki."""
        self.running.until(lambda: self.finds(text) or None)

    def wait_until_loki_is(self, state: str, sentence: str) -> None:
        """Wait until the status says so of Loki, and records wait; then nobody may take it for healthy."""

        def is_so(status: Mapping[str, Mapping[str, object]]) -> bool:
            loki, waiting = status["loki"], status["totals"]["in_flight"]
            return loki["state"] == state and sentence in str(loki["last_error"]) and int(str(waiting)) >= WAITING

        assert self.running.wait_for(is_so)["state"] == "degraded"
        assert not is_ready(self.running)


def make_shipping(kafka: KafkaServer, loki_url: str, folder: Path, kind: type[Shipping] = Shipping) -> Shipping:
    return kind(
        folder,
        bootstrap=kafka.bootstrap,
        loki_url=loki_url,
        topic=make_topic(kafka.bootstrap, PARTITIONS),
        dead_letters=make_topic(kafka.bootstrap, 1, {"max.message.bytes": "2097152"}),
    )


@contextmanager
def staged(shipping: Shipping, *settings: str, rate: int = RATE, poisonous: bool = True) -> Iterator[Stage]:
    """Run a shipper under load, with settings that win over its configuration's; judge it at the end.

    It is held against the oracle, and against what the load says that it wrote.
    """
    arguments = [text for setting in settings for text in ("--set", setting)]
    with shipping.run(*arguments) as running:
        running.wait_for(lambda status: status["state"] == "running")
        stage = Stage(shipping, running)
        with Load(shipping.bootstrap, shipping.topic, rate=rate, poisonous=poisonous) as load:
            stage.wait_until_delivered(1)
            yield stage
        if not stage.is_well:
            return
        with stage.healing():
            written = load.stop()
        running.wait_for(
            lambda status: (
                status["totals"]["in_flight"] == 0 and all(p["lag_records"] == 0 for p in status["partitions"])
            )
        )
        judged = shipping.judge()
        assert judged["dead_lettered"] == written.dead_letters.total() + stage.guilty
        assert judged.total() == written.records + stage.written
