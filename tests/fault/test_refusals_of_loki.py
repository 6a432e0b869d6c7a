"""What the verdict says of the answers that Loki gives, not of copies of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import requests
import snappy

from loki_proto import Entry, Stream
from loki_target import BASE_NS, HOUR, LINE_BYTES_MAX, Target, field, make_line, padded
from shipper.devstack.loki import LokiServer
from shipper.loki.verdict import Action, Outcome, Verdict, judge
from shipper.records import Reason

pytestmark = pytest.mark.loki

_LONG = make_line("x" * (LINE_BYTES_MAX + 1))
_OLD, _NEW = make_line("old", BASE_NS - 8 * 24 * HOUR), make_line("new", BASE_NS + 2 * HOUR)
_LATE = make_line("late", BASE_NS - 2 * HOUR)
_LARGE = make_line("m", k="v" * (64 << 10))
_MANY = Entry(BASE_NS, "m", tuple((f"k{n}", "v") for n in range(129)))
_NASTY = r"'} includes structured metadata, but this feature is disallowed\" has \x01\n é \\"
_ESCAPED = {f"l{n}": r"\x01" * 2048 for n in range(14)}


@pytest.fixture
def target(loki: LokiServer) -> Target:
    return Target(loki.url)


def verdict(answer: requests.Response) -> Verdict:
    return judge(answer.status_code, answer.headers, answer.text, now_s=0)


@pytest.mark.parametrize(
    ("entries", "labels", "reason"),
    [
        pytest.param([_LONG], {}, Reason.LINE_TOO_LONG, id="line"),
        pytest.param([_LONG, _LONG], {}, Reason.LINE_TOO_LONG, id="several alike"),
        pytest.param([_OLD], {}, Reason.TOO_OLD, id="old"),
        pytest.param([_OLD], {"q": _NASTY}, Reason.TOO_OLD, id="old, with other words in a label"),
        pytest.param([_OLD], _ESCAPED, Reason.TOO_OLD, id="old, in the longest stream"),
        pytest.param([_NEW], {}, Reason.TOO_NEW, id="new"),
        pytest.param([make_line("newest"), _LATE], {}, Reason.TOO_OLD, id="too far behind"),
        pytest.param([_LARGE], {}, Reason.METADATA_TOO_LARGE, id="metadata"),
        pytest.param([_MANY], {}, Reason.METADATA_TOO_LARGE, id="pairs of metadata"),
        pytest.param([make_line()], {"l": "é" * 1025}, Reason.REFUSED_BY_LOKI, id="label value"),
    ],
)
def test_guilty_entries_are_narrowed_down_to(
    target: Target, entries: list[Entry], labels: dict[str, str], reason: Reason
) -> None:
    found = verdict(target.push(target.stream(*entries, **labels)))
    assert (found.action, found.outcome, found.reason) == (Action.NARROW, Outcome.REFUSED_ENTRIES, reason)


@pytest.mark.parametrize("labels", ["{", "{a=b}", '{a=~"b"}', '{a="\\q"}', '{a="1", a="2"}'])
def test_a_bad_label_string_is_narrowed_down_to(target: Target, labels: str) -> None:
    assert verdict(target.push(Stream(labels, (make_line(),)))).action is Action.NARROW


def test_an_impossible_time_is_narrowed_down_to(target: Target) -> None:
    times = b"\x08" + padded(253_402_300_800, 6)
    stream = field(1, b'{a="b"}', 1) + field(2, field(1, times, 1) + field(2, b"guilty", 1), 1)
    assert verdict(target.post(snappy.compress(field(1, stream, 1)))).action is Action.NARROW


@pytest.mark.parametrize("labels", [{f"l{n}": "v" for n in range(15)}, {"l" * 1025: "v"}], ids=["count", "name"])
def test_label_names_over_a_limit_wait_for_an_operator(target: Target, labels: dict[str, str]) -> None:
    found = verdict(target.push(target.stream(make_line(), **labels)))
    assert (found.action, found.outcome) == (Action.RETRY, Outcome.BLOCKED)


def test_structured_metadata_that_is_not_allowed_waits_for_an_operator(server_dir: Callable[[str], Path]) -> None:
    with LokiServer(server_dir("disallowing"), limits={"allow_structured_metadata": False}) as server:
        target = Target(server.url)
        found = verdict(target.push(target.stream(make_line(id="1"), make_line(id="2"))))
    assert (found.action, found.outcome) == (Action.RETRY, Outcome.BLOCKED)
    assert "allow_structured_metadata" in found.detail
