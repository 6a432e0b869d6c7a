import math
from collections import Counter

import pytest

from fault.pushes import (
    HTML,
    OK,
    Storing,
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
from shipper.loki.verdict import Outcome
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
