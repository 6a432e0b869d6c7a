"""The coordinator of a consumer group: static members, cooperative rebalances, sessions that run out.

Simpler than Kafka's: a rebalance has no rounds. Who holds a partition too many is told to give it up with its next
poll, and who is to get it finds it with the first poll after that. What matters is kept: nobody is given a partition
before its holder has given it up or is gone, and who is gone hears so only when it polls again.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from simulation.world import World

SESSION_S = 6.0
_ADMITTED_WITHIN_S = 3.0


@dataclass(eq=False, slots=True)
class Member:
    """One consumer in the group.

    Attributes:
        name: its group.instance.id.
        held: the partitions that it has.
        silent_since: when its heartbeats ended; None while they come.
        is_in: whether the coordinator has taken it in: the others hear of it then, in the middle of what they do.
    """

    name: str
    held: set[int] = field(default_factory=set)
    silent_since: float | None = None
    is_in: bool = False


class Group:
    """Who holds which of some partitions."""

    def __init__(self, world: World, partitions: Collection[int]) -> None:
        self._world = world
        self._partitions = partitions
        self._members: dict[str, Member] = {}

    def knows(self, member: object) -> bool:
        """Say whether somebody is a member still."""
        self._expire()
        return any(member is one for one in self._members.values())

    def join(self, name: str) -> Member:
        """Take somebody in. Who comes back under its name in time finds its partitions waiting for it."""
        self._expire()
        before = self._members.get(name)
        member = self._members[name] = Member(name)
        if before is not None and before.is_in:
            member.is_in = True
            self._world.tell("group", f"{name} is back in time")
            return member
        self._world.later(self._world.random.uniform(0, _ADMITTED_WITHIN_S), lambda: setattr(member, "is_in", True))
        return member

    def changes(self, member: Member) -> tuple[list[int], list[int]]:
        """Say which partitions a member has to give up, and which it gets, one after the other."""
        self._expire()
        if not member.is_in:
            return [], []
        due = self._shares()[member.name]
        gives = sorted(member.held - due)
        taken = {partition for one in self._members.values() for partition in one.held}
        return gives, [] if gives else sorted(due - taken)

    def _shares(self) -> dict[str, set[int]]:
        """Deal the partitions out evenly; everybody keeps as much of what it has as its share allows."""
        names = sorted(name for name, member in self._members.items() if member.is_in)
        shares: dict[str, set[int]] = {}
        for place, name in enumerate(names):
            size = (len(self._partitions) - place + len(names) - 1) // len(names)
            shares[name] = set(sorted(self._members[name].held)[:size])
        free = sorted(set(self._partitions) - {partition for share in shares.values() for partition in share})
        for place, name in enumerate(names):
            size = (len(self._partitions) - place + len(names) - 1) // len(names)
            while free and len(shares[name]) < size:
                shares[name].add(free.pop(0))
        return shares

    def _expire(self) -> None:
        for name, member in list(self._members.items()):
            if member.silent_since is not None and self._world.now_s > member.silent_since + SESSION_S:
                del self._members[name]
                self._world.tell("group", f"{name} was not heard for {SESSION_S:g} s: its partitions are free")
