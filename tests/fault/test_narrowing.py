import math
from collections import Counter

import pytest

from fault.pushes import (
    HTML,
    OK,
    Storing,
    attempts,
    events_until,
    lines_of,
    pushing,
    request_of,
    row_of,
    seeded,
    serving,
    settle,
    settled,
)
from fault.server import Answer, Push, in_turn
from shipper.loki.verdict import LokiState, Outcome
from shipper.records import Reason, Rejected


@pytest.mark.parametrize("count", [1, 2, 3, 16])
def test_a_single_guilty_entry_is_found_in_every_position(count: int) -> None:
    lines = lines_of(count)
    for guilty in lines:
        loki = Storing({guilty})
        with serving(loki) as server, pushing(server.url) as pusher:
            one, tries = settle(pusher, request_of(lines))
            (refused,) = one.delivery.refused
            assert (refused.row, refused.reason) == (row_of(lines, guilty), Reason.TOO_OLD)
            assert guilty in refused.detail
            assert set(loki.stored) == set(lines) - {guilty}
            assert len(tries) <= 2 * math.ceil(math.log2(count)) + 1
            assert [attempt.outcome for attempt in tries if attempt.final].count(Outcome.REFUSED_ENTRIES) == 1


@pytest.mark.parametrize("seed", range(8))
def test_exactly_the_guilty_are_refused_with_few_pushes(seed: int) -> None:
    chance = seeded(seed)
    lines = lines_of(chance.randint(50, 300))
    guilty = set(chance.sample(lines, chance.randint(2, 8)))
    loki = Storing(guilty)
    with serving(loki) as server, pushing(server.url) as pusher:
        one, tries = settle(pusher, request_of(lines))
        assert [rejected.row for rejected in one.delivery.refused] == sorted(row_of(lines, line) for line in guilty)
        assert set(loki.stored) == set(lines) - guilty
        assert len(tries) == len(server.pushes) <= 2 * len(guilty) * math.ceil(math.log2(len(lines))) + 1


def test_a_request_of_guilty_entries_alone_is_refused_whole() -> None:
    lines = lines_of(9)
    with serving(Storing(set(lines))) as server, pushing(server.url) as pusher:
        one, _ = settle(pusher, request_of(lines))
        assert sorted(rejected.row for rejected in one.delivery.refused) == list(range(1000, 1009))


def test_the_longest_stream_does_not_hide_what_an_entry_is_refused_for() -> None:
    value = r"\x01" * 2048
    stream = ", ".join(f'l{number:02}="{value}"' for number in range(15))
    answer = Answer(400, f"entry for stream '{{{stream}}}' has timestamp too old: 2020-01-01T00:00:00Z\n")
    with serving(lambda _: answer) as server, pushing(server.url) as pusher:
        one, _ = settle(pusher, request_of(lines_of(1)))
        assert [rejected.reason for rejected in one.delivery.refused] == [Reason.TOO_OLD]


def test_one_poisonous_entry_never_settles_but_its_neighbours_are_delivered() -> None:
    lines = lines_of(37)
    loki = Storing(poisonous={lines[20]})
    with serving(loki) as server, pushing(server.url) as pusher:
        pusher.submit(1, request_of(lines))
        events = events_until(pusher, lambda _: set(loki.stored) == set(lines) - {lines[20]})
        seen = len(server.pushes)
        events += events_until(pusher, lambda _: len(server.pushes) > seen + 10)
        assert not settled(events)
        assert server.pushes[-1].lines == [lines[20]]
        named = {(attempt.ticket, attempt.row) for attempt in attempts(events) if attempt.row is not None}
        assert named == {(1, row_of(lines, lines[20]))}
        loki.poisonous.clear()
        (one,) = settled(events_until(pusher, settled))
        assert one.delivery.refused == ()
        assert set(loki.stored) == set(lines)


@pytest.mark.parametrize(
    "answer", [Answer(500), Answer(429, "Ingestion rate limit exceeded"), Answer(204, cut=0, hang=True)]
)
def test_a_request_over_a_bound_that_says_so_with_a_passing_error_heals(answer: Answer) -> None:
    lines = lines_of(20)
    loki = Storing()

    def bounded(push: Push) -> Answer:
        return answer if len(push.lines) > 10 else loki(push)

    with serving(bounded) as server, pushing(server.url, timeout_s=0.3 if answer.hang else 5.0) as pusher:
        one, tries = settle(pusher, request_of(lines))
        assert one.delivery.refused == ()
        assert loki.stored == Counter(lines)
        assert len(tries) == 5 + 2


def test_an_outage_does_not_shred_a_request() -> None:
    with serving(in_turn(*[Answer(502, HTML)] * 43, OK)) as server, pushing(server.url) as pusher:
        one, tries = settle(pusher, request_of(lines_of(1000)))
        assert one.delivery.refused == ()
        assert len(tries) - 43 <= 43 // 5 + 1


def test_too_large_a_body_is_halved_until_it_fits() -> None:
    lines = [seeded(number).randbytes(50).hex() for number in range(64)]
    loki = Storing()

    def bounded(push: Push) -> Answer:
        return Answer(413, HTML, {"Content-Type": "text/html"}) if len(push.body) > 1000 else loki(push)

    with serving(bounded) as server, pushing(server.url) as pusher:
        one, tries = settle(pusher, request_of(lines))
        assert one.delivery.refused == ()
        assert loki.stored == Counter(lines)
        assert {attempt.outcome for attempt in tries if not attempt.final} == {Outcome.TOO_LARGE}


def test_an_entry_too_large_alone_is_refused_and_its_neighbours_are_delivered() -> None:
    lines = [*lines_of(9), "large" + seeded(1).randbytes(2000).hex(), *(f"more-{number}" for number in range(5))]
    loki = Storing()

    def bounded(push: Push) -> Answer:
        return Answer(413) if len(push.body) > 1000 else loki(push)

    with serving(bounded) as server, pushing(server.url) as pusher:
        one, _ = settle(pusher, request_of(lines))
        assert one.delivery.refused == (Rejected(row_of(lines, lines[9]), Reason.LINE_TOO_LONG, "HTTP 413:"),)
        assert loki.stored == Counter(lines) - Counter([lines[9]])


def test_guilty_entries_are_found_while_loki_stumbles() -> None:
    lines = lines_of(60)
    guilty = {lines[0], lines[31], lines[59]}
    loki, chance = Storing(guilty), seeded(3)
    stumbles = [Answer(500), Answer(429, "rate"), Answer(204, cut=5), Answer(401), Answer(400, HTML)]

    def stumbling(push: Push) -> Answer:
        # What is stored before the answer is lost is stored, as with a real Loki.
        answer = loki(push)
        return chance.choice(stumbles) if chance.random() < 0.4 else answer

    with serving(stumbling) as server, pushing(server.url, in_flight_max=1) as pusher:
        one, _ = settle(pusher, request_of(lines))
        assert {rejected.row for rejected in one.delivery.refused} == {row_of(lines, line) for line in guilty}
        assert set(loki.stored) == set(lines) - guilty


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500),
        Answer(429, "Per stream rate limit exceeded"),
        Answer(400, "words of a newer Loki"),
        Answer(204, cut=0, hang=True),
    ],
)
def test_an_entry_that_fails_for_ever_is_named_from_its_fifth_failure_on(answer: Answer) -> None:
    lines = lines_of(1)
    with serving(lambda _: answer) as server, pushing(server.url, timeout_s=0.1 if answer.hang else 5.0) as pusher:
        pusher.submit(9, request_of(lines))
        tries = attempts(events_until(pusher, lambda events: len(attempts(events)) >= 7))
        assert {attempt.ticket for attempt in tries} == {9}
        assert [attempt.row for attempt in tries[:7]] == [None] * 4 + [row_of(lines, lines[0])] * 3


def test_entries_that_only_wait_are_not_named() -> None:
    with serving(in_turn(*[Answer(401)] * 9, *[Answer(500)] * 4, OK)) as server, pushing(server.url) as pusher:
        _, tries = settle(pusher, request_of(lines_of(1)))
        assert {attempt.row for attempt in tries} == {None}
    with serving(in_turn(*[Answer(500)] * 9, OK)) as server, pushing(server.url) as pusher:
        _, tries = settle(pusher, request_of(lines_of(1000)))
        assert {attempt.row for attempt in tries} == {None}, "more than one entry"


def test_an_entry_refused_in_words_of_a_proxy_does_not_keep_its_neighbours_waiting() -> None:
    lines = lines_of(20)
    loki = Storing()

    def filtering(push: Push) -> Answer:
        return Answer(400, "Bad Request: rule 942100") if lines[7] in push.lines else loki(push)

    with serving(filtering) as server, pushing(server.url) as pusher:
        pusher.submit(1, request_of(lines))
        events = events_until(pusher, lambda events: any(attempt.row is not None for attempt in attempts(events)))
        assert attempts(events)[-1].row == row_of(lines, lines[7])
        assert set(loki.stored) == set(lines) - {lines[7]}
        assert not settled(events)


# What is refused alike, whatever it is: dead letters are made of none of it.

MANGLED = Answer(400, "snappy: corrupt input\n")
TAKES_NO_BODY = Answer(413, HTML)


@pytest.mark.parametrize("answer", [MANGLED, TAKES_NO_BODY])
@pytest.mark.parametrize("count", [2, 3, 16])
def test_a_request_that_is_refused_whole_for_no_fault_of_its_entries_is_held(answer: Answer, count: int) -> None:
    lines = lines_of(count)
    loki = Storing()
    with serving(lambda _: answer) as server, pushing(server.url) as pusher:
        pusher.submit(1, request_of(lines))
        events = events_until(pusher, lambda events: sum(attempt.held for attempt in attempts(events)) >= 5)
        held = [attempt for attempt in attempts(events) if attempt.held]
        assert not settled(events)
        assert {attempt.state for attempt in held} == {LokiState.REFUSING}
        assert not any(attempt.final for attempt in held)
        assert len(attempts(events)) - len(held) <= 2 * count, "a held request is narrowed down only once"
        server.script = loki
        (one,) = settled(events_until(pusher, settled))
        assert one.delivery.refused == ()
        assert set(loki.stored) == set(lines)


def test_a_held_request_is_tried_with_one_entry_after_the_other() -> None:
    with serving(lambda _: MANGLED) as server, pushing(server.url) as pusher:
        pusher.submit(1, request_of(lines_of(3)))
        events_until(pusher, lambda events: sum(attempt.held for attempt in attempts(events)) >= 30)
        assert {tuple(push.lines) for push in server.pushes[5:]} == {(line,) for line in lines_of(3)}


def test_a_held_request_that_is_taken_again_loses_only_its_guilty_entries() -> None:
    lines = lines_of(12)
    with serving(lambda _: MANGLED) as server, pushing(server.url) as pusher:
        pusher.submit(1, request_of(lines))
        events_until(pusher, lambda events: any(attempt.held for attempt in attempts(events)))
        server.script = loki = Storing({lines[3]})
        (one,) = settled(events_until(pusher, settled))
        assert [(rejected.row, rejected.reason) for rejected in one.delivery.refused] == [
            (row_of(lines, lines[3]), Reason.TOO_OLD)
        ]
        assert set(loki.stored) == set(lines) - {lines[3]}


def test_a_held_request_that_has_become_too_old_is_refused_for_that() -> None:
    lines = lines_of(5)
    with serving(lambda _: MANGLED) as server, pushing(server.url) as pusher:
        pusher.submit(1, request_of(lines))
        events_until(pusher, lambda events: any(attempt.held for attempt in attempts(events)))
        server.script = Storing(set(lines))
        (one,) = settled(events_until(pusher, settled))
        assert {rejected.reason for rejected in one.delivery.refused} == {Reason.TOO_OLD}
        assert len(one.delivery.refused) == 5


@pytest.mark.parametrize("answer", [MANGLED, TAKES_NO_BODY])
def test_a_held_request_outlives_an_outage(answer: Answer) -> None:
    loki = Storing()
    with serving(lambda _: answer) as server, pushing(server.url) as pusher:
        pusher.submit(1, request_of(lines_of(4)))
        events_until(pusher, lambda events: any(attempt.held for attempt in attempts(events)))
        server.script = lambda _: Answer(500)
        events_until(pusher, lambda events: len(attempts(events)) >= 8)
        server.script = loki
        (one,) = settled(events_until(pusher, settled))
        assert one.delivery.refused == ()
        assert set(loki.stored) == set(lines_of(4))


def test_a_poisonous_entry_of_its_own_request_is_refused_alone() -> None:
    with serving(lambda _: MANGLED) as server, pushing(server.url) as pusher:
        one, tries = settle(pusher, request_of(lines_of(1)))
        assert [rejected.reason for rejected in one.delivery.refused] == [Reason.REFUSED_BY_LOKI]
        assert len(tries) == 1


@pytest.mark.parametrize("guilty", [{"line-0000"}, {"line-0002", "line-0003"}, {"line-0000", "line-0001", "line-0002"}])
def test_entries_refused_in_doubt_are_refused_for_good_once_a_neighbour_is_delivered(guilty: set[str]) -> None:
    lines = lines_of(4)

    def loki(push: Push) -> Answer:
        return MANGLED if guilty.intersection(push.lines) else OK

    with serving(loki) as server, pushing(server.url) as pusher:
        one, tries = settle(pusher, request_of(lines))
        assert {rejected.row for rejected in one.delivery.refused} == {row_of(lines, line) for line in guilty}
        assert not any(attempt.held for attempt in tries)


def test_the_one_entry_in_doubt_among_such_as_are_too_old_is_refused() -> None:
    lines = lines_of(4)
    old = Storing(set(lines[1:]))

    def loki(push: Push) -> Answer:
        return MANGLED if lines[0] in push.lines else old(push)

    with serving(loki) as server, pushing(server.url) as pusher:
        one, _ = settle(pusher, request_of(lines))
        assert [rejected.reason for rejected in one.delivery.refused].count(Reason.REFUSED_BY_LOKI) == 1
        assert len(one.delivery.refused) == 4
