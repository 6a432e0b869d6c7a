"""Lanes: which of them a stream belongs to. Two pushes never write to one stream at once, since a lane has one at most.

A killed Loki can forget one of two pushes to a stream that it took at once (docs/decisions/0011-lanes.md). Its lane
decides nothing about an entry's bytes, only with which others it is pushed.
"""

from collections.abc import Sequence
from zlib import crc32

_STREAMS_MAX = 65_536
"""Streams that are remembered, far more than a Loki tenant may have; those that come later are dealt by a hash."""


class Lanes:
    """Gives each stream its lane when it is first seen, for good: the lane that was given the fewest bytes so far.

    A few streams carry most of the bytes, so a hash would often put two of the heaviest into one lane.

    Args:
        count: how many lanes there are, 0 … count - 1.
    """

    def __init__(self, count: int) -> None:
        self._lane_of: dict[bytes, int] = {}
        self._bytes = [0] * count

    def of(self, labels: Sequence[bytes], stream_bytes: Sequence[int]) -> list[int]:
        """Return the lane of each stream.

        Args:
            labels: the streams' label strings, each once.
            stream_bytes: how much there is of each now, in bytes.
        """
        lanes = [0] * len(labels)
        for stream in sorted(range(len(labels)), key=stream_bytes.__getitem__, reverse=True):
            lanes[stream] = lane = self._lane(labels[stream])
            self._bytes[lane] += stream_bytes[stream]
        return lanes

    def _lane(self, labels: bytes) -> int:
        lane = self._lane_of.get(labels)
        if lane is None:
            if len(self._lane_of) >= _STREAMS_MAX:
                return crc32(labels) % len(self._bytes)
            lane = self._lane_of[labels] = self._bytes.index(min(self._bytes))
        return lane
