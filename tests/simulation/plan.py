"""What a seed stands for: the settings, the records, and all that goes wrong, decided before anything runs."""

import json
from dataclasses import dataclass
from random import Random
from typing import Literal

from shipper.settings import Filter, Kafka, Labels, Loki, Malformed, Settings, Workers
from simulation.loki import FAULTS
from simulation.world import EPOCH_NS

MARKER = "marker"
"""In place of a value: a transaction ends here."""
_WORKERS_MAX = 2
_KINDS = ["kill", "kill", "terminate", "freeze", "cut off", "cut off", "broker down", "Loki down", "retention"]
_KINDS += ["made anew", "made anew"]


@dataclass(frozen=True)
class Written:
    """A record, or a marker, that is written to Kafka."""

    at_s: float
    partition: int
    value: bytes | str | None


@dataclass(frozen=True)
class Happening:
    """Something that happens to a worker, to the broker or to Loki, once.

    Attributes:
        at_s: when.
        kind: one of `_KINDS`.
        target: the worker, or the partition.
        amount: points where it may die that a worker passes before it does, or how long it lasts in seconds, or the
            share of the partition that is deleted.
    """

    at_s: float
    kind: str
    target: int
    amount: float


@dataclass(frozen=True)
class Plan:
    """All that a seed decides beforehand; faults cease at `calm_at_s`."""

    settings: Settings
    partitions: int
    workers: int
    second_starts_s: float
    until_caught_up: bool
    written: tuple[Written, ...]
    happenings: tuple[Happening, ...]
    loki_faults: tuple[str, ...]
    loki_fault_share: float
    loki_way_s: float
    loki_entries_max: int
    commit_fault_share: float
    letter_fault_share: float
    calm_at_s: float

    @property
    def is_quiet(self) -> bool:
        """Whether nothing makes anybody read a record, or write a letter, again."""
        is_one_owner = self.workers == 1 or self.settings.kafka.assignment == "pinned"
        return is_one_owner and not self.letter_fault_share and {it.kind for it in self.happenings} <= {"Loki down"}

    @property
    def is_anything_deleted(self) -> bool:
        """Whether Kafka loses records, so that nobody can say how many are shipped."""
        return not {"retention", "made anew"}.isdisjoint(it.kind for it in self.happenings)

    def tell(self) -> str:
        """Say in a few lines what this seed is about."""
        kafka, loki, malformed = self.settings.kafka, self.settings.loki, self.settings.malformed
        faults = ", ".join(self.loki_faults) or "nothing"
        lines = [
            f"{len(self.written)} records in {self.partitions} partitions; malformed: {malformed.policy}",
            f"{self.workers} workers, {kafka.assignment}{', until caught up' if self.until_caught_up else ''}",
            f"{loki.in_flight_max} pushes at once, {self.loki_entries_max} entries at most, {self.loki_way_s} s a way",
            f"of the pushes {self.loki_fault_share:.0%} fail: {faults}",
            f"of the commits {self.commit_fault_share:.0%} fail, of the letters {self.letter_fault_share:.0%}",
            f"all faults cease at {self.calm_at_s:.3f} s",
            *(f"at {it.at_s:.3f} s: {it.kind} {it.target}, {it.amount:.2f}" for it in self.happenings),
        ]
        return "\n".join(lines)


def _settings(
    assignment: Literal["pinned", "group"],
    policy: Literal["ship", "dead_letter"],
    in_flight_max: int,
    batch_records_max: int,
    memory_bytes_max: int,
) -> Settings:
    return Settings(
        kafka=Kafka(assignment=assignment, batch_records_max=batch_records_max, batch_wait_s=0.5),
        loki=Loki(
            in_flight_max=in_flight_max,
            request_bytes_max=1_500,
            timeout_s=3.0,
            retry_wait_min_s=0.1,
            retry_wait_max_s=2.0,
        ),
        labels=Labels(fields={"service": "service", "level": "level"}),
        structured_metadata={"request_id": "requestId"},
        malformed=Malformed(policy=policy),
        filters=[Filter(name="debug", below_level="info")],
        workers=Workers(memory_bytes_max=memory_bytes_max, drain_timeout_s=2.0),
    )


_BOUNDS: tuple[tuple[Literal["ship", "dead_letter"], int, int, int], ...] = (
    ("dead_letter", 1, 8, 1 << 20),
    ("dead_letter", 3, 4, 12_000),
    ("ship", 2, 8, 12_000),
)
"""Policy, pushes at once, records in a batch, bytes: so small that few records reach them."""
_SETTINGS = [_settings("pinned", *bounds) for bounds in _BOUNDS] + [_settings("group", *bounds) for bounds in _BOUNDS]


def draw(seed: int) -> Plan:
    """Decide what a seed stands for."""
    random = Random(f"plan {seed}")  # noqa: S311 - no secret; it must be repeatable
    partitions = random.randint(1, 3)
    until_caught_up = random.random() < 0.15
    calm_at_s = random.uniform(4, 12)
    faults = random.sample(sorted(FAULTS), random.choice([0, 1, 1, 2, 3, len(FAULTS)]))
    span_s = 0 if until_caught_up else random.choice([0, 0, 3, 6])
    written = [
        Written(random.uniform(0, span_s), random.randrange(partitions), _value(random, number))
        for number in range(random.choice([3, 10, 20, 40]))
    ]
    happenings = [_happening(random, calm_at_s) for _ in range(random.choice([0, 0, 1, 1, 2, 3]))]
    if until_caught_up:  # it waits for an end that a partition made anew may never have
        happenings = [it for it in happenings if it.kind != "made anew"]
    return Plan(
        settings=random.choice(_SETTINGS),
        partitions=partitions,
        workers=random.choice([1, 1, _WORKERS_MAX]),
        second_starts_s=random.choice([0, random.uniform(0, 5)]),
        until_caught_up=until_caught_up,
        written=tuple(sorted(written, key=lambda it: it.at_s)),
        happenings=tuple(sorted(happenings, key=lambda it: it.at_s)),
        loki_faults=tuple(faults),
        loki_fault_share=random.choice([0.1, 0.4, 0.8]) if faults else 0,
        loki_way_s=random.choice([0.01, 0.1, 1.0]),
        loki_entries_max=random.choice([2, 1000, 1000, 1000]),
        commit_fault_share=random.choice([0, 0, 0.3]),
        letter_fault_share=random.choice([0, 0, 0.3]),
        calm_at_s=calm_at_s,
    )


def _happening(random: Random, calm_at_s: float) -> Happening:
    kind, at_s = random.choice(_KINDS), random.uniform(0.05, calm_at_s - 1)
    amount = random.uniform(0.2, 1) if kind == "retention" else random.uniform(1, 15)
    return Happening(at_s, kind, random.randrange(_WORKERS_MAX), amount)


def _value(random: Random, number: int) -> bytes | str | None:
    """Return one record's value: mostly a plain line, one of each trouble now and then."""
    kind = random.choices(
        ["plain", "debug", "no time", "malformed", "old", "long", "poison", "empty", MARKER],
        [60, 8, 6, 8, 4, 4, 2, 4, 4],
    )[0]
    if kind in ("empty", MARKER):
        return None if kind == "empty" else MARKER
    if kind == "malformed":
        return b"no JSON, number %d" % number
    message = f"number {number}"
    fields = {
        "timestamp": EPOCH_NS // 1_000_000 - random.randrange(60_000),
        "level": random.choice(["info", "warn", "error"]),
        "service": random.choice(["chat", "rooms", "auth"]),
        "message": message,
    }
    match kind:
        case "debug":
            fields["level"] = "debug"
        case "no time":
            del fields["timestamp"]
        case "old":
            fields["timestamp"] = 1_500_000_000_000
        case "long":
            fields["message"] = message + " long" * 200
        case "poison":
            fields["message"] = message + " poison"
        case _:
            fields["requestId"] = f"request-{number}"
    return json.dumps(fields).encode()
