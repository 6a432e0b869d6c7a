import contextlib
import email.utils
import gc
import itertools
import random
import socket
import threading
import time
from collections import Counter

import pytest

from fault.pushes import (
    HTML,
    OK,
    Storing,
    attempts,
    encode,
    events_until,
    lines_of,
    pushing,
    request_of,
    seeded,
    serving,
    settle,
    settled,
)
from fault.server import HOST, WAIT_S, Answer, FaultServer, Push, in_turn
from shipper.loki.client import Pusher
from shipper.loki.verdict import Outcome
from shipper.records import PushRequest
from shipper.settings import Loki


def test_a_delivered_request_is_settled_once_and_counted_in_bytes() -> None:
    request = request_of(lines_of(10))
    with serving(lambda _: OK) as server, pushing(server.url) as pusher:
        one, tries = settle(pusher, request)
        assert one.delivery.refused == ()
        assert one.delivery.bytes_out == len(encode(request)) == len(server.pushes[0].body)
        assert [(attempt.outcome, attempt.final, attempt.detail) for attempt in tries] == [
            (Outcome.DELIVERED, True, "")
        ]
        assert pusher.wait(0) == []
        assert server.pushes[0].path == "/loki/api/v1/push"
        assert server.pushes[0].headers["Content-Type"] == "application/x-protobuf"
        assert server.pushes[0].lines == lines_of(10)


def test_every_submitted_request_is_settled_exactly_once() -> None:
    answers = itertools.cycle([OK, Answer(500), OK, Answer(429), Answer(204, cut=3), OK])
    lock = threading.Lock()

    def answer(_: Push) -> Answer:
        with lock:
            return next(answers)

    with serving(answer) as server, pushing(server.url, in_flight_max=4) as pusher:
        for ticket in range(40):
            pusher.submit(ticket, request_of(lines_of(3), ticket % 4))
        events = events_until(pusher, lambda events: len(settled(events)) == 40)
        assert sorted(one.ticket for one in settled(events)) == list(range(40))
        assert not pusher.wait(0)
        delivered: Counter[int] = Counter()
        for attempt in attempts(events):
            delivered[attempt.ticket] += len(attempt.delivered or ())
        assert delivered == Counter(dict.fromkeys(range(40), 3))
        assert sum(attempt.bytes_out for attempt in attempts(events)) == sum(
            one.delivery.bytes_out for one in settled(events)
        )


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(401, "no credentials provided"), Outcome.UNAUTHORIZED),
        (Answer(403, HTML, {"Content-Type": "text/html"}), Outcome.UNAUTHORIZED),
        (Answer(404, HTML, {"Content-Type": "text/html"}), Outcome.NOT_LOKI),
        (Answer(200, HTML, {"Content-Type": "text/html"}), Outcome.NOT_LOKI),
        (Answer(400, HTML, {"Content-Type": "text/html"}), Outcome.NOT_LOKI),
        (Answer(400, HTML), Outcome.NOT_LOKI),
        (Answer(400, "Client sent an HTTP request to an HTTPS server.\n"), Outcome.NOT_LOKI),
        (Answer(422, "error at least one valid stream is required for ingestion\n"), Outcome.NOT_LOKI),
        (Answer(400, "stream '{}' includes structured metadata, but this feature is disallowed"), Outcome.BLOCKED),
        (Answer(307, "", {"Location": "/elsewhere"}), Outcome.NOT_LOKI),
        (Answer(302, "", {"Location": "http://127.0.0.1:1/"}), Outcome.NOT_LOKI),
        (Answer(260, "ingestion blocked"), Outcome.BLOCKED),
        (Answer(429, "Maximum active stream limit exceeded"), Outcome.STREAM_LIMIT),
        (Answer(429, "Ingestion rate limit exceeded"), Outcome.RATE_LIMITED),
        (Answer(502, HTML, {"Content-Type": "text/html"}), Outcome.SERVER_ERROR),
        (Answer(500, "x" * 5_000_000), Outcome.SERVER_ERROR),
        (Answer(500, "x" * 5_000_000, cut=300_000, hang=True), Outcome.SERVER_ERROR),
        (Answer(204, cut=0), Outcome.CONNECTION),
        (Answer(204, cut=8), Outcome.CONNECTION),
        (Answer(400, "entry has timestamp too old" * 10, cut=60), Outcome.CONNECTION),
        (Answer(400, "5\r\nentry", {"Transfer-Encoding": "chunked", "Content-Length": ""}, cut=90), Outcome.CONNECTION),
        (Answer(204, cut=0, hang=True), Outcome.TIMEOUT),
        (Answer(400, "entry has timestamp too old" * 10, cut=60, hang=True), Outcome.TIMEOUT),
    ],
)
def test_nothing_is_settled_before_loki_takes_it(answer: Answer, outcome: Outcome) -> None:
    lines = lines_of(4)
    loki = Storing()
    with (
        serving(lambda _: answer) as server,
        pushing(server.url, timeout_s=0.2 if outcome is Outcome.TIMEOUT else 5.0) as pusher,
    ):
        pusher.submit(1, request_of(lines))
        events = events_until(pusher, lambda events: len(attempts(events)) >= 7)
        assert {attempt.outcome for attempt in attempts(events)} == {outcome}
        assert not any(attempt.final for attempt in attempts(events))
        assert all(0 < len(attempt.detail) <= 300 for attempt in attempts(events))
        assert not settled(events)
        server.script = loki
        (one,) = settled(events_until(pusher, settled))
        assert one.delivery.refused == ()
        assert set(loki.stored) == set(lines)
        assert {push.path for push in server.pushes} == {"/loki/api/v1/push"}


def test_an_answer_that_only_drips_does_not_hold_a_push() -> None:
    with (
        serving(lambda _: Answer(500, "x" * 3_000, drip_s=0.02)) as server,
        pushing(server.url, timeout_s=0.2) as pusher,
    ):
        pusher.submit(1, request_of(lines_of(1)))
        (attempt, *_) = attempts(events_until(pusher, attempts))
        assert attempt.outcome is Outcome.SERVER_ERROR
        server.closing.set()


def test_a_server_that_does_not_read_is_a_timeout() -> None:
    with socket.create_server((HOST, 0)) as silent:
        settings = Loki(url=f"http://{HOST}:{silent.getsockname()[1]}", timeout_s=0.2)
        pusher = Pusher(settings, encode=lambda _: bytes(50_000_000), random=seeded(1))
        pusher.submit(1, request_of(lines_of(1)))
        (attempt, *_) = attempts(events_until(pusher, attempts))
        pusher.stop(1)
        assert attempt.outcome is Outcome.TIMEOUT
        assert attempt.detail == f"{settings.url}/loki/api/v1/push: no answer within 0.2 s"


def test_a_connection_that_is_not_taken_in_time_has_failed_and_is_no_reason_to_halve() -> None:
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server((HOST, 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(full.getsockname())
        pusher = stack.enter_context(pushing(f"http://{HOST}:{full.getsockname()[1]}", timeout_s=0.1))
        pusher.submit(1, request_of(lines_of(2)))
        events = events_until(pusher, lambda events: len(attempts(events)) >= 2)
        assert {attempt.outcome for attempt in attempts(events)} == {Outcome.CONNECTION}
        assert "no connection within 0.1 s" in attempts(events)[0].detail


def test_what_is_sent_again_is_identical() -> None:
    with serving(in_turn(Answer(500), Answer(429), Answer(401), OK)) as server, pushing(server.url) as pusher:
        settle(pusher, request_of(lines_of(100)))
        assert len({push.body for push in server.pushes}) == 1
        assert len(server.pushes) == 4


def test_a_refused_connection_is_tried_until_somebody_listens() -> None:
    with FaultServer(lambda _: OK) as server, pushing(server.url) as pusher:
        pusher.submit(1, request_of(lines_of(3)))
        events = events_until(pusher, lambda events: len(attempts(events)) >= 8)
        assert {(attempt.outcome, attempt.bytes_out) for attempt in attempts(events)} == {(Outcome.CONNECTION, 0)}
        assert "Connection refused" in attempts(events)[0].detail
        assert server.url in attempts(events)[0].detail
        server.start()
        events = events_until(pusher, settled)
        assert len(server.pushes) == 1, "a Loki that is away is no reason to halve"


def test_a_failure_leaves_nothing_to_the_garbage_collector() -> None:
    # What other threads of the tests' process leave at the same moment counts too, so it may be seen at second sight.
    assert any(garbage < failures for garbage, failures in (garbage_of_failures() for _ in range(3)))


def garbage_of_failures() -> tuple[int, int]:
    with FaultServer(lambda _: OK) as server, pushing(server.url, in_flight_max=1) as pusher:
        gc.collect()
        gc.disable()
        try:
            pusher.submit(1, request_of(lines_of(1)))
            events = events_until(pusher, lambda events: len(attempts(events)) >= 30)
            pusher.stop(WAIT_S)
            return gc.collect(), len(events)
        finally:
            gc.enable()


NOW_S = 1_800_000_000.0


@pytest.mark.parametrize(("status", "retry_after"), [(429, "1"), (503, email.utils.formatdate(NOW_S + 1, usegmt=True))])
def test_retry_after_wins_over_the_back_off(status: int, retry_after: str) -> None:
    times: list[float] = []
    answer = in_turn(Answer(status, "later", {"Retry-After": retry_after}), OK)

    def timed(push: Push) -> Answer:
        times.append(time.monotonic())
        return answer(push)

    with serving(timed) as server:
        settings = Loki(url=server.url, retry_wait_min_s=0.001, retry_wait_max_s=0.002, in_flight_max=1)
        pusher = Pusher(settings, encode=encode, random=seeded(1), now_s=lambda: NOW_S)
        settle(pusher, request_of(lines_of(1)))
        pusher.stop(1)
        first, second = times
        assert second - first >= 0.99


class Choosing(random.Random):
    """Always the largest or smallest that may be drawn; remembers between what it was to draw."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.drawn: list[tuple[float, float]] = []

    def uniform(self, a: float, b: float) -> float:
        self.drawn.append((a, b))
        return a + self.share * (b - a)


def test_the_back_off_grows_to_its_bound_and_begins_anew_after_a_success() -> None:
    chance = Choosing(0)
    script = in_turn(*[Answer(401)] * 6, OK, Answer(401), OK)
    with serving(script) as server:
        settings = Loki(url=server.url, retry_wait_min_s=0.001, retry_wait_max_s=0.01, in_flight_max=1)
        pusher = Pusher(settings, encode=encode, random=chance)
        settle(pusher, request_of(lines_of(1)))
        # The request's own wait, and from the second failure on the lane's, which is a step behind.
        bounds = [0.002, 0.004, 0.002, 0.008, 0.004, 0.01, 0.008, 0.01, 0.01, 0.01, 0.01]
        assert chance.drawn == [(0.001, bound) for bound in bounds]
        settle(pusher, request_of(lines_of(1)))
        assert chance.drawn[11:] == [(0.001, 0.002)]
        pusher.stop(1)


@pytest.mark.parametrize("answer", [Answer(401), Answer(503, "", {"Retry-After": "500"}), Answer(204, cut=3)])
def test_stop_abandons_a_back_off_at_once_and_settles_nothing(answer: Answer) -> None:
    with serving(lambda _: answer) as server:
        settings = Loki(url=server.url, retry_wait_min_s=300, retry_wait_max_s=600, in_flight_max=2)
        pusher = Pusher(settings, encode=encode, random=seeded(1))
        # Of a lane, a second request is tried after the first has failed, and then the lane waits.
        for ticket in range(4):
            pusher.submit(ticket, request_of(lines_of(5), ticket % 2))
        tries = 2 if answer.headers else 4
        events_until(pusher, lambda events: len(attempts(events)) >= tries)
        began = time.monotonic()
        pusher.stop(20)
        assert time.monotonic() - began < 2
        assert pusher.wait(0) == []
        assert len(server.pushes) == tries, "a try began after the stop"


def test_stop_waits_for_a_running_try_and_its_delivery_still_counts() -> None:
    arrived, go = threading.Event(), threading.Event()

    def slow(_: Push) -> Answer:
        arrived.set()
        go.wait(WAIT_S)
        return OK

    with serving(slow) as server, pushing(server.url) as pusher:
        pusher.submit(3, request_of(lines_of(5)))
        assert arrived.wait(WAIT_S)
        threading.Timer(0.1, go.set).start()
        pusher.stop(WAIT_S)
        assert [one.ticket for one in settled(pusher.wait(0))] == [3]


def test_stop_does_not_wait_longer_than_told_for_a_try_that_hangs() -> None:
    with serving(lambda _: Answer(204, cut=0, hang=True)) as server:
        pusher = Pusher(Loki(url=server.url, timeout_s=20), encode=encode, random=seeded(1))
        pusher.submit(1, request_of(lines_of(1)))
        deadline = time.monotonic() + WAIT_S
        while not server.pushes and time.monotonic() < deadline:
            assert pusher.wait(0.01) == []
        began = time.monotonic()
        pusher.stop(0.2)
        assert time.monotonic() - began < 2


def test_as_many_requests_are_in_flight_as_allowed() -> None:
    together = threading.Barrier(3)

    def answer(_: Push) -> Answer:
        together.wait(WAIT_S)
        return OK

    with serving(answer) as server, pushing(server.url, in_flight_max=3) as pusher:
        for ticket in range(3):
            pusher.submit(ticket, request_of(lines_of(1), ticket))
        events_until(pusher, lambda events: len(settled(events)) == 3)


@pytest.mark.parametrize("limit", [1, 2])
def test_no_more_lanes_push_at_once_than_the_limit_says_and_all_get_their_turn(limit: int) -> None:
    lock = threading.Lock()
    under_way, most, order = 0, 0, list[str]()

    def answer(push: Push) -> Answer:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
            order.extend(push.lines)
        time.sleep(0.01)  # long enough for all lanes to come, if they may
        with lock:
            under_way -= 1
        return OK

    with serving(answer) as server, pushing(server.url, in_flight_max=4) as pusher:
        pusher.limit(limit)
        for ticket in range(40):
            lane = ticket // 10
            pusher.submit(ticket, request_of([str(lane)], lane))
        events_until(pusher, lambda events: len(settled(events)) == 40)
        assert most == limit
        assert set(order[:8]) == {"0", "1", "2", "3"}, "a lane waits until another has pushed all it has"
        pusher.limit(4)
        for lane in range(4):
            pusher.submit(lane, request_of(["again"], lane))
        events_until(pusher, lambda events: len(settled(events)) == 4)


def test_a_raised_limit_wakes_the_lanes_that_wait() -> None:
    go, arrived = threading.Event(), threading.Semaphore(0)

    def answer(_: Push) -> Answer:
        arrived.release()
        go.wait(WAIT_S)
        return OK

    with serving(answer) as server, pushing(server.url, in_flight_max=3) as pusher:
        pusher.limit(1)
        for lane in range(3):
            pusher.submit(lane, request_of(lines_of(1), lane))
        assert arrived.acquire(timeout=WAIT_S)
        assert not arrived.acquire(timeout=0.2)
        pusher.limit(3)
        assert arrived.acquire(timeout=WAIT_S)
        assert arrived.acquire(timeout=WAIT_S)
        go.set()
        events_until(pusher, lambda events: len(settled(events)) == 3)


def test_a_request_that_fails_does_not_hold_up_its_lane() -> None:
    with serving(loki := Storing(poisonous={"poison"})) as server:
        # It comes back after an hour at the earliest.
        settings = Loki(url=server.url, retry_wait_min_s=3_600, retry_wait_max_s=7_200, in_flight_max=1)
        pusher = Pusher(settings, encode=encode, random=seeded(1))
        pusher.submit(0, request_of(["poison"]))
        for ticket in range(1, 20):
            pusher.submit(ticket, request_of([f"line-{ticket}"]))
        events_until(pusher, lambda events: len(settled(events)) == 19)
        assert len(loki.stored) == 19
        pusher.stop(1)


def test_pushes_of_one_lane_never_overlap_and_come_in_order() -> None:
    chance, lock = seeded(5), threading.Lock()
    under_way: Counter[str] = Counter()
    arrived: dict[str, list[int]] = {}

    def answer(push: Push) -> Answer:
        lane, number = push.lines[0].split("-")
        with lock:
            assert not under_way[lane], "two pushes write to one stream"
            under_way[lane] += 1
            arrived.setdefault(lane, []).append(int(number))
        time.sleep(chance.random() / 200)
        with lock:
            under_way[lane] -= 1
        return OK

    with serving(answer) as server, pushing(server.url, in_flight_max=3) as pusher:
        for ticket in range(60):
            pusher.submit(ticket, request_of([f"{ticket % 3}-{ticket}"], ticket % 3))
        events = events_until(pusher, lambda events: len(settled(events)) == 60)
        assert {attempt.outcome for attempt in attempts(events)} == {Outcome.DELIVERED}
    assert all(numbers == sorted(numbers) for numbers in arrived.values())
    assert len(arrived) == 3


def test_a_mistake_in_a_push_thread_is_raised_by_wait() -> None:
    def broken(_: PushRequest) -> bytes:
        raise ZeroDivisionError

    pusher = Pusher(Loki(), encode=broken, random=seeded(1))
    pusher.submit(1, request_of(lines_of(1)))
    with pytest.raises(ZeroDivisionError):
        pusher.wait(WAIT_S)
    pusher.stop(1)
