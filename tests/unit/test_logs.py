"""shipper's own log: the documented form, one line per write, and no line lost to what it is given."""

import io
import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from shipper.logs import Log

AT = datetime(2026, 1, 31, 12, 0, 0, 7_999, tzinfo=UTC)


def test_a_line_is_one_json_object_in_the_documented_form() -> None:
    stream = io.StringIO()
    Log(stream, now=lambda: AT)("warn", "Loki is slow\nagain", seconds=3.5, file=Path("/x"))
    assert stream.getvalue().count("\n") == 1
    assert json.loads(stream.getvalue()) == {
        "timestamp": "2026-01-31T12:00:00.007Z",
        "level": "warn",
        "service": "shipper",
        "message": "Loki is slow\nagain",
        "context": {"seconds": 3.5, "file": "/x"},
    }


def test_bound_fields_stand_in_every_line_and_only_there() -> None:
    stream = io.StringIO()
    log = Log(stream, now=lambda: AT)
    worker = log.bind(worker=3)
    worker.bind(topic="logs")("info", "a", worker=4)
    worker("info", "b")
    log("info", "c")
    contexts = [json.loads(line)["context"] for line in stream.getvalue().splitlines()]
    assert contexts == [{"worker": 4, "topic": "logs"}, {"worker": 3}, {}]


def test_what_json_cannot_hold_costs_no_line() -> None:
    stream = io.StringIO()
    Log(stream, now=lambda: AT)("error", "lone \ud800", number=2**70)
    line = json.loads(stream.getvalue())
    assert line["level"] == "error"
    assert line["message"] == "lone \\ud800"
    assert str(2**70) in line["context"]["repr"]


def test_text_is_for_people_and_stays_one_line() -> None:
    stream = io.StringIO()
    Log(stream, text=True, now=lambda: AT)("info", "a\nb", worker=3)
    assert stream.getvalue() == "12:00:00 info  a b worker=3\n"


class Piecewise(io.StringIO):
    """Writes in two pieces, and lets other threads run in between."""

    def write(self, text: str, /) -> int:
        half = len(text) // 2
        super().write(text[:half])
        time.sleep(0)
        return half + super().write(text[half:])


def test_lines_of_threads_do_not_mix() -> None:
    stream = Piecewise()
    log = Log(stream, now=lambda: AT)

    def write(name: int) -> None:
        bound = log.bind(thread=name)
        for _ in range(200):
            bound("info", "x" * 500)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 800


def test_a_closed_stream_stops_nobody() -> None:
    stream = io.StringIO()
    log = Log(stream, now=lambda: AT)
    stream.close()
    log("info", "nobody is left to tell")
