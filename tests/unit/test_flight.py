"""What is in flight: a batch is settled when all of it is, and what it holds is counted until then."""

from dataclasses import replace

from messages import StoredMessage
from shipper.pipeline import Rules, prepare
from shipper.process.flight import Flights
from shipper.records import Prepared, Reason, RecordBatch, Rejected
from shipper.settings import Malformed, Settings

TIMELESS = b'{"service":"auth-service","level":"info"}'


def prepared(values: list[bytes | None], settings: Settings | None = None) -> Prepared:
    records = [StoredMessage(value, ("logs", 0, offset)) for offset, value in enumerate(values)]
    return prepare(RecordBatch("logs", records), Rules.compile(settings or Settings()), now_ns=0)


def test_a_batch_is_settled_when_its_requests_and_its_letters_are() -> None:
    flights = Flights(1_000_000)
    ticket = flights.start(prepared([TIMELESS] * 3))
    assert not flights.finish(ticket)
    flights.pushed(ticket, (Rejected(1, Reason.REFUSED_BY_LOKI, "no"),))
    assert not flights.finish(ticket), "a letter is not confirmed"
    assert flights.confirmed(ticket) == {Reason.REFUSED_BY_LOKI: 1}
    assert flights.finish(ticket)
    assert flights.bytes_held == 0
    assert len(flights) == 0


def test_a_batch_that_is_filtered_whole_is_settled_at_once() -> None:
    flights = Flights(1_000_000)
    assert flights.finish(flights.start(prepared([None, b""])))


def test_it_is_full_while_requests_wait_or_the_bound_is_reached() -> None:
    flights = Flights(5_000)
    looks = [flights.is_full]
    flights.start(prepared([TIMELESS]))
    looks.append(flights.is_full)  # a request waits for a push thread
    flights.waiting.clear()
    looks.append(flights.is_full)
    flights.start(replace(prepared([TIMELESS * 100]), requests=()))
    looks.append(flights.is_full)  # more bytes are held than may be
    assert looks == [False, True, False, True]


def test_letters_that_are_not_confirmed_count_against_the_bound() -> None:
    flights = Flights(1_000_000)
    to_the_dead = Settings(malformed=Malformed(policy="dead_letter"))
    while not flights.is_full:
        ticket = flights.start(prepared([b"no json"] * 100, to_the_dead))
        assert ticket < 20, "a record without a line still takes memory"
