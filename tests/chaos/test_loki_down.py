"""The fault table, row 1: Loki is down, then back, with load running. Restarts are in test_loki_restarted.py.

Seen red: a timeout taken as delivered (1,091 records missing).
"""

from collections.abc import Iterator

import pytest

from chaos.proxy import CUT_ANSWERS, LATE, LOSE_ANSWERS, REFUSE, SILENT, Mode, TcpProxy
from chaos.stage import Stage, make_shipping, staged
from shipper.devstack.kafka import KafkaServer
from shipper.devstack.loki import LokiServer

pytestmark = pytest.mark.slow

TIMEOUT_S = 2
SLOW = Mode(pause_s=0.6)
"""A push takes some 15 ms; with a pause before its body and one before its answer, a hundred times that."""


@pytest.fixture(scope="module")
def wire(loki: LokiServer) -> Iterator[TcpProxy]:
    with TcpProxy(loki.url.removeprefix("http://")) as wire:
        yield wire


@pytest.fixture(scope="module")
def stage(
    kafka: KafkaServer, loki: LokiServer, wire: TcpProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    shipping = make_shipping(kafka, loki.url, tmp_path_factory.mktemp("loki-down"))
    with staged(shipping, f"loki.url={wire.url}", f"loki.timeout_s={TIMEOUT_S}") as stage:
        yield stage


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        pytest.param(REFUSE, "Connection refused", id="refuses-connections"),
        pytest.param(SILENT, f"no answer within {TIMEOUT_S} s", id="accepts-and-never-answers"),
        pytest.param(LATE, f"no answer within {TIMEOUT_S} s", id="answers-when-nobody-waits-any-more"),
        pytest.param(CUT_ANSWERS, "HTTP/1.1 2", id="closes-in-the-middle-of-the-answer"),
        pytest.param(LOSE_ANSWERS, "Connection reset by peer", id="stores-and-its-answer-is-lost"),
    ],
)
def test_loki_away_and_back_is_waited_for(stage: Stage, wire: TcpProxy, mode: Mode, sentence: str) -> None:
    with stage.healing(), wire.during(mode):
        stage.wait_until_loki_is("retrying", sentence)


def test_a_loki_slow_by_a_hundred_times_is_shipped_to_all_the_same(stage: Stage, wire: TcpProxy) -> None:
    with stage.healing(), wire.during(SLOW):
        stage.wait_until_delivered(800)
