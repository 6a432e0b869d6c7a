"""A soak: load for minutes, a fault drawn from the table every few seconds, and at the end the oracle's judgement.

The seed draws which faults come, how long each is held, and the rest between them. What else happens (which record is
under way when a worker dies) is the machine's, so a seed repeats a plan and not a run.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from statistics import median
from typing import Any

from chaos.faults import Fault
from chaos.world import NotHealthyError, World
from judging import Judgement

_REST_S = (0.5, 3.0)
_TWO_AT_ONCE = 0.25
"""How often a second fault is held at the same time."""

_NOT_BESIDE_KAFKA = ("Kafka", "group", "shipper", "dead letters")
"""Parts whose faults ask Kafka for something, and so cannot be begun or ended while it is away."""


@dataclass(frozen=True)
class Episode:
    """One draw: the faults that were held at once, and what came of it.

    Attributes:
        at_s: when it began, since the soak did.
        faults: their names.
        held_s: for how long they were held.
        healthy_after_s: how long it then took until everything was well again.
        records: how many were written from its beginning until then.
    """

    at_s: float
    faults: tuple[str, ...]
    held_s: float
    healthy_after_s: float
    records: int


@dataclass(frozen=True)
class Row:
    """One fault's figures, over all of its episodes."""

    fault: str
    times: int
    records: int
    healthy_after_s_median: float
    healthy_after_s_max: float


@dataclass
class Account:
    """What a soak was, and what came out of it."""

    seed: int
    rate: int
    episodes: list[Episode] = field(default_factory=list)
    minutes: float = 0.0
    drained_s: float = 0.0
    judged_s: float = 0.0
    rss_bytes_max: int = 0
    ended_unasked: int = 0
    judgement: Judgement | None = None
    failure: str = ""

    @property
    def is_clean(self) -> bool:
        return not self.failure and self.judgement is not None and self.judgement.is_clean

    def rows(self, faults: Sequence[Fault]) -> list[Row]:
        """Return a row for each fault that was held, in the order of the table."""
        rows = []
        for name in map(str, faults):
            held = [episode for episode in self.episodes if name in episode.faults]
            if held:
                after_s = [episode.healthy_after_s for episode in held]
                records = sum(episode.records for episode in held)
                rows.append(Row(name, len(held), records, round(median(after_s), 1), max(after_s)))
        return rows

    def document(self, faults: Sequence[Fault]) -> dict[str, Any]:
        """All figures, as JSON has them."""
        return asdict(self) | {"faults": [asdict(row) for row in self.rows(faults)]}


Say = Callable[[str], None]


def soak(world: World, account: Account, faults: Sequence[Fault], *, minutes: float, say: Say, doing: Say) -> None:
    """Break things for so many minutes, let it drain, and judge; everything is written into the account.

    Args:
        world: it runs.
        account: whose seed draws the plan.
        faults: the table to draw from.
        minutes: how long.
        say: takes a line for each episode.
        doing: takes what is going on right now.

    Raises: NotHealthyError, when something does not come back by itself.
    """
    random = Random(account.seed)  # noqa: S311 - the seed is the point
    began = time.monotonic()
    world.wait_until_healthy()
    bag: list[Fault] = []
    while (at_s := time.monotonic() - began) < minutes * 60:
        # Each fault comes once before any comes twice: a bag, emptied in the seed's order.
        bag = bag or random.sample(list(faults), len(faults))
        drawn = [bag.pop()]
        if random.random() < _TWO_AT_ONCE:
            drawn += [second for second in bag if may_meet(drawn[0], second)][-1:]
            bag = [fault for fault in bag if fault not in drawn]
        episode = _hold(world, drawn, random, at_s, doing)
        account.episodes.append(episode)
        say(
            f"{at_s:7.1f} s  {' + '.join(episode.faults):<60} held {episode.held_s:4.1f} s, "
            f"healthy after {episode.healthy_after_s:4.1f} s"
        )
        time.sleep(random.uniform(*_REST_S))
    account.minutes = (time.monotonic() - began) / 60
    _finish(world, account, doing)


def may_meet(one: Fault, other: Fault) -> bool:
    kafka = [fault.part for fault in (one, other) if fault.part in _NOT_BESIDE_KAFKA]
    groups = {fault.part for fault in (one, other)} & {"worker", "shipper", "group"}
    alone = one.alone or other.alone
    return not alone and one.part != other.part and len(groups) < 2 and not ("Kafka" in kafka and len(kafka) > 1)


def _hold(world: World, drawn: Sequence[Fault], random: Random, at_s: float, doing: Say) -> Episode:
    names = tuple(map(str, drawn))
    doing(" + ".join(names))
    held_s = random.uniform(*max(fault.hold_s for fault in drawn))
    written = world.load.confirmed
    try:
        with contextlib.ExitStack() as held:
            for fault in drawn:
                held.enter_context(fault.begin(world, random))
            time.sleep(held_s)
        healthy_after_s = world.wait_until_healthy(doing)
    except NotHealthyError as error:
        raise NotHealthyError(f"{at_s:.1f} s, {' + '.join(names)}, held {held_s:.1f} s: {error}") from error
    records = world.load.confirmed - written
    return Episode(round(at_s, 1), names, round(held_s, 1), round(healthy_after_s, 1), records)


def _finish(world: World, account: Account, doing: Say) -> None:
    """Let what was written arrive, end in order, and judge."""
    doing("draining")
    world.load.stop()
    account.drained_s = round(world.wait_until_healthy(doing), 1)
    for host in world.hosts:
        host.stop()
    account.rss_bytes_max = world.rss_bytes_max
    account.ended_unasked = sum(host.ended_unasked for host in world.hosts)
    doing("reading everything back, and judging it")
    began = time.monotonic()
    account.judgement = world.shipping.judgement()
    account.judged_s = round(time.monotonic() - began, 1)
