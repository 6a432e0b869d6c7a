"""Says when a worker that lives does not work: hung, or stalled without a known reason. Pure: clocks are passed in."""

from dataclasses import dataclass

from shipper.process.snapshot import RowSnapshot


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a worker may take, in seconds.

    Attributes:
        start_s: from its start to its first heartbeat; it connects to Kafka in that time.
        heartbeat_s: between two heartbeats.
        progress_s: with lag, Loki and Kafka answering, and nothing acknowledged.
        end_s: beyond `workers.drain_timeout_s`, for its last commit and the closing of its clients.
    """

    start_s: float = 120.0
    heartbeat_s: float = 60.0
    progress_s: float = 120.0
    end_s: float = 20.0


class Watchdog:
    """Watches one life of one worker.

    Args:
        patience: how long it may take for what.
        started_ns: monotonic time of the worker's start.
    """

    def __init__(self, patience: Patience, started_ns: int) -> None:
        self._patience = patience
        self._started_ns = started_ns
        self._waiting_since_ns = started_ns
        self._progress_ns = 0

    def complaint(self, row: RowSnapshot, now_ns: int) -> str | None:
        """Return why the worker must be restarted, or None; to be called about once a second.

        Progress is missed only from when there was something to do: the clock of an idle worker stands still, and so
        does that of one whose Loki or Kafka is down, because a restart would mend neither.
        """
        if row.heartbeat_ns < self._started_ns:
            silent_s = (now_ns - self._started_ns) / 1e9
            return f"it did not get going in {silent_s:.0f} s" if silent_s > self._patience.start_s else None
        silent_s = (now_ns - row.heartbeat_ns) / 1e9
        if silent_s > self._patience.heartbeat_s:
            return f"no heartbeat for {silent_s:.0f} s"

        records_to_go = sum(partition.records_to_go for partition in row.partitions() if partition.owned)
        reason_known = any(row.peer(name).state != "ok" for name in ("loki", "kafka"))
        if not records_to_go or reason_known or row.progress_ns != self._progress_ns:
            self._progress_ns = row.progress_ns
            self._waiting_since_ns = now_ns
        waiting_s = (now_ns - self._waiting_since_ns) / 1e9
        if waiting_s > self._patience.progress_s:
            return f"no progress for {waiting_s:.0f} s with {records_to_go} records to go, and Loki and Kafka answer"
        return None
