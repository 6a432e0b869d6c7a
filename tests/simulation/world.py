"""Time, chance, and the story of what happened: whatever a simulation decides, it decides here.

Nothing waits in real time. A part of the world that would block lets virtual time pass instead (`advance`), and what
is due meanwhile happens: an answer of Loki's, a commit that arrives, a crash. All chance comes from one generator, so
a seed decides everything.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

EPOCH_NS = 1_767_225_600 * 10**9
"""When a simulation begins, in nanoseconds since the epoch: the first of January 2026."""


class CrashError(BaseException):
    """A process dies here. No `except Exception` of the engine may survive it."""


class BrokenPromiseError(AssertionError):
    """An invariant does not hold."""


class World:
    """One seed's time, chance and story."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)  # noqa: S311 - no secret; it must be repeatable
        self.now_s = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._planned = 0
        self._story: list[tuple[float, str, str]] = []

    def clock(self) -> float:
        """Monotonic seconds."""
        return self.now_s

    def now_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return EPOCH_NS + int(self.now_s * 1e9)

    def chance(self, probability: float) -> bool:
        """Say yes so often."""
        return self.random.random() < probability

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Let something happen after a while; what is due at one moment happens in the order of these calls."""
        self._planned += 1
        heappush(self._due, (self.now_s + delay_s, self._planned, action))

    def advance(self, seconds: float, until: Callable[[], object] = lambda: False) -> None:
        """Let time pass, and what is due happen; end early as soon as `until` holds."""
        end_s = self.now_s + seconds
        while not until():
            if not self._due or self._due[0][0] > end_s:
                self.now_s = end_s
                return
            self.now_s, _, action = heappop(self._due)
            action()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.advance(seconds)

    def tell(self, who: str, what: str) -> None:
        """Note what happened."""
        self._story.append((self.now_s, who, what))

    def story(self, lines_max: int | None = None) -> str:
        """Return what happened, one line each; the last ones if it would be too much."""
        told = self._story if lines_max is None else self._story[-lines_max:]
        left_out = len(self._story) - len(told)
        lines = [f"… {left_out} lines before these"] if left_out else []
        return "\n".join([*lines, *(f"{at_s:9.3f} s  {who:<8}  {what}" for at_s, who, what in told)])
