"""One seed, from its first record until every record is accounted for.

    plan ─▶ processes (the real Worker) ─▶ broker, Loki, letterbox (simulated) ─▶ ledger (the judge)

After each turn of a worker and at each commit the invariants are checked; faults cease at a time that the plan says,
and from then on everything must be done within a bound of virtual time.
"""

from functools import partial

from shipper.process.counters import Counters
from shipper.process.snapshot import RowSnapshot
from simulation.broker import Broker
from simulation.ledger import Ledger
from simulation.letterbox import Letterbox
from simulation.loki import SimulatedLoki
from simulation.plan import MARKER, Happening, Plan, Written, draw
from simulation.processes import Process
from simulation.world import BrokenPromiseError, World

_DONE_WITHIN_S = 90.0
_TURNS_MAX = 4_000


class Simulation:
    """One seed's run."""

    def __init__(self, seed: int) -> None:
        self.plan: Plan = draw(seed)
        self.world = world = World(seed)
        self.broker = Broker(world, self.plan.partitions)
        self.ledger = Ledger(self.plan.settings, self.broker)
        self.box = Letterbox(world, self._letter_fault)
        self.loki = SimulatedLoki(world, self._loki_fault, self.plan.loki_entries_max)
        self.loki.on_stored = self.ledger.stored
        self.loki.are_faults_over = self._is_calm
        self.box.on_letter = self.ledger.buried
        self.broker.on_committed = self.ledger.committed
        self.is_loki_down = False
        settings = self.plan.settings
        self.counters = Counters.create(
            self.plan.workers,
            settings.kafka.topics,
            [it.name for it in settings.filters],
            list(settings.labels.fields),
        )
        self.processes = [
            Process(index, self.plan, world, self.broker, self.loki, self.box, self.counters)
            for index in range(self.plan.workers)
        ]
        self._turns = 0

    def run(self) -> None:
        """Run to the end.

        Raises: BrokenPromiseError as soon as an invariant does not hold.
        """
        try:
            self._begin()
            while not self._is_done():
                self._turn()
            for process in self.processes:
                process.end()
            while not all(process.has_ended for process in self.processes):
                self._turn()
            self._judge()
        finally:
            self.counters.close()

    # --- what is planned

    def _begin(self) -> None:
        for it in self.plan.written:
            self.world.later(it.at_s, partial(self._write_as_planned, it))
        for one in self.plan.happenings:
            self.world.later(one.at_s, partial(self._happen, one))
        self.world.advance(0)
        for process in self.processes:
            self.world.later(self.plan.second_starts_s if process.index else 0, process.start)
        self.world.later(self.plan.calm_at_s, self._calm_down)

    def _write_as_planned(self, written: Written) -> None:
        # A partition made anew stays small: one that has grown past where a reader stands looks like the old one to it.
        if not self.broker.logs[written.partition].epoch:
            self._write(written)

    def _write(self, written: Written) -> None:
        if written.value == MARKER:
            self.broker.mark(written.partition)
            return
        assert not isinstance(written.value, str)
        record = self.broker.append(written.partition, written.value)
        self.ledger.write(record, self.world.now_ns())

    def _happen(self, one: Happening) -> None:
        process = self.processes[one.target % self.plan.workers]
        match one.kind:
            case "kill":
                process.kill_after(int(one.amount * 3))
            case "terminate":
                process.terminate()
            case "freeze":
                process.freeze()
                self.world.later(one.amount, process.thaw)
            case "cut off":
                process.cut_off()
                self.world.later(one.amount, process.connect)
            case "broker down":
                self._take_broker_down(one.amount)
            case "Loki down":
                self.is_loki_down = True
                self.world.tell("loki", "is down")
            case "made anew":
                self._make_anew(one.target % self.plan.partitions)
            case _:
                self._delete(one.target % self.plan.partitions, one.amount)

    def _take_broker_down(self, seconds: float) -> None:
        self.broker.is_down = True
        self.world.tell("broker", "is down")

        def come_back() -> None:
            self.broker.is_down = False
            self.world.tell("broker", "is up")

        self.world.later(seconds, come_back)

    def _delete(self, partition: int, share: float) -> None:
        before = int(self.broker.logs[partition].high * share)
        self.world.tell("broker", f"deletes what is before {before} in partition {partition}")
        self.ledger.deleted(partition, before)
        self.broker.delete_before(partition, before)

    def _make_anew(self, partition: int) -> None:
        """Begin a partition again with few records: where less was committed, Kafka offers nothing to tell it by."""
        values = [b'{"message": "anew %d in %d"}' % (number, partition) for number in range(2)]
        if self.broker.logs[partition].committed <= len(values) or self.broker.logs[partition].epoch:
            return
        self.world.tell("broker", f"makes partition {partition} anew")
        self.ledger.made_anew(partition)
        self.broker.make_anew(partition)
        for value in values:
            self._write(Written(self.world.now_s, partition, value))

    def _calm_down(self) -> None:
        self.is_loki_down = False
        self.broker.is_down = False
        for process in self.processes:
            process.kill_after_none()
            if process.is_frozen:
                process.thaw()
            if not process.reaches_kafka:
                process.connect()
        self.world.tell("world", "no more faults")

    def _is_calm(self) -> bool:
        return self.world.now_s >= self.plan.calm_at_s

    def _loki_fault(self) -> str:
        if self.is_loki_down:
            return "refuses connections"
        share = 0 if self._is_calm() else self.plan.loki_fault_share
        return self.world.random.choice(self.plan.loki_faults) if self.world.chance(share) else ""

    def _letter_fault(self) -> float:
        return 0 if self._is_calm() else self.plan.letter_fault_share

    # --- what must hold

    def _turn(self) -> None:
        self._turns += 1
        if self._turns > _TURNS_MAX or self.world.now_s > self.plan.calm_at_s + _DONE_WITHIN_S:
            raise BrokenPromiseError(f"not done {_DONE_WITHIN_S:g} s after the last fault: {self._what_is_left()}")
        running = [process for process in self.processes if process.is_running]
        if not running:
            self.world.advance(0.2)
            return
        process = self.world.random.choice(running)
        process.step()
        self._check(process)

    def _check(self, process: Process) -> None:
        look = self.counters.read(process.index)
        parts = {name: look[name] for name in ("delivered", "filtered", "dead_lettered", "in_flight")}
        if look.consumed != sum(parts.values()) or min(parts.values()) < 0:
            raise BrokenPromiseError(f"{process.name} has consumed {look.consumed}, but {parts}")
        if process.worker is not None:
            flights = process.worker._flights
            held = [flight.bytes_held for flight in flights._flights.values()]
            if sum(held) - max(held, default=0) > flights._bytes_max:  # one batch more than the bound may be taken
                raise BrokenPromiseError(f"{process.name} holds batches of {held} bytes, over {flights._bytes_max}")

    def _is_done(self) -> bool:
        if self.plan.until_caught_up:
            return all(process.has_ended for process in self.processes)
        return self._is_calm() and not self._what_is_left()

    def _what_is_left(self) -> list[str]:
        """Name the partitions that are not shown as shipped to their end."""
        logs = self.broker.logs
        shipped = {
            it.partition
            for process in self.processes
            if process.is_running
            for it in self.counters.read(process.index).partitions()
            if it.owned and it.committed == it.high_watermark == logs[it.partition].high
        }
        return [
            f"{partition}: {log.committed} of {log.high}"
            for partition, log in logs.items()
            if partition not in shipped or not log.last <= max(log.committed, log.low) <= log.high
        ]

    def _judge(self) -> None:
        looks = [self.counters.read(process.index) for process in self.processes]
        gone = sum(look["lost_to_retention"] for look in looks)
        if any(process.has_said_unsaved for process in self.processes):
            gone = len(self.ledger.fates)
        self.ledger.judge(self.loki.tenant, gone, is_quiet=self.plan.is_quiet)
        if in_flight := sum(look["in_flight"] for look in looks):
            raise BrokenPromiseError(f"at the end {in_flight} records are in flight")
        if not self.plan.is_anything_deleted:
            self._judge_totals(looks)

    def _judge_totals(self, looks: list[RowSnapshot]) -> None:
        expected = self.ledger.totals()
        totals = {name: sum(look[name] for look in looks) for name in expected}
        # What was read again was counted again.
        if totals != expected if self.plan.is_quiet else any(totals[name] < expected[name] for name in expected):
            raise BrokenPromiseError(f"the counters end with {totals}, and it was {expected}")

    def story(self, lines_max: int | None = None) -> str:
        """Tell what the seed is about, and what happened, or the last of it."""
        return f"{self.plan.tell()}\n\n{self.world.story(lines_max)}"
