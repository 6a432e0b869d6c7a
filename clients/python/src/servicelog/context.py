"""What is bound to the work at hand: in a request, a task, a thread that carries it over."""

import contextvars
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, ParamSpec, TypeVar

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

_LOW_62: Final = 2**62 - 1
_NOTHING: Final[Mapping[str, object]] = {}
_bound: contextvars.ContextVar[Mapping[str, object]] = contextvars.ContextVar("servicelog", default=_NOTHING)
current: Final = _bound.get
"""The fields that are bound here; not to be changed."""


request_fields: Final[contextvars.ContextVar[dict[str, object] | None]] = contextvars.ContextVar(
    "servicelog_request", default=None
)
"""What `bind` was given while a request is served, in whatever task or thread: for the request's own record."""


def bind(**fields: object) -> None:
    """Bind fields until the end of the task, or of the `bound` around; None as a value takes a field away."""
    _bound.set({**_bound.get(), **fields})
    request = request_fields.get()
    if request is not None:
        request.update(fields)


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Bind fields for a block."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


@contextmanager
def only(fields: Mapping[str, object]) -> Iterator[None]:
    """Bind these fields for a block, and none of those that are bound outside."""
    token = _bound.set(fields)
    try:
        yield
    finally:
        _bound.reset(token)


def carried(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """A function that runs, in whatever thread, with what is bound now."""
    context = contextvars.copy_context()

    def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        # A context can be entered once at a time; two threads may run the same function.
        return context.copy().run(function, *args, **kwargs)

    return run


def new_request_id() -> str:
    """A UUIDv7 (RFC 9562): sorts by time."""
    random = int.from_bytes(os.urandom(10), "big")
    value = (
        (time.time_ns() // 1_000_000) << 80 | 0x7 << 76 | (random >> 66 & 0xFFF) << 64 | 0x2 << 62 | random & _LOW_62
    )
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def request_id() -> object:
    """The request ID that is bound here, or None."""
    return _bound.get().get("requestId")
