"""The bounded queue between log calls and the thread that delivers."""

import threading
from collections import deque


class RecordQueue:
    """Records in order, bounded in bytes.

    Callers put, under a lock that they alone use; one thread takes, without any lock. Each side keeps its own counts.
    So a signal handler that runs amid a `put` and waits for the thread does not wait for itself.

    Args:
        bytes_max: bound on the records' bytes.
        drop_oldest: whether a new record takes the place of the oldest ones, or is dropped itself.
    """

    def __init__(self, bytes_max: int, *, drop_oldest: bool) -> None:
        self._bytes_max = bytes_max
        self._drop_oldest = drop_oldest
        self._lock = threading.RLock()  # a signal handler may log while its thread does
        self._records: deque[bytes] = deque()
        self._bytes_put = self._bytes_taken = 0
        self.put_total = self.dropped = 0

    def __len__(self) -> int:
        return len(self._records)

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._bytes_put - self._bytes_taken

    def put(self, record: bytes) -> bool:
        """Put the newest record; returns whether it is in the queue now."""
        with self._lock:
            self.put_total += 1
            size = len(record)
            while self.size + size > self._bytes_max:
                if not self._drop_oldest or not self._records:
                    self.dropped += 1
                    return False
                try:
                    self._bytes_put -= len(self._records.popleft())
                except IndexError:  # the thread was faster
                    continue
                self.dropped += 1
            self._bytes_put += size
            self._records.append(record)
            return True

    def take(self, records_max: int, bytes_max: int) -> list[bytes]:
        """Take the oldest records, at least one if there is one."""
        taken: list[bytes] = []
        while bytes_max > 0 and len(taken) < records_max:
            try:
                record = self._records.popleft()
            except IndexError:
                break
            taken.append(record)
            bytes_max -= len(record)
            self._bytes_taken += len(record)
        return taken
