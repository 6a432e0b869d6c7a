"""How many pushes the workers of a host may have under way at once: more while Loki takes them, half when it does not.

Each worker for itself knows too little: when Loki is busy, they all are told so, and all come back. Pure: the
supervisor, which sees all rows, asks once a second, and writes each worker's share into its row.
"""

from dataclasses import dataclass

_EVERY_S = 1.0
_PUSHED_BACK_SHARE = 0.1
"""Of a second's pushes. A single entry that is answered 500 for ever is no reason to slow down all others."""


@dataclass(frozen=True, slots=True)
class Pushes:
    """Totals of all workers so far: how many tries ended, how many of them in 429, 5xx or no answer, and their time."""

    ended: int = 0
    pushed_back: int = 0
    seconds: float = 0.0


class PushLimit:
    """Additive increase, multiplicative decrease, between one push to a worker and all lanes of all workers.

    Args:
        workers: how many workers there are.
        lanes: `loki.in_flight_max`, per worker.
        timeout_s: `loki.timeout_s`; answers that take half of it on the average are a sign of too many pushes.
    """

    def __init__(self, workers: int, lanes: int, timeout_s: float) -> None:
        self._workers, self._lanes, self._timeout_s = workers, lanes, timeout_s
        self._limit = workers * lanes
        self._before: Pushes | None = None
        self._due_s = 0.0

    def decide(self, pushes: Pushes, now_s: float) -> list[int]:
        """Return how many pushes each worker may have under way; the sum is the host's limit.

        Args:
            pushes: totals; they never go down.
            now_s: a monotonic clock; steps are a second apart, however often this is asked.
        """
        if self._before is None:
            self._before, self._due_s = pushes, now_s + _EVERY_S
        elif now_s >= self._due_s:
            before, self._before, self._due_s = self._before, pushes, now_s + _EVERY_S
            self._step(
                pushes.ended - before.ended, pushes.pushed_back - before.pushed_back, pushes.seconds - before.seconds
            )
        share, rest = divmod(self._limit, max(self._workers, 1))
        return [share + (worker < rest) for worker in range(self._workers)]

    def _step(self, ended: int, pushed_back: int, seconds: float) -> None:
        if not ended:
            return
        if pushed_back > _PUSHED_BACK_SHARE * ended or seconds > self._timeout_s / 2 * ended:
            self._limit = max(self._limit // 2, self._workers)
        else:
            self._limit = min(self._limit + 1, self._workers * self._lanes)
