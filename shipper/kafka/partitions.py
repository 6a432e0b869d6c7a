"""The partitions that one consumer holds: given their place, read, paused, given up.

A partition that is ours is first *unplaced*. As soon as Kafka answers it gets its place, the committed offset or what
the policy says, and is read from there on. So reading starts in one way only: at the beginning, when a partition is
new, when a group gives it to us, when the records that were due exist no more, and when its topic was made anew.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaPosition

from shipper.kafka.assignment import Start, start_offset
from shipper.kafka.identity import Identity
from shipper.kafka.positions import (
    Committed,
    commit_and_confirm,
    committed_offsets,
    high_offsets,
    kafka_positions,
    low_offsets,
)
from shipper.kafka.trouble import OnError, Trouble
from shipper.records import TopicPartition
from shipper.settings import Kafka

_SAVE_TIMEOUT_S = 5.0
_NONE = -1  # no offset: none was committed


class Listener(Protocol):
    """Is told which partitions are ours: inside `open`, `poll` and `close`, by the thread that calls these."""

    def on_assigned(self, partitions: Mapping[TopicPartition, int]) -> None:
        """These are read from now on, each from its start offset."""

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """These are given up when this returns: the last moment for `Source.commit_now`."""

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        """These are not ours any more, or begin anew: nothing taken from them so far may be committed."""

    def on_committed(self, positions: Mapping[TopicPartition, int]) -> None:
        """Kafka holds these positions."""

    def on_gone(self, records: int) -> None:
        """So many records, as far as offsets tell, were deleted from Kafka before they were read."""


class Partitions:
    """Keeps a consumer's assignment as it has to be.

    Args:
        consumer: whose assignment it is; nobody else changes it.
        kafka: the section `[kafka]`.
        listener: is told which partitions come and go.
        on_error: is told of records that are gone.
        identify: asks Kafka, within so many seconds, for the topics of `[kafka]`.
        clock: monotonic seconds.
        sleep: waits so many seconds.

    Attributes:
        read: the partitions that have their place and are read, or paused.
        unplaced: those that wait for it, with the offset that was due when reading broke off; None if it never began.
        topics: each topic as it was last seen.
        known: partitions of each topic when we began. Later ones are new: whatever the policy, read from their start.
        highs: each read partition's end, as far as known.
        lows: each read partition's first offset, as far as known.
        eof_offsets: where reading last came to a partition's end.
        paused: whether all are paused, also those that come later.
        held_back: those that are paused for a while, each by itself.
    """

    def __init__(
        self,
        consumer: Consumer,
        kafka: Kafka,
        listener: Listener,
        on_error: OnError,
        identify: Callable[[float], Mapping[str, Identity]],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._consumer, self._kafka = consumer, kafka
        self._listener, self._on_error, self._identify = listener, on_error, identify
        self._clock, self._sleep = clock, sleep
        self.read: set[TopicPartition] = set()
        self.unplaced: dict[TopicPartition, int | None] = {}
        self.topics: dict[str, Identity] = {}
        self.known: dict[str, int] = {}
        self.highs: dict[TopicPartition, int] = {}
        self.lows: dict[TopicPartition, int] = {}
        self.eof_offsets: dict[TopicPartition, int] = {}
        self.paused = False
        self.held_back: frozenset[TopicPartition] = frozenset()
        self._paused_for_good: set[TopicPartition] = set()
        self._stale_highs: dict[TopicPartition, int] = {}

    @property
    def held(self) -> set[TopicPartition]:
        """All that are ours, placed or not."""
        return self.read | self.unplaced.keys()

    @property
    def unread(self) -> set[TopicPartition]:
        """Those that are placed and paused."""
        return self.read if self.paused else self.read & (self._paused_for_good | self.held_back)

    def add(self, partitions: Iterable[TopicPartition]) -> None:
        """Take partitions that are ours from now on."""
        self.unplaced.update(dict.fromkeys(partitions))

    def look(self, timeout_s: float) -> None:
        """Look at the topics. All of one that was deleted and made again is new: it is read from its start.

        Raises: KafkaException if one is missing, or nobody answers in time.
        """
        for topic, now in self._identify(timeout_s).items():
            before = self.topics.get(topic)
            self.topics[topic] = now
            if before is None:
                self.known[topic] = now.partitions
            elif now.is_another(before.note):
                self._begin_anew(topic, now.partitions)

    def _begin_anew(self, topic: str, count: int) -> None:
        ours = {at for at in self.held if at.topic == topic}
        self.remove(ours, self._listener.on_lost)
        self.add(at for at in ours if at.partition < count)
        self.known[topic] = 0
        self._on_error(
            Trouble.OFFSET_OUT_OF_RANGE,
            f"{topic} was deleted and made again: all of it is read, from its start; what was not read of the earlier "
            "one is lost",
        )

    def place(self, timeout_s: float) -> None:
        """Begin to read every unplaced partition that Kafka answers for; three requests of at most `timeout_s` each.

        Raises: KafkaException if one of them, or all, have to wait.
        """
        never_read = [at for at, due in self.unplaced.items() if due is None]
        committed = committed_offsets(self._consumer, never_read, timeout_s)
        lows = low_offsets(self._consumer, self.unplaced, timeout_s)
        highs = high_offsets(self._consumer, self.unplaced, timeout_s)
        errors = committed.answers.errors | lows.errors | highs.errors
        self._pass_over_earlier_topics(committed)
        starts = {
            at: self._start(
                at, committed.answers.offsets[at] if due is None else due, lows.offsets[at], highs.offsets[at]
            )
            for at, due in self.unplaced.items()
            if at not in errors
        }
        self._begin({at: start.offset for at, start in starts.items()}, highs.offsets, committed.answers.offsets)
        for error in errors.values():
            raise KafkaException(error)

    def _pass_over_earlier_topics(self, committed: Committed) -> None:
        """Take out of the answers what was committed, by whom it may be, of a topic that is no more."""
        offsets = committed.answers.offsets
        for at, offset in offsets.items():
            if self.topics[at.topic].is_another(committed.notes[at]):
                self._on_error(
                    Trouble.OFFSET_OUT_OF_RANGE,
                    f"{at.topic}/{at.partition}: offset {offset} was committed of an earlier topic of "
                    "this name; this one is read from its start, and nothing in it is skipped",
                )
                offsets[at] = _NONE
                self.known[at.topic] = 0

    def _start(self, at: TopicPartition, due: int, low: int, high: int) -> Start:
        is_new = at.partition >= self.known.get(at.topic, 0)
        policy = "earliest" if is_new else self._kafka.start
        start = start_offset(None if due < 0 else due, low=low, high=high, start=policy)
        if start.gone:
            self._listener.on_gone(start.gone)
            self._on_error(
                Trouble.OFFSET_OUT_OF_RANGE,
                f"{at.topic}/{at.partition}: {start.gone} records from offset {due} on were deleted from Kafka before "
                f"they were shipped; going on at {low}: lengthen the topic's retention.ms and retention.bytes",
            )
        elif start.rewound:
            self._on_error(
                Trouble.OFFSET_OUT_OF_RANGE,
                f"{at.topic}/{at.partition} ends at offset {high}, before {due}, which was due: the topic was made "
                f"anew or lost its end; going on at {low}, so that nothing in it is skipped",
            )
        return start

    def _begin(
        self,
        offsets: Mapping[TopicPartition, int],
        highs: Mapping[TopicPartition, int],
        committed: Mapping[TopicPartition, int],
    ) -> None:
        self._stale_highs.update({at: self._cached_high(at) for at in offsets})
        self._consumer.incremental_assign(kafka_positions(offsets))  # first: what it refuses stays unplaced
        dues = {at: self.unplaced.pop(at) for at in offsets}
        self.highs.update({at: highs[at] for at in offsets})
        self.read |= offsets.keys()
        # librdkafka keeps a partition's pause while it is away: one that left paused comes back paused.
        self._consumer.resume(_named(offsets.keys() - self.unread))
        self._consumer.pause(_named(self.unread & offsets.keys()))
        rewound = [at for at, due in dues.items() if due is not None and offsets[at] < due]
        if rewound:
            self._listener.on_lost(rewound)
        begun = {at: offset for at, offset in offsets.items() if dues[at] is None or at in rewound}
        if begun:
            self._listener.on_assigned(begun)
            self._save_starts({at: offset for at, offset in begun.items() if committed.get(at) != offset})

    def _save_starts(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit where reading began, where nothing or something else is committed: a restart may begin elsewhere.

        With `latest`, at an end that has moved on. With `earliest`, behind records that were deleted before they were
        settled, and nobody could tell that there had been any. In a topic made anew, at an offset of the old one.
        """
        if offsets and not commit_and_confirm(
            self._consumer, offsets, _SAVE_TIMEOUT_S, topics=self.topics, clock=self._clock, sleep=self._sleep
        ):
            self._on_error(
                Trouble.COMMIT_FAILED,
                "where reading began could not be committed; a restart before the first commit may begin elsewhere, "
                f"and skip records: {', '.join(f'{at.topic}/{at.partition}' for at in offsets)}",
            )

    def break_off(self, at: TopicPartition, due: int | None) -> None:
        """Stop reading a partition whose due offset Kafka does not have; it is placed anew."""
        if at in self.read:
            self.read.discard(at)
            self.eof_offsets.pop(at, None)  # where it ended may have been another topic's end
            self._consumer.incremental_unassign(_named([at]))
            self.unplaced[at] = due

    def remove(self, partitions: Iterable[TopicPartition], tell: Callable[[Sequence[TopicPartition]], None]) -> None:
        """Give partitions up, after the listener was told of those that it knows."""
        leaving = set(partitions)
        told = sorted(at for at in leaving if at in self.read or self.unplaced.get(at) is not None)
        if told:
            tell(told)
        self._consumer.incremental_unassign(_named(leaving & self.read))
        self.read -= leaving
        self._paused_for_good -= leaving
        for at in leaving:
            self.unplaced.pop(at, None)
            self.highs.pop(at, None)
            self.lows.pop(at, None)
            self.eof_offsets.pop(at, None)

    def update_highs(self, ask_timeout_s: float | None) -> None:
        """Bring `highs` up to date from the fetches; ask for those that are not fetched, unless the timeout is None.

        Raises: KafkaException if nobody answers in time.
        """
        for at in self.read:
            high = self._cached_high(at)
            if high != self._stale_highs.get(at):
                self._stale_highs.pop(at, None)
                self.highs[at] = max(self.highs[at], high)
        if self.unread and ask_timeout_s is not None:
            self.highs.update(high_offsets(self._consumer, self.unread, ask_timeout_s).offsets)

    def update_bounds(self, ask_timeout_s: float) -> None:
        """Ask for `lows` and `highs` of all that are read; two requests of at most `ask_timeout_s` each.

        Raises: KafkaException if nobody answers in time.
        """
        self.lows.update(low_offsets(self._consumer, self.read, ask_timeout_s).offsets)
        self.highs.update(high_offsets(self._consumer, self.read, ask_timeout_s).offsets)

    def _cached_high(self, at: TopicPartition) -> int:
        """Return the end that the last fetch told, negative before the first: one of an earlier reading included."""
        high: int = self._consumer.get_watermark_offsets(KafkaPosition(*at), cached=True)[1]
        return high

    def pause(self) -> None:
        """Stop reading all, for good."""
        if not self.paused:
            self.paused = True
            self._consumer.pause(_named(self.read))

    def hold_back(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop reading these, and read again those that were held back and are not among them."""
        before = self.unread
        self.held_back = frozenset(partitions)
        if now := self.unread - before:
            self._consumer.pause(_named(now))
        if again := before - self.unread:
            self._consumer.resume(_named(again))

    def pause_for_good(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop reading these, until they are given up."""
        chosen = self.read & set(partitions)
        self._paused_for_good |= chosen
        self._consumer.pause(_named(chosen))


def _named(partitions: Iterable[TopicPartition]) -> list[KafkaPosition]:
    return [KafkaPosition(*at) for at in partitions]
