"""The demo, small: in processes as a user starts it, and the parts of it that need none."""

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests
from rich.console import Console

from shipper.devstack.demo_account import Account, Counted
from shipper.devstack.demo_screen import Dashboard
from shipper.devstack.demo_shipper import Loki, Partition, ShipperProcess, Status, Totals, Worker
from shipper.devstack.generate import Truth
from shipper.devstack.server import ServerFailedError
from shipper.records import Reason

WAIT_S = 90.0
RECORDS = 5_000


class Demo:
    """A running `shipper demo` whose temporary folder, and whose processes, can be told from all others."""

    def __init__(self, folder: Path, *arguments: str, **env: str) -> None:
        self.folder = folder / "tmp"
        self.folder.mkdir()
        self._output = folder / "output.txt"
        self._errors = folder / "errors.txt"
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "shipper", "demo", *arguments],
                env={**os.environ, "TMPDIR": str(self.folder), "COLUMNS": "120", **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while text not in self.output:
            assert self.process.poll() is None, self.output + self.errors
            assert time.monotonic() < deadline, f"not printed: {text}\n{self.output}"
            time.sleep(0.05)

    def exit_code(self) -> int:
        return self.process.wait(timeout=WAIT_S)

    def processes(self) -> list[str]:
        """Those that live, all generations: what they inherited tells whose they are."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("TMPDIR") == str(self.folder):
                    found.append(" ".join(process.cmdline()))
        return found

    def leaves_nothing(self) -> bool:
        deadline = time.monotonic() + WAIT_S
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return not left and not list(self.folder.iterdir())


@contextlib.contextmanager
def demo(folder: Path, *arguments: str, **env: str) -> Iterator[Demo]:
    one = Demo(folder, *arguments, **env)
    try:
        yield one
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(one.process.pid, signal.SIGKILL)  # the kernel ends its servers with it
        one.process.wait(timeout=WAIT_S)


@pytest.mark.slow
def test_the_demo_accounts_for_every_record_whatever_the_environment_configures(tmp_path: Path) -> None:
    foreign = {"SHIPPER_LOKI__URL": "http://127.0.0.1:1", "SHIPPER_KAFKA__TOPICS": "others"}
    with demo(tmp_path, "--records", str(RECORDS), **foreign) as shown:
        assert shown.exit_code() == 0, shown.output + shown.errors
        assert re.search(rf"✓ All {RECORDS:,} records are accounted for: [\d,]+ in Loki, 12 dead letters", shown.output)
        assert re.search(r"delivered to Loki +(4,988) +\1 +\1\n", shown.output)
        assert re.search(r"api-gateway +- +[\d,]+", shown.output)
        assert shown.leaves_nothing()


@pytest.mark.slow
def test_keep_leaves_everything_up_until_ctrl_c(tmp_path: Path) -> None:
    with demo(tmp_path, "--records", str(RECORDS), "--keep") as shown:
        shown.wait_for("Everything is up")
        page = re.search(r"live page +(http://\S+)\n", shown.output.partition("accounted for")[2])
        assert page
        assert "<html" in requests.get(page[1], timeout=10).text
        shown.process.send_signal(signal.SIGINT)
        assert shown.exit_code() == 0
        assert shown.errors == ""
        assert shown.leaves_nothing()


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["shipper demo", "✓ Kafka", "✓ produced", "✓ shipper"])
def test_ctrl_c_at_any_moment_leaves_no_process_no_folder_and_no_traceback(tmp_path: Path, moment: str) -> None:
    with demo(tmp_path, "--records", "50000") as shown:
        shown.wait_for(moment)
        deadline = time.monotonic() + WAIT_S
        while shown.process.poll() is None and time.monotonic() < deadline:
            shown.process.send_signal(signal.SIGINT)  # somebody impatient
            time.sleep(0.05)
        assert shown.exit_code() == 130
        assert shown.errors == ""
        assert "Traceback" not in shown.output
        assert shown.leaves_nothing()


@pytest.mark.slow
def test_a_server_that_dies_ends_the_demo_with_a_sentence(tmp_path: Path) -> None:
    with demo(tmp_path, "--records", "50000") as shown:
        shown.wait_for("✓ shipper")
        (broker,) = (one for one in psutil.process_iter() if _is_broker_of(shown, one))
        broker.kill()
        assert shown.exit_code() == 3
        assert "broker has ended" in shown.errors
        assert "Traceback" not in shown.errors
        assert shown.leaves_nothing()


def _is_broker_of(shown: Demo, process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return str(shown.folder) in " ".join(process.cmdline()) and "kafka-port" in " ".join(process.cmdline())
    return False


@pytest.mark.parametrize("part", ["kafka", "loki"])
def test_a_real_part_that_is_not_there_is_named_with_the_way_to_get_it(tmp_path: Path, part: str) -> None:
    with demo(tmp_path, f"--{part}", SHIPPER_PARTS_DIR=str(tmp_path / "nothing")) as shown:
        assert shown.exit_code() == 3
        assert f"{part} is missing" in shown.errors
        assert "make parts" in shown.errors


def account() -> Account:
    truth = Truth(
        Counter({("chat-service", "info"): 4_000_000, ("user-service", "warn"): 7, ("unknown", "unknown"): 3}),
        Counter({Reason.NOT_JSON: 3}),
        Counter({Reason.TOO_OLD: 2}),
    )
    totals = Totals(
        consumed=4_000_012,
        delivered=4_000_010,
        filtered=0,
        dead_lettered=2,
        in_flight=0,
        bytes_in=1,
        bytes_out=1,
        pushes=1,
        retries=0,
    )
    return Account(truth, Counted(totals, 3, Counter(too_old=2)), Counter(truth.entries), Counter(too_old=2))


def shown(of: Account) -> str:
    console = Console(file=io.StringIO(), width=80)
    of.show(console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_an_account_without_faults_says_so_and_cuts_no_number_off() -> None:
    text = shown(account())
    assert "✓ All 4,000,012 records are accounted for: 4,000,010 in Loki, 2 dead letters\n" in text
    assert "…" not in text


@pytest.mark.parametrize(
    ("found", "letters", "sentence"),
    [
        ({("user-service", "warn"): -1}, {}, "user-service warn: 7 produced, 6 found in Loki"),
        ({("user-service", "warn"): 1}, {}, "user-service warn: 7 produced, 8 found in Loki"),
        (
            {("user-service", "warn"): -1, ("user-service", "info"): 1},
            {},
            "user-service info: 0 produced, 1 found in Loki",
        ),
        ({}, {"too_old": -1}, "dead letters too_old: 2 produced, 1 in the topic"),
        ({}, {"too_old": -1, "too_new": 1}, "dead letters too_new: 0 produced, 1 in the topic"),
    ],
)
def test_one_record_that_is_not_where_it_must_be_is_named(
    found: dict[tuple[str, str], int], letters: dict[str, int], sentence: str
) -> None:
    whole = account()
    whole.found.update(found)
    whole.letters.update(letters)
    assert sentence in whole.faults()
    assert "✗ Not all of 4,000,012 records are accounted for" in shown(whole)


def status(settled: int, *, lag: int | None = 0, high: int = 500_000) -> Status:
    return Status(
        Totals(
            consumed=settled + 9,
            delivered=settled,
            filtered=0,
            dead_lettered=0,
            in_flight=0,
            bytes_in=10**9,
            bytes_out=10**8,
            pushes=1_000,
            retries=3,
        ),
        [Partition("logs", number, number % 2, high if number == 0 else 0, lag) for number in range(6)],
        [Worker(0, "running", 99.9, 300_000_000), Worker(1, "restarting", 0.0, 0)],
        Loki("retrying", "connection refused"),
    )


def test_the_picture_of_shipping_fits_a_terminal_of_80_by_24() -> None:
    now = 0.0
    dashboard = Dashboard(500_000, "embedded broker → 2 workers → Loki stand-in", clock=lambda: now)
    for settled in range(0, 500_001, 5_000):
        now += 0.25
        dashboard.add(status(settled, lag=500_000 - settled))
    console = Console(file=io.StringIO(), width=80)
    console.print(dashboard.picture(status(500_000, lag=123_456)))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert len(lines) <= 24
    assert "…" not in console.file.getvalue()
    assert dashboard.records_per_s == pytest.approx(20_000)
    assert dashboard.rss_bytes_max == 300_000_000


class Scripted(ShipperProcess):
    """Says what it is told to say, and never runs."""

    def say(self, *looks: Status) -> None:
        self._looks = list(looks)

    def status(self) -> Status:
        return self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]


@pytest.fixture
def scripted(tmp_path: Path) -> Scripted:
    return Scripted(tmp_path, bootstrap="127.0.0.1:1", loki_url="http://127.0.0.1:1")


def test_shipping_is_over_only_when_all_of_the_topic_is_committed(scripted: Scripted) -> None:
    looks = (
        status(0, lag=None, high=0),  # nothing is known
        status(0, lag=0, high=0),  # no worker has asked Kafka for the end
        status(499_000, lag=1_000),
        status(500_000, lag=0),
    )
    scripted.say(*looks)
    assert list(scripted.watch(500_000, sleep=lambda: None, clock=lambda: 0.0)) == list(looks)


def test_a_shipper_that_stands_still_is_given_up(scripted: Scripted) -> None:
    now = 0.0

    def sleep() -> None:
        nonlocal now
        now += 1.0

    scripted.say(status(7, lag=1_000))
    with pytest.raises(ServerFailedError, match="stood still for 60 s with 7 of 500,000 records shipped"):
        list(scripted.watch(500_000, sleep=sleep, clock=lambda: now))
