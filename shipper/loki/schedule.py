"""What a lane pushes next, and when: one request at a time, the one that is due the longest. Pure.

    add ─▶ due ─▶ take ─▶ under way ─▶ tried ─┬─▶ done
            ▲                                 ├─▶ due     a part of it was not tried yet
            └────────── waits a while ◀───────┘           what is left of it failed

A request that fails waits by itself, longer from time to time, and the others pass it. Only while requests fail one
after the other, whichever it is, the lane as a whole waits: an outage is no reason for a storm. A request that has
failed often while others pass says nothing of Loki any more, and the lane does not wait for its sake.
"""

from random import Random

from shipper.loki.narrowing import HALVED_AFTER, Push
from shipper.loki.verdict import Action, Verdict


class Schedule:
    """The requests of one lane.

    Args:
        wait_min_s: the shortest wait after a failure.
        wait_max_s: bound on what waits grow to.
        random: jitter.
    """

    def __init__(self, wait_min_s: float, wait_max_s: float, random: Random) -> None:
        self._wait_min_s, self._wait_max_s = wait_min_s, wait_max_s
        self._random = random
        self._pushes: list[Push] = []
        self._under_way: Push | None = None
        self._failures = 0
        """Tries in a row that failed, those of requests left out that fail for ever."""
        self._open_s = 0.0
        """When the lane as a whole may push again."""

    def add(self, push: Push, now_s: float) -> None:
        """Take a request in; it is due at once, behind those that are due already."""
        push.due_s = now_s
        self._pushes.append(push)

    def take(self, now_s: float) -> Push | None:
        """Return the request to push now; None while one is under way, or if none is due."""
        if self._under_way is not None or now_s < self._open_s or not self._pushes:
            return None
        longest = min(self._pushes, key=lambda push: push.due_s)  # the first added, of several
        if longest.due_s <= now_s:
            self._under_way = longest
        return self._under_way

    def wait_s(self, now_s: float) -> float | None:
        """Return in how many seconds `take` may give one; None: not before `add` or `tried`."""
        if self._under_way is not None or not self._pushes:
            return None
        return max(self._open_s, min(push.due_s for push in self._pushes)) - now_s

    def is_waited_for(self, now_s: float) -> bool:
        """Whether a request is due that is not under way: what is added now is not pushed at once."""
        return any(push.due_s <= now_s and push is not self._under_way for push in self._pushes)

    def tried(self, push: Push, verdict: Verdict, now_s: float) -> None:
        """Note how the try of the request under way ended; without parts left, it is done and forgotten."""
        self._under_way = None
        if verdict.action is not Action.RETRY:
            push.failures = self._failures = 0
            if not push.parts:
                self._pushes.remove(push)
            return
        if verdict.retry_after_s is not None:
            # Whoever says so speaks for all of Loki.
            push.due_s = self._open_s = now_s + verdict.retry_after_s + self._random.uniform(0, self._wait_min_s)
        elif push.parts[0].is_tried:
            self._failures += push.failures < HALVED_AFTER
            push.failures += 1
            push.due_s = now_s + self._back_off_s(push.failures)
            if self._failures > 1:
                self._open_s = now_s + self._back_off_s(self._failures - 1)

    def _back_off_s(self, failures: int) -> float:
        """Seconds that grow with the failures, jittered so that what failed together does not return together."""
        ceiling_s = min(self._wait_min_s * 2.0 ** min(failures, 64), self._wait_max_s)
        return self._random.uniform(self._wait_min_s, ceiling_s)
