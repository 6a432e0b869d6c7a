"""Reading every entry once from a server that knows times only: a pure one, in both directions, with its refusals."""

from hypothesis import example, given
from hypothesis import strategies as st

from shipper.loki.paging import Page, PageAsked, SeriesAsked, StreamEntry, pages
from shipper.loki.query_errors import SlowError, TooLargeError, TooLongError

_S = 10**9
_STREAMS = 3


class _Server:
    """Answers as Loki does: the first `limit` entries of a range, oldest or newest first; and counts the questions.

    Args:
        entries: what it holds.
        range_max_ns: refuses longer ranges.
        page_max: refuses larger pages, or does not answer them, by turns.
    """

    def __init__(self, entries: list[StreamEntry], range_max_ns: int, page_max: int) -> None:
        self._entries, self._range_max_ns, self._page_max = entries, range_max_ns, page_max
        self.asked = 0

    def answer(self, asked: PageAsked | SeriesAsked) -> Page | list[dict[str, str]]:
        self.asked += 1
        if isinstance(asked, SeriesAsked):
            return [{"stream": str(number)} for number in range(_STREAMS)]
        if asked.end_ns - asked.start_ns > self._range_max_ns:
            raise TooLongError("loki", 400, "too long")
        if asked.limit > self._page_max and asked.smaller:
            raise (TooLargeError if self.asked % 2 else SlowError)("loki", 500, "too large")
        found = [
            one
            for one in self._entries
            if asked.start_ns <= one.timestamp_ns < asked.end_ns and _is_of(one, asked.query)
        ]
        found.sort(key=lambda one: one.timestamp_ns, reverse=asked.backward)
        return Page(found[: asked.limit], sum(len(one.line) + 50 for one in found) or 1)


def _is_of(entry: StreamEntry, query: str) -> bool:
    return query == "{all}" or query == '{stream="' + entry.labels["stream"] + '"}'


def _read(server: _Server, start_ns: int, end_ns: int, *, page: int, tie: int, backward: bool) -> list[StreamEntry]:
    reading, found = pages("{all}", start_ns, end_ns, page=page, tie=tie, backward=backward), list[StreamEntry]()
    step = next(reading, None)
    while step is not None:
        if isinstance(step, list):
            assert not {one.timestamp_ns for one in step} & {one.timestamp_ns for one in found}, (
                "a nanosecond was split"
            )
            found += step
            step = next(reading, None)
            continue
        try:
            answer = server.answer(step)
        except (TooLongError, TooLargeError, SlowError) as error:
            step = reading.throw(error)
        else:
            step = reading.send(answer)
    return found


@given(
    gaps_ns=st.lists(st.one_of(st.just(0), st.integers(1, 9), st.integers(1, 40 * _S)), max_size=60),
    page=st.integers(2, 20),
    backward=st.booleans(),
    range_max_ns=st.sampled_from([7, 5 * _S, 10**15]),
    page_max=st.sampled_from([2, 9, 100]),
)
@example(gaps_ns=[0] * 30, page=2, backward=True, range_max_ns=10**15, page_max=100)
@example(gaps_ns=[0] * 30, page=2, backward=False, range_max_ns=10**15, page_max=2)
def test_every_entry_is_read_once_in_order_whatever_the_server_refuses(
    gaps_ns: list[int], page: int, range_max_ns: int, page_max: int, *, backward: bool
) -> None:
    at_ns, entries = 0, []
    for number, gap_ns in enumerate(gaps_ns):
        at_ns = (at_ns + gap_ns) % (range_max_ns * 1_000)  # or a server of tiny ranges is asked for ever
        entries.append(StreamEntry({"stream": str(number % _STREAMS)}, at_ns, str(number), {}))
    end_ns = max((one.timestamp_ns for one in entries), default=0) + 1
    server = _Server(entries, range_max_ns, page_max)
    found = _read(server, 0, end_ns, page=page, tie=100, backward=backward)
    assert sorted(one.line for one in found) == sorted(one.line for one in entries)
    times = [one.timestamp_ns for one in found]
    assert times == sorted(times, reverse=backward)


def test_a_sparse_range_behind_a_dense_one_costs_few_questions() -> None:
    dense = [StreamEntry({"stream": "0"}, at_ns, str(at_ns), {}) for at_ns in range(100)]
    late = StreamEntry({"stream": "0"}, 90 * 86_400 * _S, "late", {})
    server = _Server([*dense, late], 10**18, 10**6)
    found = _read(server, 0, late.timestamp_ns + 1, page=50, tie=50, backward=False)
    assert len(found) == 101
    assert server.asked < 20
