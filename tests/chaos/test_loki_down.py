"""The fault table, row 1: Loki is down, then back, with load running.

One fault after the other on one shipper, which must be healthy by itself after each; judged at the end of all.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chaos.proxy import CUT_ANSWERS, LOSE_ANSWERS, REFUSE, SILENT, Mode, TcpProxy
from chaos.stage import Stage, make_shipping, staged
from shipper.devstack.kafka import KafkaServer
from shipper.devstack.loki import LokiServer

pytestmark = pytest.mark.slow

TIMEOUT_S = 3
SLOW = Mode(pause_s=0.7)
"""A push takes some 15 ms; with a pause before its body and one before its answer, a hundred times that."""


@pytest.fixture(scope="module")
def own_loki(server_dir: Callable[[str], Path]) -> Iterator[LokiServer]:
    with LokiServer(server_dir("loki-down")) as server:
        yield server


@pytest.fixture(scope="module")
def wire(own_loki: LokiServer) -> Iterator[TcpProxy]:
    with TcpProxy(own_loki.url.removeprefix("http://")) as wire:
        yield wire


@pytest.fixture(scope="module")
def stage(
    kafka: KafkaServer, own_loki: LokiServer, wire: TcpProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    shipping = make_shipping(kafka, own_loki.url, tmp_path_factory.mktemp("loki-down"))
    with staged(shipping, f"loki.url={wire.url}", f"loki.timeout_s={TIMEOUT_S}") as stage:
        yield stage


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        pytest.param(REFUSE, "Connection refused", id="refuses-connections"),
        pytest.param(SILENT, f"no answer within {TIMEOUT_S} s", id="accepts-and-never-answers"),
        pytest.param(CUT_ANSWERS, "HTTP/1.1 2", id="closes-in-the-middle-of-the-answer"),
        pytest.param(LOSE_ANSWERS, "Connection reset by peer", id="stores-and-its-answer-is-lost"),
    ],
)
def test_loki_away_and_back_is_waited_for(stage: Stage, wire: TcpProxy, mode: Mode, sentence: str) -> None:
    with stage.load(), wire.during(mode):
        stage.wait_until_loki_is("retrying", sentence, in_flight=1_000)


def test_a_loki_slow_by_a_hundred_times_is_shipped_to_all_the_same(stage: Stage, wire: TcpProxy) -> None:
    with stage.load(), wire.during(SLOW):
        stage.wait_until_delivered(2_000)


def test_a_loki_restarted_under_load_is_waited_for(stage: Stage, own_loki: LokiServer) -> None:
    with stage.load(rate=3_000):
        own_loki.stop()
        stage.wait_until_loki_is("retrying", "Connection re", in_flight=1_000)  # refused, or reset by the wire
        own_loki.start()


def test_a_loki_killed_under_load_has_kept_what_it_acknowledged(
    kafka: KafkaServer, own_loki: LokiServer, tmp_path: Path
) -> None:
    # One worker: malformed records of all keys, and so of all workers, are in one stream.
    # One push at a time: of two at once to the same stream, Loki can forget one that it acknowledged when it is killed
    # (docs/decisions/0008). Once a worker never writes to a stream twice at once, in_flight_max=1 goes.
    shipping = make_shipping(kafka, own_loki.url, tmp_path)
    with staged(shipping, "workers.count=1", "loki.in_flight_max=1") as stage, stage.load(rate=3_000):
        for _ in range(2):
            stage.wait_until_delivered(2_000)
            own_loki.kill()
            own_loki.start()
