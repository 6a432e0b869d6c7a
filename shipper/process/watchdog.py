"""Says when a worker that lives does not work: hung, or stalled without a known reason. Pure: clocks are passed in.

A known reason is one that a restart does not mend, and that the worker goes on to tell: it sees Loki or Kafka (the dead
letter topic included) in trouble, and keeps trying. What follows for the cases:

| case | what the watchdog does |
|---|---|
| Loki away, refusing, or so slow that pushes time out | waits as long as pushes are tried |
| one record that is never taken, all else shipped | waits: each try of it says that Loki is in trouble |
| Kafka away, or refusing commits | waits as long as the worker hears or says so |
| the dead letter topic takes nothing | waits: `kafka/dlq` says so again and again |
| paused partitions | looks at what stands behind the pause: one of the above, or nothing, which is a stall |
| a stall behind one of these | restarts: nothing was tried for `reason_s`, or it is well, and nothing moves |
| the machine, or all of shipper, stood still | begins to count anew: nobody was late |
"""

from dataclasses import dataclass, replace

from shipper.process.snapshot import RowSnapshot
from shipper.settings import Loki

_STANDSTILL_S = 10.0
"""Looks come every second: after so long without one the supervisor did not run, and probably its workers neither."""
_TIMEOUTS_PER_PUSH = 3
"""Connecting, waiting for the answer, reading it."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a worker may take, in seconds.

    Attributes:
        start_s: from its start to its first heartbeat; it connects to Kafka in that time.
        heartbeat_s: between two heartbeats.
        progress_s: with lag, Loki and Kafka answering, and nothing acknowledged.
        reason_s: between two tries while Loki or Kafka is in trouble; Loki may ask for ten minutes of silence.
        end_s: beyond `workers.drain_timeout_s`, for its last commit and the closing of its clients.
    """

    start_s: float = 120.0
    heartbeat_s: float = 60.0
    progress_s: float = 120.0
    reason_s: float = 900.0
    end_s: float = 20.0

    def beside(self, loki: Loki) -> "Patience":
        """Return it lengthened where one push alone may take longer by these settings."""
        push_s = _TIMEOUTS_PER_PUSH * loki.timeout_s
        return replace(
            self,
            progress_s=max(self.progress_s, 2 * push_s),
            reason_s=max(self.reason_s, 2 * (push_s + loki.retry_wait_max_s)),
        )


class Watchdog:
    """Watches one life of one worker.

    Args:
        patience: how long it may take for what.
        started_ns: monotonic time of the worker's start.
    """

    def __init__(self, patience: Patience, started_ns: int) -> None:
        self._patience = patience
        self._started_ns = self._looked_ns = self._awake_ns = started_ns
        self._waiting_since_ns = self._tried_ns = started_ns
        self._progress_ns = self._tries = 0

    def complaint(self, row: RowSnapshot, now_ns: int) -> str | None:
        """Return why the worker must be restarted, or None; to be called about once a second."""
        if now_ns - self._looked_ns > _STANDSTILL_S * 1e9:
            self._awake_ns = self._waiting_since_ns = self._tried_ns = now_ns
        self._looked_ns = now_ns
        if row.heartbeat_ns < self._started_ns:
            silent_s = (now_ns - self._awake_ns) / 1e9
            return f"it did not get going in {silent_s:.0f} s" if silent_s > self._patience.start_s else None
        silent_s = (now_ns - max(row.heartbeat_ns, self._awake_ns)) / 1e9
        if silent_s > self._patience.heartbeat_s:
            return f"no heartbeat for {silent_s:.0f} s"
        return self._stall(row, now_ns)

    def _stall(self, row: RowSnapshot, now_ns: int) -> str | None:
        """Miss progress from when there was something to do: the clock of an idle worker stands still.

        So does that of one with a known reason.
        """
        if (tries := row["pushes"] + row["kafka_errors"]) != self._tries:
            self._tries, self._tried_ns = tries, now_ns
        tried_s = (now_ns - self._tried_ns) / 1e9
        in_trouble = any(row.peer(name).state != "ok" for name in ("loki", "kafka"))
        reason_known = in_trouble and tried_s <= self._patience.reason_s

        records_to_go = sum(partition.records_to_go for partition in row.partitions() if partition.owned)
        if not records_to_go or reason_known or row.progress_ns != self._progress_ns:
            self._progress_ns = row.progress_ns
            self._waiting_since_ns = now_ns
        waiting_s = (now_ns - self._waiting_since_ns) / 1e9
        if waiting_s <= self._patience.progress_s:
            return None
        why = f"nothing was tried for {tried_s:.0f} s" if in_trouble else "Loki and Kafka answer"
        return f"no progress for {waiting_s:.0f} s with {records_to_go} records to go, and {why}"
