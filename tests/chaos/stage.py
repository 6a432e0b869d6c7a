"""What a row of the fault table is played on: one running shipper, one topic, one Loki; judged once, at the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from chaos.load import Load, healthy, is_ready
from shipper.devstack.generate import Truth
from shipper.devstack.kafka import KafkaServer, make_topic
from shipping import Running, Shipping

PARTITIONS = 4


@dataclass
class Stage:
    """A shipper that runs, and the load on it."""

    shipping: Shipping
    running: Running
    written: Truth = field(default_factory=Truth)
    is_whole: bool = True
    """Whether every load came to its good end; if not, a test has failed, and there is nothing to judge."""

    @contextmanager
    def load(self, rate: int = 1_000) -> Iterator[None]:
        """Write records meanwhile; then wait until all are settled and the shipper is healthy by itself."""
        assert self.is_whole, "an earlier test has failed on this shipper"
        self.is_whole = False
        seed = 1 + self.written.records
        with Load(self.shipping.bootstrap, self.shipping.topic, rate=rate, seed=seed) as load:
            self.wait_until_delivered(rate // 2)
            yield
            self.wait_until_delivered(rate // 2)
        self.written += load.stop()
        healthy(self.running)
        self.is_whole = True

    def wait_until_delivered(self, more: int) -> None:
        """Wait until so many more records are delivered than now."""
        goal = self.running.status()["totals"]["delivered"] + more
        self.running.wait_for(lambda status: status["totals"]["delivered"] >= goal)

    def wait_until_loki_is(self, state: str, sentence: str, in_flight: int = 0) -> None:
        """Wait until the status says so of Loki, with so many records waiting; it must then say so everywhere."""
        status = self.running.wait_for(
            lambda status: (
                status["loki"]["state"] == state
                and sentence in status["loki"]["last_error"]
                and status["totals"]["in_flight"] >= in_flight
            )
        )
        assert status["state"] == "degraded"
        assert not is_ready(self.running)

    def judge(self) -> None:
        """Hold what came out against the oracle, and against what the load says that it wrote."""
        judged = self.shipping.judge()
        assert judged["dead_lettered"] == self.written.dead_letters.total()
        assert judged.total() == self.written.records


def make_shipping(kafka: KafkaServer, loki_url: str, folder: Path) -> Shipping:
    return Shipping(
        folder,
        bootstrap=kafka.bootstrap,
        loki_url=loki_url,
        topic=make_topic(kafka.bootstrap, PARTITIONS),
        dead_letters=make_topic(kafka.bootstrap, 1, {"max.message.bytes": "2097152"}),
    )


@contextmanager
def staged(shipping: Shipping, *settings: str) -> Iterator[Stage]:
    """Run a shipper, with settings that win over its configuration, and judge it at the end."""
    arguments = [text for setting in settings for text in ("--set", setting)]
    with shipping.run(*arguments) as running:
        running.wait_for(lambda status: status["state"] == "running")
        stage = Stage(shipping, running)
        yield stage
        if stage.is_whole:
            stage.judge()
