"""The fault table, row 1: Loki is restarted, with load running and pushes in flight.

Seen red: an engine that pushes to one stream several times at once, as it was before lanes (9 records missing).
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chaos.stage import Stage, make_shipping, staged
from shipper.devstack.kafka import KafkaServer
from shipper.devstack.loki import LokiServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own_loki(server_dir: Callable[[str], Path]) -> Iterator[LokiServer]:
    with LokiServer(server_dir("restarted-loki")) as server:
        yield server


@pytest.fixture(scope="module")
def stage(kafka: KafkaServer, own_loki: LokiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    # Of two pushes to one stream at once, Loki can forget one when it reads its write-ahead log after a restart,
    # whatever ended it (docs/decisions/0008). Lanes keep a worker from that. One worker: malformed records are one
    # stream whatever their key, and two would both write to it.
    shipping = make_shipping(kafka, own_loki.url, tmp_path_factory.mktemp("restarted-loki"))
    with staged(shipping, "workers.count=1", rate=3_000) as stage:
        yield stage


@pytest.mark.parametrize("end", [LokiServer.stop, LokiServer.kill], ids=["SIGTERM", "SIGKILL"])
def test_a_loki_restarted_under_load_has_kept_what_it_acknowledged(
    stage: Stage, own_loki: LokiServer, end: Callable[[LokiServer], None]
) -> None:
    with stage.healing():
        end(own_loki)
        stage.wait_until_loki_is("retrying", "Connection refused")
        own_loki.start()
