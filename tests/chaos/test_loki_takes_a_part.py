"""The fault table, row 3: Loki takes a part of a request, with load running, and exactly the guilty go.

This Loki's limits are tighter than what shipper is told of them, so that nothing is found before the push.

What shipper cannot produce by construction is not here: a label string that cannot be parsed, or a label given twice
(tests/fault/test_refusals_of_loki.py asks the verdict of it, tests/fault/test_narrowing.py the client). Too many
labels, or too long a name, meets every entry alike: it is an operator's to mend, and in row 2.

Seen red: entries pushed one by one in place of halves; the neighbour of a guilty entry refused with it; streams that
may be too far behind pushed beside others, which the real Loki dropped behind its 204.
"""

import math
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
import snappy

from chaos.proxy import LokiProxy
from chaos.stage import Stage, make_shipping, staged
from fault.server import Answer, Push
from loki_proto import decode_push
from messages import StoredMessage
from oracle import DeadLettered, Outcome
from shipper.devstack.kafka import KafkaServer
from shipper.devstack.loki import LokiServer
from shipper.records import Reason
from shipping import Shipping, Written

pytestmark = pytest.mark.slow

TIGHT = {
    "reject_old_samples_max_age": "2h",
    "creation_grace_period": "1m",
    "max_line_size": 4_000,
    "max_structured_metadata_size": 1_000,
    "max_label_value_length": 64,
    "ingestion_rate_mb": 2,
    "ingestion_burst_size_mb": 2,
}
COUNT = 32
POSITIONS: dict[str, Sequence[int]] = {
    "first": [0],
    "middle": [COUNT // 2],
    "last": [COUNT - 1],
    "alternating": range(0, COUNT, 2),
    "all": range(COUNT),
}


class Guilt(NamedTuple):
    """What a record is refused for, and what makes it so: it lies so many seconds ahead, and has fields of its own."""

    reason: Reason
    ahead_s: int = 0
    fields: str = ""


GUILTS = {
    "too-old": Guilt(Reason.TOO_OLD, ahead_s=-3 * 3_600),
    # The window is an hour: less than what is too old.
    "too-far-behind": Guilt(Reason.TOO_OLD, ahead_s=-90 * 60),
    # More than the minute that Loki grants, less than the ten that shipper is told of.
    "too-new": Guilt(Reason.TOO_NEW, ahead_s=9 * 60),
    "line": Guilt(Reason.LINE_TOO_LONG, fields=f',"body":"{"x" * 5_000}"'),
    "metadata": Guilt(Reason.METADATA_TOO_LARGE, fields=f',"userId":"{"u" * 2_000}"'),
    "label": Guilt(Reason.REFUSED_BY_LOKI, fields=f',"service":"{"s" * 100}"'),
}


# A request of which every entry is refused for its labels waits for an operator (tests/fault/test_narrowing.py): here a
# label is one entry's.
CASES = [(kind, where) for kind in GUILTS for where in POSITIONS if kind != "label" or len(POSITIONS[where]) == 1]


class Tight(Shipping):
    """Knows which records this Loki refuses: those that say so."""

    def _expect(self, record: StoredMessage) -> Outcome:
        value = record.value() or b""
        for guilt in GUILTS.values():
            if b'"guilty of %s"' % guilt.reason.encode() in value:
                return DeadLettered(guilt.reason)
        return super()._expect(record)


@pytest.fixture(scope="module")
def tight_loki(server_dir: Callable[[str], Path]) -> Iterator[LokiServer]:
    with LokiServer(server_dir("tight-loki"), limits=TIGHT) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(tight_loki: LokiServer) -> Iterator[LokiProxy]:
    with LokiProxy(tight_loki.url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def stage(
    kafka: KafkaServer, tight_loki: LokiServer, proxy: LokiProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    shipping = make_shipping(kafka, tight_loki.url, tmp_path_factory.mktemp("loki-takes-a-part"), Tight)
    with staged(shipping, f"loki.url={proxy.url}", rate=500, poisonous=False) as stage:
        yield stage


@pytest.mark.parametrize(("kind", "where"), CASES)
def test_exactly_the_guilty_are_dead_lettered_with_few_pushes(
    stage: Stage, proxy: LokiProxy, kind: str, where: str
) -> None:
    guilt, guilty = GUILTS[kind], POSITIONS[where]
    batch = uuid.uuid4().hex
    pushed: list[int] = []

    def counting(push: Push) -> Answer:
        if batch.encode() in snappy.uncompress(push.body):
            pushed.append(entries_of(push))
        return proxy.forward(push)

    with proxy.during(counting):
        stage.guilty += len(guilty)
        stage.write(record(kind, batch), *(record(kind, batch, guilt if n in guilty else None) for n in range(COUNT)))
        stage.running.wait_for(lambda status: status["totals"]["dead_lettered"] == stage.guilty)
    # Every guilty entry is on one path from its request down to itself, and what is not guilty is beside such a path.
    paths = len(guilty) * (math.ceil(math.log2(max(pushed))) + 1)
    assert len(pushed) <= 2 * paths + 1


def test_more_than_loki_takes_in_a_second_and_at_once_arrives_by_and_by(stage: Stage) -> None:
    text = "x" * 3_500
    with stage.healing():
        # Three requests, each of them larger than the burst: halved, they pass one after the other.
        stage.write(*(record("rate", text) for _ in range(1_600)))
        # Loki takes and refuses in turns, so its state may be one or the other.
        refusal = "HTTP 429: ingestion rate limit exceeded for user fake (limit: 2097152 bytes/sec)"
        stage.running.wait_for(lambda status: refusal in str(status["loki"]["last_error"]))


def record(kind: str, batch: str, guilt: Guilt | None = None) -> Written:
    """A record of a stream of its kind's own; guilty, or innocent and of now."""
    at = datetime.fromtimestamp(time.time() + (guilt.ahead_s if guilt else 0), UTC).isoformat()
    says = f"guilty of {guilt.reason}" if guilt else "innocent"
    fields = f'"timestamp":"{at}","service":"{kind}","level":"info","message":"{says}","batch":"{batch}"'
    return Written(f"{{{fields}{guilt.fields if guilt else ''}}}".encode(), kind.encode())


def entries_of(push: Push) -> int:
    return sum(len(stream.entries) for stream in decode_push(push.body))
