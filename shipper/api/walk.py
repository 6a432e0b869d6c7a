"""A walk through the lines of a range, in an order that never changes: by time, within a nanosecond by digest."""

from collections.abc import AsyncIterator

from shipper.api.cursors import Position
from shipper.api.entries import digest
from shipper.loki.async_reader import AsyncLokiReader
from shipper.loki.paging import StreamEntry

Numbered = tuple[StreamEntry, bytes]
"""An entry and its digest."""


async def walk(
    reader: AsyncLokiReader, query: str, position: Position, *, page: int, tie: int = 0, backward: bool, anew: bool
) -> AsyncIterator[list[Numbered]]:
    """Yield the lines behind a position in order, each once.

    Args:
        reader: of the caller's tenant.
        query: a log query.
        position: the range, and the last line that was delivered.
        page: entries per question to Loki at most.
        tie: the same for one nanosecond, where it is more than `page`.
        backward: whether the newest come first.
        anew: whether nothing was delivered yet.
    """
    from_ns, to_ns = position.from_ns, position.to_ns
    if not anew:
        from_ns, to_ns = (from_ns, position.at_ns + 1) if backward else (position.at_ns, to_ns)
    seen_ns, seen = -1, set[bytes]()
    async for entries in reader.pages(query, from_ns, to_ns, page=page, tie=tie, backward=backward):
        found = [(entry, digest(entry)) for entry in entries]
        found.sort(key=lambda one: (one[0].timestamp_ns, one[1]), reverse=backward)
        ready = []
        for one in found:
            at_ns, key = one[0].timestamp_ns, one[1]
            if at_ns != seen_ns:
                seen_ns, seen = at_ns, set()
            delivered = (
                not anew
                and at_ns == position.at_ns
                and (key >= position.digest if backward else key <= position.digest)
            )
            # Loki can hold an entry twice, and give it twice, where it was sent again after a crash.
            if not delivered and key not in seen:
                seen.add(key)
                ready.append(one)
        if ready:
            yield ready


def after(position: Position, last: Numbered) -> Position:
    """Return the position behind a line that was delivered."""
    return Position(position.from_ns, position.to_ns, last[0].timestamp_ns, last[1])
