"""What `check` says of how long Kafka keeps records."""

import pytest

from shipper.cli.check_retention import findings
from shipper.cli.finding import Finding, Mark
from shipper.process.forecast import Retention

DAY_S = 86_400.0


def of_log(retention: Retention) -> Finding:
    """Return what is said of a log topic, where Loki takes what is up to seven days old."""
    [found] = findings({"logs": retention}, None, 7 * DAY_S)
    return found


@pytest.mark.parametrize("retention", [Retention(7 * DAY_S), Retention(30 * DAY_S), Retention()])
def test_a_topic_that_keeps_as_long_as_loki_takes_is_well(retention: Retention) -> None:
    assert of_log(retention).mark is Mark.OK


def test_a_topic_that_keeps_less_than_catching_up_may_take_is_said_with_the_way_out() -> None:
    found = of_log(Retention(2 * DAY_S))
    assert found.mark is Mark.NOTE
    assert found.detail.startswith("Kafka keeps 2 d, and Loki takes what is up to 7 d old")
    assert found.detail.endswith("set retention.ms of the topic to 604800000")


def test_a_bound_in_bytes_is_said_because_it_is_no_time() -> None:
    found = of_log(Retention(7 * DAY_S, 1_000_000))
    assert found.mark is Mark.NOTE
    assert "retention.bytes is 1000000 a partition" in found.detail


def test_what_is_kept_longer_than_loki_takes_says_where_it_goes() -> None:
    assert of_log(Retention(30 * DAY_S)).detail == (
        "Kafka keeps 30 d; what is older than 7 d when it is shipped becomes a dead letter"
    )
    assert of_log(Retention()).detail.startswith("Kafka keeps for ever; ")


@pytest.mark.parametrize(
    ("dead_letters", "marks"),
    [
        (Retention(30 * DAY_S), [Mark.OK]),
        (Retention(7 * DAY_S), [Mark.OK]),
        (Retention(), [Mark.OK]),
        (None, [Mark.OK]),
        (Retention(DAY_S), [Mark.OK, Mark.NOTE]),
    ],
)
def test_dead_letters_are_kept_as_long_as_records(dead_letters: Retention | None, marks: list[Mark]) -> None:
    assert [found.mark for found in findings({"logs": Retention(7 * DAY_S)}, dead_letters, 7 * DAY_S)] == marks
