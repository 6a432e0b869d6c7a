"""How long the dashboards' queries take, with many lines in Loki: `PYTHONPATH=tests python -m benchmarks.dashboards`.

The chat example is driven for a moment; its records are written again and again, spread over a week, shipped into a
Loki, and flushed to its store. Then every query of every panel of lines is asked for an hour, a day and the week, one
after the other, as Grafana would ask it. docs/dashboards.md has the figures.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import requests

from examples.chat import traffic
from examples.chat.stack import Stack
from panels import Asked, Servers, Window, boards, queries
from shipper.devstack.kafka import KafkaServer, make_topic
from shipper.devstack.loki import LokiServer
from shipping import Shipping, Written, each_record, write

_HOUR_S = 3_600
_DAYS = 6.9  # Loki and the shipper take no entry that is older than seven
_RANGES = {"1 h": _HOUR_S, "24 h": 24 * _HOUR_S, "7 days": 7 * 24 * _HOUR_S}
_POINTS = 200  # of a curve: panels.py of the dashboards says so
_BEFORE_TIME, _TIME_CHARS = len('{"timestamp":"'), len("2026-11-24T09:00:00.123Z")


def _sample(kafka: KafkaServer, folder: Path, requests_: int) -> list[Written]:
    """Drive the services, and return what they logged."""
    topic, messages = make_topic(kafka.bootstrap, 1), make_topic(kafka.bootstrap, 1)
    settings = {"level": "debug"}
    with Stack(
        folder, bootstrap=kafka.bootstrap, log_topic=topic, message_topic=messages, servicelog=settings
    ) as stack:
        traffic.run(stack.gateway_url, requests=requests_)
        stack.wait_until_done()
    return [Written(record.value(), record.key()) for record in each_record(kafka.bootstrap, topic)]


def _spread(sample: Sequence[Written], lines: int, now_s: float) -> Iterator[Written]:
    """Give the sample's records over and over, the times spread evenly up to now."""
    first_s, step_s = now_s - _DAYS * 24 * _HOUR_S, _DAYS * 24 * _HOUR_S / lines
    for number in range(lines):
        record = sample[number % len(sample)]
        at_s = first_s + number * step_s
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_s)) + f".{int(at_s % 1 * 1_000):03}Z"
        value = record.value or b""
        cut = _BEFORE_TIME + _TIME_CHARS
        yield Written(value[:_BEFORE_TIME] + stamp.encode() + value[cut:], record.key)


def _asked() -> list[Asked]:
    return [asked for uid in boards() for asked in queries(uid) if asked.language == "loki"]


def _measure(servers: Servers, runs: int) -> dict[Asked, dict[str, float]]:
    """Ask everything, and return the median seconds of each query in each range; infinity where it was refused."""
    end_s = int(time.time())
    took: dict[Asked, dict[str, float]] = defaultdict(dict)
    for name, range_s in _RANGES.items():
        window = Window(end_s - range_s, end_s, max(1, range_s // _POINTS))
        for asked in _asked():
            try:
                took[asked][name] = statistics.median(_seconds(servers, asked, window) for _ in range(runs))
            except (AssertionError, requests.RequestException) as error:
                sys.stderr.write(f"{asked}, {name}: {error}\n")
                took[asked][name] = float("inf")
    return took


def _seconds(servers: Servers, asked: Asked, window: Window) -> float:
    began_s = time.perf_counter()
    servers.ask(asked, window)
    return time.perf_counter() - began_s


def _report(took: dict[Asked, dict[str, float]]) -> None:
    print("| dashboard | " + " | ".join(f"{name}: median, slowest" for name in _RANGES) + " | the slowest panel |")
    print("|---|" + "---|" * (len(_RANGES) + 1))
    for uid in boards():
        own = {asked: times for asked, times in took.items() if asked.board == uid}
        if not own:
            continue
        slowest = max(own, key=lambda asked: max(own[asked].values()))
        cells = [
            f"{statistics.median(it[name] for it in own.values()):.2f}, {max(it[name] for it in own.values()):.2f}"
            for name in _RANGES
        ]
        print(f"| {boards()[uid]['title']} | " + " | ".join(cells) + f" | {slowest.panel} |")
    slow = sorted(((max(it.values()), str(asked)) for asked, it in took.items() if max(it.values()) > 2), reverse=True)
    print(f"\nover 2 s: {len(slow)} of {len(took)} queries")
    for seconds, name in slow:
        print(f"- {seconds:.2f} s: {name}")


def main() -> None:
    """Fill a Loki, ask, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=400, help="of which the sample consists")
    parser.add_argument("--split", default="24h", help="Loki's split_queries_by_interval; its own default is 1h")
    parser.add_argument("--runs", type=int, default=1)
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        KafkaServer(Path(folder) / "kafka") as kafka,
        LokiServer(Path(folder) / "loki", limits={"split_queries_by_interval": chosen.split}) as loki,
    ):
        sample = _sample(kafka, Path(folder) / "chat", chosen.requests)
        topic, letters = make_topic(kafka.bootstrap, 4), make_topic(kafka.bootstrap, 1)
        write(kafka.bootstrap, topic, _spread(sample, chosen.lines, time.time()))
        shipping = Shipping(
            Path(folder), bootstrap=kafka.bootstrap, loki_url=loki.url, topic=topic, dead_letters=letters
        )
        with shipping.run("--until-caught-up") as running:
            assert running.process.wait(timeout=3_600) == 0, running.log()
        assert not shipping.letters(), "Loki has not taken every line"
        requests.post(f"{loki.url}/flush", timeout=600).raise_for_status()
        mean = statistics.mean(len(it.value or b"") for it in sample)
        print(
            json.dumps(
                {"lines": chosen.lines, "split": chosen.split, "sample": len(sample), "bytes a line": round(mean)}
            )
        )
        _report(_measure(Servers(loki.url, ""), chosen.runs))


if __name__ == "__main__":
    main()
