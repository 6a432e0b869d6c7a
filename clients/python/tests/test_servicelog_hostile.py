"""Bad input: whatever a service logs, by whichever way, it goes on, and the record says what was wrong."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

import servicelog
from hostile_values import ERRORS, TAKEN, TOLD
from keeping import Kept, keeping
from servicelog import propagate
from servicelog.record import RecordWriter
from servicelog.stdlib import ServiceLogFormatter, ServiceLogHandler
from servicelog.structlog import deliver


@pytest.fixture
def kept() -> Iterator[Kept]:
    with keeping() as sink:
        structlog.configure(processors=[deliver], cache_logger_on_first_use=False)
        yield sink
        structlog.reset_defaults()


OWN = servicelog.get_logger("t")


def standard() -> logging.Logger:
    log = logging.Logger("standard")  # noqa: LOG001 - nobody else's
    log.addHandler(ServiceLogHandler())
    return log


def bound(value: object) -> None:
    with servicelog.bound(a=value):
        OWN.info("m", fine=1)


def bound_as_id(value: object) -> None:
    with servicelog.bound(requestId=value, traceId=value):
        OWN.info("m", fine=1)
        assert propagate.headers().keys() <= {"x-request-id"}


def timed(value: object) -> None:
    with OWN.timed("m", fine=1, a=value):
        pass


WAYS: dict[str, Callable[[Any], object]] = {
    "message": lambda value: OWN.info(value, fine=1),
    "field": lambda value: OWN.info("m", a=value, fine=1),
    "member that is a text": lambda value: OWN.info("m", userId=value, fine=1),
    "member that is a number": lambda value: OWN.info("m", status=value, fine=1),
    "element": lambda value: OWN.info("m", a=[{"b": (value,)}], fine=1),
    "error that is none": lambda value: OWN.error("m", error=value, fine=1),
    "level": lambda value: OWN.log(value, "m", fine=1),
    "child": lambda value: OWN.child(a=value).info("m", fine=1),
    "bound": bound,
    "bound as ID": bound_as_id,
    "timed": timed,
    "standard logging's message": lambda value: standard().info(value, extra={"fine": 1}),
    "standard logging's extra": lambda value: standard().info("m", extra={"a": value, "fine": 1}),
    "structlog's field": lambda value: structlog.get_logger().info("m", a=value, fine=1),
    "structlog's message": lambda value: structlog.get_logger().info(value, fine=1),
    "structlog's logger": lambda value: structlog.get_logger().info("m", logger=value, fine=1),
    "structlog's level": lambda value: structlog.get_logger().info("m", level=value, fine=1),
}


def only(kept: Kept) -> dict[str, Any]:
    """The one record that was written, with what was fine in it."""
    (written,) = kept.sent
    kept.sent.clear()
    record: dict[str, Any] = json.loads(written)
    assert record["metadata"]["fine"] == 1
    return record


@pytest.mark.parametrize("way", WAYS)
def test_a_value_that_cannot_be_written_costs_itself_and_the_record_says_so(kept: Kept, way: str) -> None:
    for name, value in TOLD.items():
        WAYS[way](value)
        said = only(kept)["logProblem"]
        if way in ("level", "structlog's level"):
            assert said.startswith('unknown level "'), name
        else:
            assert said.endswith("could not be serialised"), name


@pytest.mark.parametrize("way", WAYS)
def test_a_value_that_raises_or_lies_where_nobody_need_ask_is_written(kept: Kept, way: str) -> None:
    for name, value in TAKEN.items():
        WAYS[way](value)
        assert "serialised" not in only(kept).get("logProblem", ""), name


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("way", ["own", "standard", "uvicorn", "structlog", "formatter", "field"])
def test_an_error_that_cannot_be_told_costs_its_message_at_most(kept: Kept, way: str, name: str) -> None:
    error = ERRORS[name]
    match way:
        case "own":
            OWN.error("m", error=error, fine=1)
        case "field":
            OWN.error("m", a=[error], fine=1)
        case "standard":
            standard().error("m", exc_info=(type(error), error, None), extra={"fine": 1})
        case "uvicorn":
            one = logging.makeLogRecord(
                {"name": "uvicorn.error", "levelno": 40, "exc_info": (type(error), error, None), "fine": 1}
            )
            ServiceLogHandler().emit(one)
        case "structlog":
            structlog.get_logger().error("m", exc_info=error, fine=1)
        case "formatter":
            one = logging.makeLogRecord({"msg": "m", "levelno": 40, "exc_info": (type(error), error, None), "fine": 1})
            kept.sent.append(ServiceLogFormatter("s").format(one).encode())
    record = only(kept)
    told = record["metadata"]["a"][0] if way == "field" else record["error"]
    assert told["type"] == type(error).__name__
    assert ("could not be serialised" in record.get("logProblem", "")) == ("told" in name)


_ALL: dict[str, Any] = {**TOLD, **TAKEN, **ERRORS}
_PLAIN = st.integers() | st.text(max_size=5)
# hypothesis asks values for their class: it draws names, and the test makes the values of them.
_NAMES = st.sampled_from(sorted(_ALL))
_SHAPES: st.SearchStrategy[Any] = st.recursive(
    _NAMES | _PLAIN,
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(_NAMES | _PLAIN, inner, max_size=4)
    ),
    max_leaves=8,
)


def made(shape: Any) -> Any:  # noqa: ANN401 - of any kind
    """The values that a shape names."""
    if isinstance(shape, dict):
        return _Members([(made(name), made(value)) for name, value in shape.items()])
    if isinstance(shape, list | tuple):
        return type(shape)(map(made, shape))
    return _ALL.get(shape, shape)


class _Members(dict[Any, Any]):
    """An object with any names at all, those that have no hash too."""

    def __init__(self, members: list[tuple[Any, Any]]) -> None:
        super().__init__()
        self._members = members

    def items(self) -> Any:  # noqa: ANN401 - not of its base's kind
        return self._members

    def __len__(self) -> int:
        return len(self._members)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(message=_SHAPES, fields=st.dictionaries(st.text(max_size=5), _SHAPES, max_size=4), level=_NAMES)
def test_hostile_values_anywhere_make_one_record(message: object, fields: dict[str, object], level: str) -> None:
    given_fields = {name: made(value) for name, value in fields.items()}
    record = json.loads(RecordWriter("s").write(0, _ALL[level], made(message), {**given_fields, "fine-": 1}))
    assert (record["level"], record["metadata"]["fine-"]) == ("info", 1)
