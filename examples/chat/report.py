"""What the traffic generator did, to hold against what logs, dashboards and alerts say."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple


class Event(NamedTuple):
    """What a record tells of, as `event`, `outcome` and `reason` name it; None where the record has none."""

    service: str
    event: str
    outcome: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """One request to the gateway.

    Attributes:
        request_id: as it came back in `X-Request-ID`.
        method, route: what was asked, the route as its template; None where there is no such route.
        status: the answer's.
        latency_ms: as the client measured it.
        services: those in whose records its ID must be found, and nobody else's.
    """

    request_id: str
    method: str
    route: str | None
    status: int
    latency_ms: float
    services: frozenset[str]


@dataclass(slots=True)
class Report:
    """All that was done.

    Attributes:
        requests: in the order of the answers.
        events: how many records of each kind the services must have written for them, debug ones included.
        exceptions: unhandled ones, by the service that raised them.
        followed: the ID of a request that passed through all five services, without a mistake; empty if none was to.
        locked_from: the addresses from which accounts were locked.
        secrets: passwords, tokens and card numbers that were planted.
        personal: e-mail addresses and names of people; no record may have them either.
        began_ns, ended_ns: when, in nanoseconds since the epoch.
    """

    requests: list[Sent] = field(default_factory=list)
    events: Counter[Event] = field(default_factory=Counter)
    exceptions: Counter[str] = field(default_factory=Counter)
    followed: str = ""
    locked_from: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)
    personal: set[str] = field(default_factory=set)
    began_ns: int = 0
    ended_ns: int = 0

    def answered(self) -> Counter[tuple[str, str | None, int]]:
        """Return how many requests had (method, route, status)."""
        return Counter((sent.method, sent.route, sent.status) for sent in self.requests)

    def latencies_ms(self, method: str, route: str) -> list[float]:
        """Return how long the requests of a route took, the shortest first."""
        return sorted(sent.latency_ms for sent in self.requests if (sent.method, sent.route) == (method, route))

    def count(self, service: str, event: str, outcome: str | None = None, reason: str | None = None) -> int:
        """Return how many records tell of this; None stands for whatever it is."""
        return sum(
            number
            for one, number in self.events.items()
            if (one.service, one.event) == (service, event)
            and outcome in (None, one.outcome)
            and reason in (None, one.reason)
        )
