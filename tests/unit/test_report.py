"""What a worker says of itself: lines of one kind are gathered, none is swallowed; counters move with them."""

import json
from collections import Counter
from io import StringIO
from typing import Any

import pytest

from messages import StoredMessage
from shipper.kafka.trouble import Trouble
from shipper.logs import Log
from shipper.loki.client import Attempt
from shipper.loki.verdict import Outcome
from shipper.pipeline import Rules, prepare
from shipper.process.counters import Counters
from shipper.process.report import Report
from shipper.process.snapshot import PeerLook
from shipper.records import Reason, RecordBatch, Rejected
from shipper.settings import Settings

MALFORMED = RecordBatch("logs", [StoredMessage(b"no json", ("logs", 0, offset)) for offset in range(3)])
RULES = Rules.compile(Settings())
PREPARED = prepare(MALFORMED, RULES, now_ns=0)


def labelled(*services: str) -> RecordBatch:
    values = [f'{{"service":"{service}","timestamp":0}}'.encode() for service in services]
    return RecordBatch("logs", [StoredMessage(value, ("logs", 0, row)) for row, value in enumerate(values)])


class Reporting:
    """A report whose clock, log and counters a test holds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.stream = StringIO()
        self.counters = Counters.create(1, ["logs"], labels=["service", "level"])
        self.report = Report(
            self.counters.row(0),
            Log(self.stream),
            clock=lambda: self.now,
            now_ms=lambda: int(self.now * 1_000),
            label_values_max=3,
        )

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def tick(self, *, letters_stuck: bool = False, uncommitted: bool = False) -> None:
        self.report.tick(letters_stuck=letters_stuck, uncommitted=uncommitted)

    def kafka(self) -> PeerLook:
        return self.counters.read(0).peer("kafka")

    def slot(self, name: str) -> int:
        return int(self.counters.read(0)[name])


@pytest.fixture
def reporting() -> Reporting:
    return Reporting()


def test_the_first_line_of_a_kind_is_written_at_once_and_the_rest_as_one_when_it_is_due(reporting: Reporting) -> None:
    for _ in range(5):
        reporting.report.taken(PREPARED)
    assert [line["context"]["number"] for line in reporting.lines()] == [3]
    reporting.now = 11
    reporting.tick()
    assert [line["context"]["number"] for line in reporting.lines()] == [3, 12]
    reporting.now = 30
    reporting.tick()
    assert len(reporting.lines()) == 2, "nothing was said since, so nothing is due"


def test_values_that_were_kept_from_labels_are_said_and_counted(reporting: Reporting) -> None:
    reporting.report.taken(prepare(labelled("a", "b", "order-1234567"), RULES, now_ns=0))
    (line,) = reporting.lines()
    assert line["context"] == {"number": 1, "label": "service", "example": "order-1234567"}
    assert (reporting.slot("demoted.0"), reporting.slot("label_values.0")) == (1, 3)


def test_a_label_over_its_budget_is_said_with_examples_and_again_while_it_grows(reporting: Reporting) -> None:
    def take(*services: str) -> None:
        reporting.report.taken(prepare(labelled(*services), RULES, now_ns=0))

    take("a", "b", "c")
    assert reporting.lines() == [], "as many as its budget are no reason to worry"
    take("b", "d", "c")
    (line,) = reporting.lines()
    assert (line["level"], line["context"]) == (
        "error",
        {"number": 1, "label": "service", "values": 4, "examples": ["d"]},
    )
    reporting.now = 11
    reporting.tick()
    take("a", "b", "c", "d")
    assert len(reporting.lines()) == 1, "nothing new, nothing said"
    take(*(f"s{number}" for number in range(20)))
    assert reporting.lines()[-1]["context"]["values"] == 24
    assert reporting.slot("label_values.0") == 24


def test_what_was_kept_back_is_written_at_the_end(reporting: Reporting) -> None:
    reporting.report.taken(PREPARED)
    reporting.report.taken(PREPARED)
    reporting.report.ended()
    assert [line["context"].get("number") for line in reporting.lines()] == [3, 3, None]


def test_every_loss_of_records_is_said_by_itself(reporting: Reporting) -> None:
    for partition in (0, 1):
        reporting.report.trouble(Trouble.OFFSET_OUT_OF_RANGE, f"logs/{partition}: 7 records were deleted")
    assert [line["message"] for line in reporting.lines()] == [
        "logs/0: 7 records were deleted",
        "logs/1: 7 records were deleted",
    ]
    assert {line["level"] for line in reporting.lines()} == {"error"}


def test_lokis_last_error_is_the_latest_and_since_is_when_it_began(reporting: Reporting) -> None:
    reporting.now = 1
    reporting.report.attempt(Attempt(Outcome.CONNECTION, 0.1, 0, "refused", final=False))
    reporting.now = 2
    reporting.report.attempt(Attempt(Outcome.SERVER_ERROR, 0.1, 0, "500", final=False))
    loki = reporting.counters.read(0).peer("loki")
    assert (loki.state, loki.since_ms, loki.error) == ("retrying", 1_000, "500")
    reporting.report.attempt(Attempt(Outcome.DELIVERED, 0.1, 10, "", final=True))
    assert reporting.counters.read(0).peer("loki").state == "ok"


def test_a_record_that_is_never_taken_is_named_though_others_pass(reporting: Reporting) -> None:
    stuck = Attempt(Outcome.SERVER_ERROR, 0.1, 10, "500", final=False, row=3)
    reporting.report.attempt(stuck, "logs/1/4711")
    reporting.report.attempt(Attempt(Outcome.DELIVERED, 0.1, 10, "", final=True))
    (line,) = [line for line in reporting.lines() if "record" in line["context"]]
    assert (line["level"], line["context"]["record"]) == ("error", "logs/1/4711")


def test_a_request_that_is_refused_whole_shows_loki_as_refusing(reporting: Reporting) -> None:
    reporting.report.attempt(Attempt(Outcome.REFUSED_ENTRIES, 0.1, 10, "all of it", final=False, held=True))
    assert reporting.counters.read(0).peer("loki").state == "refusing"


def test_kafka_is_well_again_after_silence(reporting: Reporting) -> None:
    reporting.report.trouble(Trouble.KAFKA_ERROR, "away")
    assert reporting.kafka().state == "retrying"
    reporting.now = 41
    reporting.tick()
    assert reporting.kafka().state == "ok"


def test_kafka_is_not_well_while_a_letter_is_stuck_though_others_are_confirmed(reporting: Reporting) -> None:
    reporting.report.trouble(Trouble.KAFKA_ERROR, "away")
    reporting.now = 1
    reporting.report.trouble(Trouble.DEAD_LETTER_FAILED, "too large")
    assert (reporting.kafka().since_ms, reporting.kafka().error) == (0, "too large")
    reporting.report.dead_lettered(Counter({Reason.TOO_OLD: 1}))
    reporting.now = 90
    reporting.tick(letters_stuck=True)
    reporting.report.taken(PREPARED)
    reporting.report.committed()
    assert reporting.kafka().state == "retrying"
    reporting.tick()
    reporting.report.committed()
    assert reporting.kafka().state == "ok"


def test_kafka_is_not_well_while_it_refuses_commits_though_it_gives_records(reporting: Reporting) -> None:
    reporting.report.trouble(Trouble.COMMIT_FAILED, "no member")
    for reporting.now in (50, 100):
        reporting.tick(uncommitted=True)
        reporting.report.taken(PREPARED)
        assert reporting.kafka().state == "retrying"
    reporting.report.committed()
    assert reporting.kafka().state == "ok"


def test_a_refused_commit_is_of_no_account_when_the_partition_is_gone(reporting: Reporting) -> None:
    reporting.report.trouble(Trouble.COMMIT_FAILED, "rebalancing")
    reporting.tick()
    reporting.report.taken(PREPARED)
    assert reporting.kafka().state == "ok"


def test_the_totals_add_up_on_every_path(reporting: Reporting) -> None:
    reporting.report.taken(PREPARED)
    reporting.report.rejected("logs/0/7", Rejected(0, Reason.TOO_OLD, "old"))
    reporting.report.delivered(1)
    reporting.report.dead_lettered(Counter({Reason.TOO_OLD: 1}))
    assert reporting.slot("in_flight") == 1
    reporting.report.ended()
    settled = [reporting.slot(name) for name in ("delivered", "filtered", "dead_lettered", "abandoned")]
    assert settled == [1, 0, 1, 1]
    assert reporting.slot("consumed") == sum(settled)
    assert reporting.slot("in_flight") == 0
