"""The demo's account: what was produced, what shipper counted, and what Kafka and Loki hold, side by side."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from shipper.devstack.demo_shipper import Totals
from shipper.devstack.generate import Truth
from shipper.errors import KafkaUnavailableError
from shipper.kafka.connection import common_settings, create_client, explain
from shipper.settings import Settings

_LEVELS = ("trace", "debug", "info", "warn", "error", "fatal", "unknown")
_MALFORMED = ("unknown", "unknown")
_ANSWER_TIMEOUT_S = 10.0
_SILENCE_S = 30.0
_TABLE_WIDTH_MIN = 120
_NOTHING = Text("-", style="dim")


@dataclass(frozen=True)
class Counted:
    """What shipper says of itself; reasons are the names of `records.Reason`."""

    totals: Totals
    malformed: int
    dead_letters: Counter[str]


@dataclass(frozen=True)
class Account:
    """The three sides of it.

    Attributes:
        truth: what the generator made, worked out without shipper.
        counted: what shipper says of itself.
        found: (service, level) → entries that a LogQL query counts.
        letters: reason → records in the dead letter topic.
    """

    truth: Truth
    counted: Counted
    found: Counter[tuple[str, str]]
    letters: Counter[str]

    def faults(self) -> list[str]:
        """Return a sentence for everything that is not where it must be; empty when every record is accounted for."""
        made: Mapping[tuple[str, str], int] = self.truth.entries
        letters = {reason.value: records for reason, records in self.truth.dead_letters.items()}
        faults = [
            f"{service} {level}: {made.get((service, level), 0):,} produced, "
            f"{self.found[service, level]:,} found in Loki"
            for service, level in sorted(made.keys() | self.found.keys())
            if made.get((service, level), 0) != self.found[service, level]
        ]
        faults += [
            f"dead letters {reason}: {letters.get(reason, 0):,} produced, {self.letters[reason]:,} in the topic"
            for reason in sorted(letters.keys() | self.letters.keys())
            if letters.get(reason, 0) != self.letters[reason]
        ]
        if self.accounted != self.truth.records:
            faults.append(f"{self.truth.records:,} produced, {self.accounted:,} found, dead-lettered or filtered")
        return faults

    @property
    def accounted(self) -> int:
        """Records of which somebody can say where they are."""
        return self.found.total() + self.letters.total() + self.counted.totals.filtered

    def show(self, console: Console) -> None:
        """Print both tables and the closing line."""
        for table in (self._ledger(), self._levels()):
            indented = Padding(table, (1, 0, 0, 2), expand=False)
            # Better that a terminal breaks a long row than that a number is cut off.
            console.print(indented, width=max(console.width, _TABLE_WIDTH_MIN), crop=False, soft_wrap=True)
        console.print("  counted by LogQL; each is as many as were produced, or says so\n", style="dim")
        faults, total = self.faults(), f"{self.truth.records:,} records"
        for fault in faults:
            console.print(f"    {fault}", style="red", soft_wrap=True)
        where = f": {self.found.total():,} in Loki, {self.letters.total():,} dead letters"
        if filtered := self.counted.totals.filtered:
            where += f", {filtered:,} filtered"
        if faults:
            closing = Text.assemble((f"  ✗ Not all of {total} are accounted for", "bold red"), where)
        else:
            closing = Text.assemble((f"  ✓ All {total} are accounted for", "bold green"), where)
        console.print(closing, soft_wrap=True)

    def _ledger(self) -> Table:
        truth, totals, counted = self.truth, self.counted.totals, self.counted
        table = _table("records")
        for title in ("produced", "counted by shipper", "read back"):
            table.add_column(title, justify="right")
        table.add_row("consumed from Kafka", *_numbers(truth.records, totals.consumed))
        table.add_row("delivered to Loki", *_numbers(truth.entries.total(), totals.delivered, self.found.total()))
        malformed = (truth.malformed.total(), counted.malformed, self.found[_MALFORMED])
        table.add_row(Text("  of them malformed, shipped raw", style="dim"), *_numbers(*malformed))
        table.add_row("filtered", *_numbers(0, totals.filtered))
        letters = (truth.dead_letters.total(), totals.dead_lettered, self.letters.total())
        table.add_row("dead-lettered", *_numbers(*letters))
        reasons = {reason.value: records for reason, records in truth.dead_letters.items()}
        for reason in sorted(reasons.keys() | counted.dead_letters.keys() | self.letters.keys()):
            sides = (reasons.get(reason, 0), counted.dead_letters[reason], self.letters[reason])
            table.add_row(Text(f"  {reason}", style="dim"), *_numbers(*sides))
        return table

    def _levels(self) -> Table:
        made, found = self.truth.entries, self.found
        keys = made.keys() | found.keys()
        services = sorted({service for service, _ in keys}, key=lambda name: (name == "unknown", name))
        levels = sorted({level for _, level in keys}, key=lambda level: (_rank(level), level))
        table = _table("found in Loki")
        for title in (*levels, "all"):
            table.add_column(title, justify="right", no_wrap=True)
        for service in services:
            cells = [_cell(made[service, level], found[service, level]) for level in levels]
            sums = [sum(side[service, level] for level in levels) for side in (made, found)]
            table.add_row(service, *cells, _cell(*sums))
        columns = [[sum(side[service, level] for service in services) for side in (made, found)] for level in levels]
        table.add_row("all", *(_cell(*column) for column in columns), _cell(made.total(), found.total()))
        return table


def read_dead_letters(settings: Settings) -> Counter[str]:
    """Read the dead letter topic from its beginning to its end, and count the reasons.

    Raises: KafkaUnavailableError, when Kafka does not answer, or says nothing for half a minute.
    """
    servers, topic = settings.kafka.bootstrap_servers, settings.dead_letter.topic
    consumer: Consumer = create_client(
        Consumer,
        {
            **common_settings(settings.kafka),
            "group.id": f"{settings.kafka.group_id}-demo",  # librdkafka wants one; nothing is committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        },
    )
    reasons: Counter[str] = Counter()
    try:
        unread = set(consumer.list_topics(topic, timeout=_ANSWER_TIMEOUT_S).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in unread])
        while unread:
            message = consumer.poll(_SILENCE_S)
            if message is None:
                raise KafkaUnavailableError(f"Kafka at {', '.join(servers)} said nothing of {topic} for half a minute")
            error = message.error()
            if error is None:
                reason = dict(message.headers() or ()).get("dlq.reason")
                reasons[reason.decode() if isinstance(reason, bytes) else "no reason"] += 1
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name for this
                unread.discard(message.partition())
            elif not error.retriable():
                raise KafkaUnavailableError(explain(error, servers))
    except KafkaException as error:
        raise KafkaUnavailableError(explain(error.args[0], servers)) from error
    finally:
        consumer.close()
    return reasons


def _table(title: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(title, no_wrap=True)
    return table


def _numbers(produced: int, counted: int, read_back: int | None = None) -> list[Text]:
    """Return the three cells of a row; what differs from what was produced stands out."""

    def checked(number: int) -> Text:
        return Text(f"{number:,}", style="green" if number == produced else "bold red")

    return [Text(f"{produced:,}"), checked(counted), _NOTHING if read_back is None else checked(read_back)]


def _cell(produced: int, found: int) -> Text:
    if produced != found:
        return Text(f"{found:,} of {produced:,}", style="bold red")
    return Text(f"{found:,}", style="green") if found else _NOTHING


def _rank(level: str) -> int:
    return _LEVELS.index(level) if level in _LEVELS else len(_LEVELS)
