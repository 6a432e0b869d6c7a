"""How often somebody may ask, and how often a credential may fail: each process of the log API counts for itself."""

import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from shipper.api.principal import Principal, Role
from shipper.settings import Api

_ONE = RateLimitItemPerMinute(1)


class Rates:
    """Counts; the memory that it takes is bounded by what was counted in the last two minutes.

    Args:
        api: the section `[api]`.
    """

    def __init__(self, api: Api) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._requests = RateLimitItemPerMinute(api.requests_per_minute)
        self._failures = RateLimitItemPerMinute(api.failures_per_minute)

    def of_principal(self, principal: Principal, client: str) -> float:
        """Count a request; return the seconds to wait, 0 if it is permitted.

        All processes of a service share one token and ask without end: they count by the host that they run on, too.
        """
        return self._hit(self._requests, "principal", *_who(principal, client))

    def of_refusals(self, principal: Principal, client: str) -> float:
        """Count a request that was refused; return 0 if it is the first in a minute, which is to be audited."""
        return self._hit(_ONE, "refused", *_who(principal, client))

    def of_failures(self, client: str) -> float:
        """Count a credential that failed; return the seconds to wait, 0 if it is still told and audited."""
        return self._hit(self._failures, "client", client)

    def _hit(self, limit: RateLimitItemPerMinute, kind: str, *who: str) -> float:
        if self._limiter.hit(limit, kind, *who):
            return 0.0
        return max(1.0, self._limiter.get_window_stats(limit, kind, *who).reset_time - time.time())


def _who(principal: Principal, client: str) -> tuple[str, ...]:
    token = principal.token or principal.name
    return (token, client) if principal.role is Role.SERVICE else (token,)
