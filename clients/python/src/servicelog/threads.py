"""A thread pool that takes over what is bound: apart, since not every service has one, and loading it takes time."""

from collections.abc import Callable
from concurrent import futures
from typing import ParamSpec, TypeVar

from servicelog.context import carried

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class ThreadPoolExecutor(futures.ThreadPoolExecutor):
    """The standard one; what is submitted runs with what was bound where it was submitted."""

    def submit(
        self, fn: Callable[_Parameters, _Result], /, *args: _Parameters.args, **kwargs: _Parameters.kwargs
    ) -> "futures.Future[_Result]":
        return super().submit(carried(fn), *args, **kwargs)
