"""The real `shipper run` between a real Kafka and a real Loki, and the oracle's judgement of what came out."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, Self, TypeVar, cast
from urllib.request import urlopen

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from judging import Judgement, Letter, judge
from messages import StoredMessage
from oracle import Outcome, acceptable
from shipper import config
from shipper.loki.query import LokiReader, StreamEntry
from shipper.records import Message as Record

WAIT_S = 180.0
Found = TypeVar("Found")
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
_HOUR_NS = 3_600 * 10**9
_STATUS_URL = re.compile(r"http://[0-9.]+:[0-9]+")


class Written(msgspec.Struct, frozen=True):
    """A record to write."""

    value: bytes | None
    key: bytes | None = None
    headers: list[tuple[str, str | bytes | None]] | None = None


def write(bootstrap: str, topic: str, records: Iterable[Written], codecs: Sequence[str] = ("lz4",)) -> None:
    """Write records in order, the codecs taking turns every thousand; returns when all are confirmed."""
    producers = [
        Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "linger.ms": 5, "acks": "all"})
        for codec in codecs
    ]
    turns = cycle(producers)
    producer = next(turns)
    for number, record in enumerate(records):
        if number % 1_000 == 999:
            producer = next(turns)
        while True:
            try:
                producer.produce(topic, record.value, record.key, headers=record.headers)
                break
            except BufferError:
                producer.poll(0.1)
    assert [one.flush(60) for one in producers] == [0] * len(producers)


def read_topic(bootstrap: str, topic: str) -> list[StoredMessage]:
    """Read all that a topic holds, partition by partition in offset order."""
    return sorted(each_record(bootstrap, topic), key=lambda record: (record.partition(), record.offset()))


def each_record(bootstrap: str, topic: str) -> Iterator[StoredMessage]:
    """Yield all that a topic holds, each partition in offset order: what the shipper is to be judged by.

    What a transaction wrote is there when it is committed, never when it is not; its end takes an offset of its own.
    """
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "enable.partition.eof": True})
    unread = set(consumer.list_topics(topic, timeout=20).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in unread])
    deadline = time.monotonic() + WAIT_S
    while unread:
        assert time.monotonic() < deadline, f"partitions {unread} were not read to their end"
        for message in consumer.consume(10_000, 0.2):
            if error := message.error():
                assert error.name() == "_PARTITION_EOF", error
                unread.discard(message.partition() or 0)
                continue
            record = cast("Record", message)
            place = (topic, record.partition(), record.offset())
            deadline = time.monotonic() + WAIT_S
            yield StoredMessage(record.value(), place, record.key(), record.headers(), record.timestamp()[1])
    consumer.close()


class Shipping:
    """One shipper's setting: a config file for a topic, and a label that tells its entries from others'.

    Args:
        folder: for the config file and the log.
        bootstrap: address of Kafka.
        loki_url: address of Loki.
        topic: the log topic.
        dead_letters: the dead letter topic.
        sections: more configuration, TOML.
    """

    def __init__(
        self, folder: Path, *, bootstrap: str, loki_url: str, topic: str, dead_letters: str, sections: str = ""
    ) -> None:
        self.bootstrap, self.loki_url, self.topic, self.dead_letters = bootstrap, loki_url, topic, dead_letters
        self.label = f"t{uuid.uuid4().hex[:12]}"
        self.folder = folder
        self.page = 5_000
        """Entries that Loki is asked for at once; more, where its `max_entries_limit_per_query` allows."""
        self.config = folder / "config.toml"
        own = f"""
            [kafka]
            bootstrap_servers = ["{bootstrap}"]
            topics = ["{topic}"]
            group_id = "{self.label}"
            [loki]
            url = "{loki_url}"
            retry_wait_max_s = 1
            [labels]
            service = "service"
            level = "level"
            static = {{ test = "{self.label}" }}
            [dead_letter]
            topic = "{dead_letters}"
            [workers]
            count = 2
            [status]
            listen = "127.0.0.1:0"
        """
        self.config.write_text(own + sections)
        self.settings = config.load(self.config, env={})

    def run(self, *arguments: str) -> "Running":
        """Start `shipper run`; to be used as a context manager."""
        return Running(self, arguments)

    def run_until_caught_up(self) -> "Running":
        """Run once to the end of the topic."""
        with self.run("--until-caught-up") as running:
            assert running.exit_code() == 0, running.log()
        return running

    def stored(self) -> Iterator[StreamEntry]:
        """Yield every entry that Loki holds of this shipper."""
        now_ns = time.time_ns()
        selector = f'{{test="{self.label}"}}'
        reader = LokiReader(self.loki_url, timeout_s=WAIT_S)
        earlier = reader.count(selector, now_ns - 24 * 7 * _HOUR_NS, now_ns - 2 * _HOUR_NS)
        assert not earlier, f"{earlier} entries are older than two hours, which no test writes"
        return reader.entries(selector, now_ns - 2 * _HOUR_NS, now_ns + _HOUR_NS, page=self.page)

    def _letters_and_redriven(self) -> tuple[frozenset[Letter], dict[tuple[int, int], tuple[int, int]]]:
        """Read the dead letter topic.

        Returns: (partition, offset, reason) of every dead letter that waits, one that a crash wrote again counted once;
            and (partition, offset) of every record that was put back: where it was, and where it is now.
        """
        letters: set[Letter] = set()
        redriven: dict[tuple[int, int], tuple[int, int]] = {}
        for letter in each_record(self.bootstrap, self.dead_letters):
            headers = {name: (value or b"").decode(errors="replace") for name, value in letter.headers() or ()}
            if headers["dlq.topic"] != self.topic:
                continue
            at = int(headers["dlq.partition"]), int(headers["dlq.offset"])
            if "dlq.reason" in headers:
                letters.add((*at, headers["dlq.reason"]))
            else:  # it says that the letter's record was put back
                topic, partition, offset = headers["dlq.redriven"].split("/")
                to = int(partition), int(offset)
                assert (topic, redriven.setdefault(at, to)) == (self.topic, to), f"{at} was put back twice"
        return frozenset(it for it in letters if it[:2] not in redriven), redriven

    def letters(self) -> frozenset[Letter]:
        """(partition, offset, reason) of every dead letter that waits; one that a crash wrote again counts once."""
        return self._letters_and_redriven()[0]

    def judge(self, records: Sequence[StoredMessage] | None = None) -> Counter[str]:
        """Hold what Loki and the dead letter topic have against the oracle, record by record; then verify.

        A record that was put back is a dead letter where it was, and another record where it is now.

        Args:
            records: those that are settled, if these are not all that the topic holds.

        Returns: how many records were shipped, dead-lettered and filtered, and of how many letters the record was put
            back.
        """
        letters, redriven = self._letters_and_redriven()
        if redriven:
            self._are_as_they_were(redriven)
        judged = self._judgement(records, letters, redriven)
        assert judged.is_clean, judged
        dead_lettered = judged.dead_lettered + len(redriven)
        if records is None:
            proved = self.verify()["totals"]
            judged_alike = judged.shipped, dead_lettered, judged.filtered
            assert judged_alike == (proved["found"], proved["dead_lettered"], proved["filtered"]), (judged, proved)
        return Counter(
            shipped=judged.shipped, dead_lettered=dead_lettered, filtered=judged.filtered, redriven=len(redriven)
        )

    def judgement(self, records: Sequence[StoredMessage] | None = None) -> Judgement:
        """Judge by the oracle, and say what is not as it must be."""
        return self._judgement(records, *self._letters_and_redriven())

    def _judgement(
        self,
        records: Sequence[StoredMessage] | None,
        letters: frozenset[Letter],
        redriven: Mapping[tuple[int, int], tuple[int, int]],
    ) -> Judgement:
        def judged() -> Iterator[StoredMessage]:
            for record in records or each_record(self.bootstrap, self.topic):
                if (record.partition(), record.offset()) not in redriven:
                    yield record

        return judge(judged, self._expect, self.stored, letters)

    def _are_as_they_were(self, redriven: Mapping[tuple[int, int], tuple[int, int]]) -> None:
        content = {
            (it.partition(), it.offset()): (it.key(), it.value(), it.headers(), it.timestamp())
            for it in each_record(self.bootstrap, self.topic)
        }
        for was, now in redriven.items():
            assert content[now] == content[was], f"{was} was put back to {now}, and is not as it was"
        assert len(set(redriven.values())) == len(redriven)

    def verify(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Run `shipper verify`; its numbers must add up, and it ends with this code."""
        own = ("verify", "--config", str(self.config), "--format", "json")
        command = [sys.executable, "-m", "shipper", *own, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=2 * WAIT_S, check=False)
        assert done.returncode == code, done.stderr + done.stdout[-3_000:]
        found: dict[str, Any] = json.loads(done.stdout)
        for counts in (found["totals"], *found["partitions"]):
            assert counts["expected"] == counts["found"] + counts["missing"], counts
            elsewhere = counts["filtered"] + counts["dead_lettered"] + counts["unseen"]
            assert counts["records"] == counts["expected"] + elsewhere, counts
        return found

    def _expect(self, record: StoredMessage) -> Outcome:
        return acceptable(record, self.settings, now_ns=time.time_ns())[0]


class Running:
    """A shipper that runs: its status, its log, its processes."""

    def __init__(self, shipping: Shipping, arguments: Sequence[str]) -> None:
        self._command = [sys.executable, "-m", "shipper", "run", "--config", str(shipping.config), *arguments]
        self.shipping = shipping
        self._last_status: dict[str, Any] = {}
        self.shipping = shipping
        self._log_path = shipping.folder / f"log-{uuid.uuid4().hex[:6]}.jsonl"

    def __enter__(self) -> Self:
        with self._log_path.open("w") as log:
            self.process = subprocess.Popen(self._command, stderr=log, start_new_session=True)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def log(self) -> str:
        return self._log_path.read_text()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log().splitlines()]

    def exit_code(self) -> int:
        return self.process.wait(timeout=WAIT_S)

    @property
    def url(self) -> str:
        found: str = self.until(lambda: next(iter(_STATUS_URL.findall(self.log())), None))
        return found

    def status(self) -> dict[str, Any]:
        """Ask for the status; at every look the totals must add up."""
        with urlopen(f"{self.url}/status", timeout=10) as answer:  # noqa: S310 - http, ours
            status: dict[str, Any] = json.load(answer)
        self._last_status = status
        totals = status["totals"]
        settled = totals["delivered"] + totals["filtered"] + totals["dead_lettered"]
        assert totals["consumed"] == settled + totals["in_flight"], totals
        return status

    def metric(self, name: str, **labels: str) -> list[float]:
        """The samples of a metric that have these labels, as /metrics has them."""
        with urlopen(f"{self.url}/metrics", timeout=10) as answer:  # noqa: S310 - http, ours
            families = text_string_to_metric_families(answer.read().decode())
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return [sample.value for sample in samples if labels.items() <= sample.labels.items()]

    def wait_for(self, reached: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Look at the status until it is as it should be."""
        return self.until(lambda: status if reached(status := self.status()) else None)

    def until(self, find: Callable[[], Found | None]) -> Found:
        deadline = time.monotonic() + WAIT_S
        while (found := find()) is None:
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.log()}"
            assert time.monotonic() < deadline, f"not reached: {self._last_status}\n{self.log()[-3_000:]}"
            time.sleep(0.05)
        return found

    def workers(self) -> list[int]:
        """Give the workers' processes, once all of them have one."""
        status = self.wait_for(lambda status: all(worker["pid"] for worker in status["workers"]))
        return [worker["pid"] for worker in status["workers"]]
