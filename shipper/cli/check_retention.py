"""What `shipper check` says of how long Kafka keeps records: long enough to catch up after an outage of Loki.

While Loki is away, Kafka is the buffer. How old a record may be when it is shipped is Loki's affair
(`reject_old_samples_max_age`, here `loki.limits.entry_age_max_s`); Kafka should keep it as long.
"""

from collections.abc import Iterator, Mapping

from shipper.cli.finding import Finding, Mark
from shipper.process.forecast import Retention
from shipper.process.loss import duration


def findings(
    logs: Mapping[str, Retention], dead_letters: Retention | None, entry_age_max_s: float
) -> Iterator[Finding]:
    """Yield what is found.

    Args:
        logs: how long each log topic keeps its records.
        dead_letters: how long the dead letter topic does; None where it is not known.
        entry_age_max_s: how old an entry may be that Loki takes.
    """
    for topic, retention in logs.items():
        mark, detail = _of_log(retention, entry_age_max_s)
        yield Finding(mark, f"retention of {topic}", detail)
    age_s = dead_letters.age_s if dead_letters else None
    if age_s is not None and any(it.age_s is None or it.age_s > age_s for it in logs.values()):
        detail = (
            f"{duration(age_s)}, less than a log topic keeps its records: letters are gone before anybody has looked "
            "at them; raise retention.ms of the dead letter topic"
        )
        yield Finding(Mark.NOTE, "retention of dead letters", detail)


def _of_log(retention: Retention, entry_age_max_s: float) -> tuple[Mark, str]:
    kept = "for ever" if retention.age_s is None else duration(retention.age_s)
    loki_takes = duration(entry_age_max_s)
    if retention.age_s is not None and retention.age_s < entry_age_max_s:
        told = (
            f"Kafka keeps {kept}, and Loki takes what is up to {loki_takes} old: when Loki or shipper is away for "
            "longer, records are lost that could have been shipped; set retention.ms of the topic to "
            f"{entry_age_max_s * 1000:.0f}"
        )
        return Mark.NOTE, told
    if retention.size_bytes is not None:
        told = (
            f"retention.bytes is {retention.size_bytes} a partition: how long an outage of Loki may last depends on "
            "the load; set it to -1 and bound the time alone, or raise it"
        )
        return Mark.NOTE, told
    if retention.age_s == entry_age_max_s:
        return Mark.OK, f"Kafka keeps {kept}, as long as Loki takes what is old"
    return Mark.OK, f"Kafka keeps {kept}; what is older than {loki_takes} when it is shipped becomes a dead letter"
