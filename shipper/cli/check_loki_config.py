"""What `shipper check` reads in Loki's configuration (`/config`): limits below ours, and settings that cost entries.

Only what holds for every tenant is there: limits that are set for one tenant (`overrides`) cannot be seen.
"""

import re
from collections.abc import Iterator

from shipper.cli.finding import Finding, Mark
from shipper.loki.server_config import parse_limit, plain_values, split_sections
from shipper.settings import Limits, Loki

# An ingester answers a query in messages of so many entries (`queryBatchSize` in Loki's pkg/ingester/instance.go).
_ENTRIES_PER_MESSAGE = 128

# With equal limits, the two buckets of tokens differ by moments, and some entries still fell between them.
_STREAM_MARGIN = 2


def findings(loki: Loki, text: str) -> Iterator[Finding]:
    """Yield what is found.

    Args:
        loki: our settings.
        text: the answer to `/config`: YAML, as Loki writes it, with every key.
    """
    sections = split_sections(text)
    if "limits_config" not in sections:
        told = "not readable from here; compare [loki.limits] with its limits_config by hand"
        yield Finding(Mark.NOTE, "Loki limits", told)
        return
    yield from _limits(loki, sections["limits_config"])
    yield from _sharding(sections["limits_config"])
    yield from _stream_rate(plain_values(sections["limits_config"]))
    yield from _window(loki, plain_values(sections.get("ingester", "")))
    yield from _long_lines(loki, plain_values(sections.get("server", "")))
    yield from _old_entries(loki, sections)


def _limits(loki: Loki, section: str) -> Iterator[Finding]:
    theirs = plain_values(section)
    sentences = [*compare_limits(loki.limits, theirs)]
    burst_bytes = float(theirs.get("ingestion_burst_size_mb", "inf")) * 1024**2
    for sentence in sentences:
        yield Finding(Mark.NOTE, "Loki limits", sentence)
    if theirs.get("allow_structured_metadata") == "false":
        yield Finding(
            Mark.FAILED,
            "Loki limits",
            "allow_structured_metadata is false there, so it refuses our entries: set it to true, or empty "
            "[structured_metadata] and set malformed.policy to dead_letter",
        )
    if burst_bytes < loki.request_bytes_max:
        yield Finding(
            Mark.FAILED,
            "Loki limits",
            f"ingestion_burst_size_mb is {theirs['ingestion_burst_size_mb']} there, so requests of "
            f"loki.request_bytes_max = {loki.request_bytes_max} would be refused for ever: lower it, or raise Loki's",
        )
    elif not sentences:
        yield Finding(Mark.OK, "Loki limits", "none is lower than [loki.limits]")


def compare_limits(ours: Limits, theirs: dict[str, str]) -> Iterator[str]:
    """Yield a sentence for each limit that is lower in Loki's `limits_config`; 0 means without limit there."""
    pairs = {
        "max_line_size": ("line_bytes_max", ours.line_bytes_max),
        "max_label_names_per_series": ("label_count_max", ours.label_count_max),
        "max_label_name_length": ("label_name_bytes_max", ours.label_name_bytes_max),
        "max_label_value_length": ("label_value_bytes_max", ours.label_value_bytes_max),
        "max_structured_metadata_entries_count": ("structured_metadata_count_max", ours.structured_metadata_count_max),
        "max_structured_metadata_size": ("structured_metadata_bytes_max", ours.structured_metadata_bytes_max),
        "creation_grace_period": ("entry_ahead_max_s", ours.entry_ahead_max_s),
    }
    if theirs.get("reject_old_samples") != "false":
        pairs["reject_old_samples_max_age"] = ("entry_age_max_s", ours.entry_age_max_s)
    for name, (key, value) in pairs.items():
        limit = parse_limit(theirs.get(name, "0"))
        if 0 < limit < value:
            yield (
                f"{name} is {theirs[name]} there, and loki.limits.{key} is {value:,.10g} here: what lies between costs "
                f"pushes that are refused; set it to {limit:g}"
            )


def _sharding(section: str) -> Iterator[Finding]:
    if re.search(r"^  shard_streams:\n(?:    .*\n)*?    enabled: true$", section, re.MULTILINE):
        yield Finding(
            Mark.NOTE,
            "Loki streams",
            "limits_config.shard_streams.enabled is true there: the entries of a busy stream are dealt to several at "
            "random (__stream_shard__), so what is sent again after a crash or a time-out can land in another one, and "
            "is stored twice; set it to false (what overrides say of a tenant cannot be seen from here)",
        )


def _stream_rate(theirs: dict[str, str]) -> Iterator[Finding]:
    """Look whether the tenant's rate, which refuses whole requests, is reached before any stream's own."""
    pairs = {
        "per_stream_rate_limit": "ingestion_rate_mb",
        "per_stream_rate_limit_burst": "ingestion_burst_size_mb",
    }
    for of_stream, of_tenant in pairs.items():
        needed_mb = _STREAM_MARGIN * parse_limit(theirs.get(of_tenant, "0"))
        if 0 < parse_limit(theirs.get(of_stream, "0")) < needed_mb * 1024**2:
            yield Finding(
                Mark.NOTE,
                "Loki streams",
                f"limits_config.{of_stream} is {theirs[of_stream]} there, and {of_tenant} is {theirs[of_tenant]}: when "
                "a stream exceeds its own limit, Loki drops entries and can answer 204 all the same, so that they are "
                f"lost; set {of_stream} to at least {needed_mb:g}MB, so that the tenant's limit comes first",
            )


def _window(loki: Loki, ingester: dict[str, str]) -> Iterator[Finding]:
    """Look how far an entry may be behind the newest of its stream: half of the age of a chunk (pkg/ingester)."""
    window_s = parse_limit(ingester.get("max_chunk_age", "0")) / 2
    if 0 < window_s < loki.limits.entry_behind_max_s:
        yield Finding(
            Mark.NOTE,
            "Loki limits",
            f"ingester.max_chunk_age is {ingester['max_chunk_age']} there, and loki.limits.entry_behind_max_s is "
            f"{loki.limits.entry_behind_max_s:,.10g} here: entries that lie between can be dropped behind a 204, and "
            f"are lost; set it to {window_s:g}",
        )


def _long_lines(loki: Loki, server: dict[str, str]) -> Iterator[Finding]:
    needed_bytes = _ENTRIES_PER_MESSAGE * loki.limits.line_bytes_max
    low = [
        f"server.{key} is {server[key]}"
        for key in ("grpc_server_max_send_msg_size", "grpc_server_max_recv_msg_size")
        if 0 < parse_limit(server.get(key, "0")) < needed_bytes
    ]
    if low:
        yield Finding(
            Mark.NOTE,
            "Loki queries",
            f"{' and '.join(low)} there: a query that finds many long lines fails, hangs, or is answered with nothing; "
            f"for {_ENTRIES_PER_MESSAGE} lines of loki.limits.line_bytes_max = {loki.limits.line_bytes_max} set both "
            f"to more than {needed_bytes}, such as 104857600",
        )


def _old_entries(loki: Loki, sections: dict[str, str]) -> Iterator[Finding]:
    """Look at how far back the one process of a monolithic Loki looks into chunks that it has not flushed."""
    stores = re.findall(r"^    object_store: (\S+)$", sections.get("schema_config", ""), re.MULTILINE)
    period = plain_values(sections.get("ingester", "")).get("query_store_max_look_back_period", "-1ns")
    # With another store it cannot be set; a negative one means without limit.
    if sections.get("target", "").strip() != "all" or stores[-1:] != ["filesystem"] or period.startswith("-"):
        return
    if parse_limit(period) < loki.limits.entry_age_max_s:
        yield Finding(
            Mark.NOTE,
            "Loki queries",
            f"ingester.query_store_max_look_back_period is {period} there: entries that are older when they are pushed "
            "are stored, and found only when their chunk is flushed, by default after up to two hours; set it to -1",
        )
