"""How long to wait before a worker that died is started again."""

import random
from dataclasses import dataclass, field


@dataclass
class Backoff:
    """Delays that double up to a cap, each drawn from its upper half so that many processes do not start in step.

    Args:
        first_s: upper bound of the first delay, in seconds.
        max_s: upper bound of all delays, in seconds.
        healthy_s: a worker that ran this long, in seconds, starts over with the first delay.
        rng: where the jitter comes from.
    """

    first_s: float = 0.5
    max_s: float = 30.0
    healthy_s: float = 60.0
    rng: random.Random = field(default_factory=random.Random)
    failures: int = 0

    def next_delay_s(self, ran_s: float) -> float:
        """Return the delay after a worker that ran for `ran_s` seconds died."""
        if ran_s >= self.healthy_s:
            self.failures = 0
        # Beyond 2^32 first delays the cap has long been reached.
        bound_s = min(self.max_s, self.first_s * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return bound_s * self.rng.uniform(0.5, 1.0)
