"""`shipper topics create`: what it made, and what it left as it was."""

from rich.console import Console
from rich.text import Text

from shipper.kafka import topics
from shipper.settings import Settings


def create(settings: Settings, *, partitions: int, replication_factor: int | None, console: Console) -> None:
    """Make the topics that are missing, and print a line for each topic and each difference.

    Raises: KafkaUnavailableError with the way out; ConfigError if librdkafka refuses `[kafka.client]`.
    """
    outcomes = topics.create(settings, partitions=partitions, replication_factor=replication_factor)
    for outcome in outcomes:
        topic = outcome.topic
        size = f"{topic.partitions} partitions, {topic.replication_factor} of each record"
        if outcome.created:
            console.print(Text.assemble(("created ", "green"), f"{topic.name}: {size}"), soft_wrap=True)
        else:
            end = "; left as it is:" if outcome.differences else "; as it would be made"
            console.print(Text.assemble(("exists  ", "cyan"), f"{topic.name}: {size}{end}"), soft_wrap=True)
        for difference in outcome.differences:
            line = f"        {difference.key} is {difference.actual}, would be {difference.wanted}"
            console.print(Text(line, style="yellow"), soft_wrap=True)
