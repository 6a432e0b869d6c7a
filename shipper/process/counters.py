"""Counters in shared memory: one row per worker index, one writing thread per word, any number of readers.

The memory is anonymous (`memfd`), so nothing is left in the file system by a SIGKILL, and no resource tracker unlinks
what another process still uses. The supervisor creates it and hands the descriptor to each worker. A row belongs to a
worker's *index*: totals survive the worker's restart. `slots` is the table of what lies where.

Consistency is a seqlock per row. The writer makes the sequence odd, writes, makes it even; a reader copies the row and
keeps the copy only if the sequence was even and the same before and after. The fence between them is a lock, taken and
given back twice: without it a processor with weakly ordered memory (ARM) could show the words in another order.
"""

import json
import mmap
import os
import threading
import time
from collections.abc import Sequence
from typing import Self

from shipper.process import slots
from shipper.process.memory import open_anonymous
from shipper.process.row import Row, order
from shipper.process.snapshot import RowSnapshot

_MAGIC = 0x53484950_00000001
_NAMES_WORD = 3
_HEADER_WORDS = 8192
_NAMES_BYTES_MAX = (_HEADER_WORDS - _NAMES_WORD) * slots.WORD_BYTES
# A reader that meets an update waits for its end; a writer that lost its core needs some milliseconds for one.
_READ_TRIES = 200
_READ_WAIT_S = 0.0005


class Counters:
    """The shared memory: `create` in the supervisor, `attach` in a worker.

    Attributes:
        fd: the descriptor that a worker attaches.
        workers: number of rows.
        topics: names that `Row.partition`'s topic index refers to.
        rules: names of filters; a filter's position is its slot.
        labels: names of labels from fields; a label's position is its slot.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, os.fstat(fd).st_size)
        self._words = memoryview(self._memory).cast("q")
        if self._words[0] != _MAGIC:
            raise ValueError("the descriptor holds no counters of this version of shipper")
        self.workers = self._words[1]
        self.topics: tuple[str, ...] = ()
        self.rules: tuple[str, ...] = ()
        self.labels: tuple[str, ...] = ()
        self._last: dict[int, RowSnapshot] = {}
        self._fence = threading.Lock()
        self._load_names()

    @classmethod
    def create(cls, workers: int, topics: Sequence[str], rules: Sequence[str] = (), labels: Sequence[str] = ()) -> Self:
        """Make zeroed counters for the worker indexes 0 … workers-1; memory that no worker uses costs nothing."""
        fd = open_anonymous("shipper-counters", (_HEADER_WORDS + workers * slots.ROW_WORDS) * slots.WORD_BYTES)
        with mmap.mmap(fd, mmap.PAGESIZE) as memory, memoryview(memory) as view, view.cast("q") as words:
            words[0], words[1] = _MAGIC, workers
        counters = cls(fd)
        counters.register(topics, rules, labels)
        return counters

    @classmethod
    def attach(cls, fd: int) -> Self:
        """Map the counters of the supervisor.

        Raises: ValueError if the descriptor is none of `create`'s.
        """
        return cls(fd)

    def register(self, topics: Sequence[str], rules: Sequence[str], labels: Sequence[str]) -> None:
        """Add names, keeping the old ones' positions, so that counts stay with their names when the config changes.

        Only the supervisor calls it, and no worker may be starting meanwhile.
        Raises: ValueError if there are more rules or labels than slots, those of earlier configs included.
        """
        topics = tuple(dict.fromkeys((*self.topics, *topics)))
        rules = tuple(dict.fromkeys((*self.rules, *rules)))
        labels = tuple(dict.fromkeys((*self.labels, *labels)))
        text = json.dumps([topics, rules, labels]).encode()
        if len(rules) > slots.RULES_MAX or len(labels) > slots.LABELS_MAX or len(text) > _NAMES_BYTES_MAX:
            raise ValueError(
                f"{len(rules)} filters, {len(labels)} labels and {len(topics)} topics, those of earlier configurations "
                f"included: at most {slots.RULES_MAX} filters and {slots.LABELS_MAX} labels can be counted; "
                "restart shipper to forget the earlier ones"
            )
        first = _NAMES_WORD * slots.WORD_BYTES
        self._memory[first : first + len(text)] = text
        self._words[2] = len(text)
        self.topics, self.rules, self.labels = topics, rules, labels

    def row(self, index: int) -> Row:
        """Return the row that worker `index` writes; one thread of one process at a time may."""
        if not 0 <= index < self.workers:
            raise IndexError(f"worker {index} has no row: there are {self.workers}")
        return Row(self._words[self._first(index) : self._first(index + 1)], self.rules, self.labels, self._fence)

    def read(self, index: int) -> RowSnapshot:
        """Return a consistent look at a row; never blocks longer than about 0.1 s.

        Where a writer was killed in the middle of an update, it is the last consistent look of this reader.
        """
        first = self._first(index)
        for _ in range(_READ_TRIES):
            sequence = self._words[first]
            if sequence & 1 == 0:
                order(self._fence)
                end = first + slots.BLOCKS + self._words[first + slots.BLOCKS_USED] * slots.BLOCK_WORDS
                copy = memoryview(bytes(self._words[first : min(end, self._first(index + 1))])).cast("q")
                order(self._fence)
                if self._words[first] == sequence:
                    snapshot = RowSnapshot(copy)
                    self._last[index] = snapshot
                    return snapshot
            time.sleep(_READ_WAIT_S)
        return self._last.get(index) or RowSnapshot((0,) * slots.BLOCKS)

    def limit_pushes(self, index: int, lanes: int) -> None:
        """Tell worker `index` how many lanes may push at once: the one word of its row that the supervisor writes."""
        self._words[self._first(index) + slots.PUSH_LIMIT] = lanes

    def close(self) -> None:
        """Close the descriptor: no more workers can be started; what is mapped stays until nobody refers to it."""
        os.close(self.fd)

    def _first(self, index: int) -> int:
        return _HEADER_WORDS + index * slots.ROW_WORDS

    def _load_names(self) -> None:
        first = _NAMES_WORD * slots.WORD_BYTES
        if self._words[2]:
            names = json.loads(self._memory[first : first + self._words[2]])
            self.topics, self.rules, self.labels = map(tuple, names)
