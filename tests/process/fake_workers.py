"""Workers that ship nothing: they write counters and behave, or misbehave, as `kafka.client` tells them.

`fake.does` says how, `fake.worker` which index does it (the others are steady), `fake.lives` for how many lives.
"""

import ctypes
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import NoReturn

from shipper.errors import KafkaUnavailableError
from shipper.logs import log
from shipper.process.canary import CanaryReport
from shipper.process.counters import Counters
from shipper.process.forecast import Retention
from shipper.process.row import Partition, Row
from shipper.settings import Settings

TURN_S = 0.02
BATCH = 1_000


def survey(settings: Settings) -> int:
    if settings.kafka.client.get("fake.survey") == "unreachable":
        raise KafkaUnavailableError("no Kafka broker can be reached at nowhere:9092")
    return int(settings.kafka.client.get("fake.partitions", 4))


def retention(settings: Settings) -> dict[str, Retention]:
    age_s = float(settings.kafka.client.get("fake.retention_s", 3_600))
    if age_s < 0:
        raise KafkaUnavailableError("Kafka at nowhere:9092 does not permit it to this user")
    return dict.fromkeys(settings.kafka.topics, Retention(age_s=age_s))


def canary(_: Settings, reports: Connection) -> None:
    while True:
        reports.send(CanaryReport("logs", 1, time.time_ns() // 1_000_000 - 42_000, 0.5, 12, 10, "no <b>Loki</b>"))
        time.sleep(TURN_S)


def dying_canary(_: Settings, reports: Connection) -> None:
    reports.send(CanaryReport("logs", 1, 5, None, 1, 0, ""))
    sys.exit(7)


def main(index: int, workers: int, settings: Settings, counters_fd: int, until_caught_up: bool) -> None:  # noqa: FBT001
    FakeWorker(index, workers, settings, counters_fd, until_caught_up=until_caught_up).run()


class FakeWorker:
    def __init__(
        self, index: int, workers: int, settings: Settings, counters_fd: int, *, until_caught_up: bool
    ) -> None:
        client = settings.kafka.client
        self.index = index
        self.until_caught_up = until_caught_up
        self.row: Row = Counters.attach(counters_fd).row(index)
        self.does = self._part(client, settings)
        self.tag = str(client.get("fake.tag", ""))
        self.partitions: list[Partition] = [
            self.row.partition(0, number)
            for number in range(int(client.get("fake.partitions", 4)))
            if number % workers == index
        ]
        self.offset = 0
        self.oldest_ms = time.time_ns() // 1_000_000 - 3_000_000
        self.stopping = False

    def _part(self, client: dict[str, str | int | float | bool], settings: Settings) -> str:
        if int(client.get("fake.worker", self.index)) != self.index:
            return "steady"
        lives = Path(settings.dead_letter.topic) / f"lives-{self.index}" if "fake.lives" in client else None
        if lives:
            with lives.open("a") as file:
                file.write(".")
            if lives.stat().st_size > int(client["fake.lives"]):
                return "steady"
        return str(client.get("fake.does", "steady"))

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def run(self) -> NoReturn:
        log("info", "fake worker runs", index=self.index, tag=self.tag, threads=os.environ.get("POLARS_MAX_THREADS"))
        if self.does == "refuse":
            sys.exit(3)
        if self.does == "bad config":
            sys.exit(2)
        signal.signal(signal.SIGTERM, self.stop)
        if self.does == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self.does == "never starts":
            time.sleep(600)
        self.row.loki("ok", time.time_ns() // 1_000_000)
        self.row.set(memory_bytes_max=268_435_456)
        turns = 0
        while not self.stopping:
            self.turn()
            turns += 1
            if self.until_caught_up and turns == 10:
                sys.exit(0)
            if turns == 10 and self.does.startswith("exit "):
                sys.exit(int(self.does.removeprefix("exit ")))
            if turns == 10:
                self.misbehave()
        with self.row as row:
            look = self.in_flight
            row.add(delivered=look, in_flight=-look)
        sys.exit(0)

    def misbehave(self) -> None:
        match self.does:
            case "hang in C":
                ctypes.PyDLL(None).sleep(600)  # unlike CDLL, it keeps the interpreter's lock
            case "crash in C":
                ctypes.string_at(0)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)

    in_flight = 0

    def turn(self) -> None:
        now_ns = time.monotonic_ns()
        self.row.heartbeat(now_ns)
        if self.does in ("stall", "loki down"):
            if self.does == "loki down":
                self.row.loki("retrying", time.time_ns() // 1_000_000, "connection refused <b>by Loki</b>")
            for partition in self.partitions:
                partition.set(committed=0, high_watermark=5_000, oldest_timestamp_ms=self.oldest_ms)
            time.sleep(TURN_S)
            return
        if self.does == "rest" and self.offset >= 50 * BATCH:
            time.sleep(TURN_S)
            return
        self.row.add(consumed=BATCH, filtered=20, in_flight=BATCH - 20, bytes_in=BATCH * 320, batches=1)
        self.row.count("filtered", "empty", 20)
        self.in_flight += BATCH - 20
        time.sleep(TURN_S)
        settled = self.in_flight - 300
        self.offset += BATCH
        with self.row as row:
            row.add(delivered=settled - 1, dead_lettered=1, in_flight=-settled, bytes_out=BATCH * 90, pushes=1)
            row.count("dead_lettered", "too_old")
            row.count("pushes", "delivered")
            row.observe_push(0.012)
        self.in_flight = 300
        self.row.set(in_flight_bytes=300 * 320)
        for number, partition in enumerate(self.partitions):
            partition.set(
                committed=self.offset,
                high_watermark=self.offset + 700 * number,
                last_settled_timestamp_ms=time.time_ns() // 1_000_000 - 2_000,
            )
        self.row.progress(now_ns)
