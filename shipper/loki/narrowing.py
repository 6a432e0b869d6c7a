"""A submitted request on its way, pushed in parts, one at first: what comes next after every try. Pure.

The request is done once every part is delivered, or is a single entry that is refused for good. That it is if
- it is refused for what it is itself (`Verdict.is_entrys_own`: too old, too new, too long, too much metadata), or
- another entry of its request was delivered, so that Loki does not refuse all alike, or
- no other entry of its request is refused so, as of a request of one.

Else the request is *held*: Loki, or what stands before it, may be refusing whatever it is sent, and dead letters would
be made of everything. One entry of it, chosen anew each time, is pushed again after a while, for ever; as soon as that
is answered in another way, the whole request is pushed anew.
"""

from collections import deque
from dataclasses import dataclass, field
from random import Random

from shipper.loki.verdict import Action, Outcome, Verdict
from shipper.records import Delivery, PushRequest, Rejected

# A part that ends so this often in a row may itself be the cause (over a gRPC bound or a burst: 500, 429 for ever; an
# entry that a proxy, or a newer Loki, refuses in words of its own: 400), so its halves are tried, and a single entry is
# named. An outage makes more parts of a request, but only one per so many tries.
HALVED_AFTER = 5
# Sooner it is divided by partitions: what holds up one of them shall not hold up the others for long.
_DIVIDED_AFTER = 2
_HALVED_ON = (Outcome.SERVER_ERROR, Outcome.TIMEOUT, Outcome.RATE_LIMITED, Outcome.NOT_LOKI)


@dataclass(slots=True)
class Part:
    """Entries that are pushed together."""

    request: PushRequest
    is_tried: bool = False
    failures: int = 0
    """How many times in a row it ended in one of `_HALVED_ON`."""

    def halves(self) -> tuple["Part", "Part"]:
        """Two parts of the same entries, untried; only for two entries or more."""
        first, second = self.request.halves()
        return Part(first), Part(second)

    def divided(self) -> tuple["Part", "Part"] | None:
        """What is tried in its place if it failed so often that it may itself be the cause; None: itself, again."""
        if self.failures >= _DIVIDED_AFTER and (requests := self.request.by_partition()):
            return Part(requests[0]), Part(requests[1])
        return self.halves() if self.failures >= HALVED_AFTER and len(self.request) > 1 else None

    @property
    def failing_row(self) -> int | None:
        """The row of a single entry that fails again and again; None for all else."""
        return self._row if len(self.request) == 1 and self.failures >= HALVED_AFTER else None

    def rejected(self, verdict: Verdict) -> Rejected:
        """Say what a single entry is refused for."""
        return Rejected(self._row, verdict.reason, verdict.detail)

    @property
    def _row(self) -> int:
        return int(self.request.streams.rows[self.request.first])


@dataclass(slots=True, eq=False)
class Push:
    """A request, and how far it is.

    Attributes:
        ticket: whoever submitted it knows it by this.
        request: all of it.
        parts: what is still to be pushed, the next one first; none once it is done.
        bytes_out: compressed bytes sent.
        failures: how many times in a row it had to wait.
        due_s: when it may be tried next, by a monotonic clock.
    """

    ticket: int
    request: PushRequest
    parts: deque[Part] = field(init=False)
    bytes_out: int = 0
    failures: int = 0
    due_s: float = 0.0
    _refused: list[Rejected] = field(default_factory=list)
    _doubtful: list[PushRequest] = field(default_factory=list)
    """The entries among the refused that were not refused for what they are themselves."""
    _is_any_delivered: bool = False
    _is_held: bool = False

    def __post_init__(self) -> None:
        self.parts = deque([Part(self.request)])

    def apply(self, verdict: Verdict, part: Part) -> bool:
        """Do as the verdict says with the part that was tried; returns whether its entries are settled.

        A part that failed goes behind the others, so that one poisonous entry does not keep its neighbours waiting.
        What was not tried yet goes first. Halves of a refused one lead to the guilty in 2 k log2 n pushes or fewer.
        """
        part.is_tried = True
        self._is_any_delivered |= verdict.action is Action.DELIVERED
        match verdict.action:
            case Action.DELIVERED | Action.NARROW if self._is_held:
                if self._is_any_delivered or verdict.is_entrys_own:
                    self._begin_anew()
            case Action.DELIVERED:
                return True
            case Action.NARROW if len(part.request) == 1:
                self._refused.append(part.rejected(verdict))
                if not verdict.is_entrys_own:
                    self._doubtful.append(part.request)
                return True
            case Action.NARROW:
                self.parts.extendleft(reversed(part.halves()))
            case Action.RETRY:
                part.failures = part.failures + 1 if verdict.outcome in _HALVED_ON else 0
                if pieces := part.divided():
                    self.parts.extendleft(reversed(pieces))
                else:
                    self.parts.append(part)
        return False

    def hold(self, random: Random) -> bool:
        """If all is tried, several entries are refused in doubt, and none was delivered: put one of them back."""
        if self.parts or self._is_any_delivered or len(self._doubtful) <= 1:
            return False
        self._is_held = True
        self.parts.append(Part(random.choice(self._doubtful), is_tried=True))
        return True

    def delivery(self) -> Delivery:
        """Say what became of it, once it is done."""
        return Delivery(self.request, tuple(sorted(self._refused, key=lambda one: one.row)), self.bytes_out)

    def _begin_anew(self) -> None:
        self.parts = deque([Part(self.request)])
        self._refused.clear()
        self._doubtful.clear()
        self._is_held = False
