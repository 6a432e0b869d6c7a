"""What `check` says of Loki's own configuration, as Loki writes it at /config."""

import pytest

from shipper.cli.check_loki_config import compare_limits, findings
from shipper.cli.finding import Finding, Mark
from shipper.loki.server_config import parse_limit
from shipper.settings import Limits, Loki

GOOD = """\
target: all
http_prefix: ""
server:
  grpc_server_max_recv_msg_size: 104857600
  grpc_server_max_send_msg_size: 104857600
internal_server:
  grpc_server_max_recv_msg_size: 0
  grpc_server_max_send_msg_size: 0
ingester:
  wal:
    enabled: true
  query_store_max_look_back_period: -1ns
  max_chunk_age: 2h0m0s
schema_config:
  configs:
  - from: "2024-01-01"
    object_store: s3
  - from: "2025-01-01"
    store: tsdb
    object_store: filesystem
limits_config:
  ingestion_rate_mb: 4
  ingestion_burst_size_mb: 6
  max_line_size: 256KB
  per_stream_rate_limit: 8MB
  per_stream_rate_limit_burst: 12MB
  shard_streams:
    time_sharding_enabled: false
    enabled: false
    desired_rate: 1536KB
  otlp_config:
    enabled: true
operational_config:
  max_line_size: 1KB
"""
"""As far as it is looked at, with what could be mistaken for it."""


def told(old: str = "", new: str = "", **limits: int) -> list[Finding]:
    assert old in GOOD
    return [*findings(Loki(limits=Limits(**limits)), GOOD.replace(old, new, 1))]


def test_a_configuration_that_costs_nothing_is_fine() -> None:
    assert told() == [Finding(Mark.OK, "Loki limits", "none is lower than [loki.limits]")]


def test_what_is_no_configuration_of_lokis_is_told() -> None:
    (found,) = findings(Loki(), "<html>limits_config:</html>")
    assert found.mark is Mark.NOTE
    assert found.detail.startswith("not readable from here")


def test_stream_sharding_is_told_with_what_it_costs_and_the_way_out() -> None:
    (found,) = [found for found in told("  enabled: false", "  enabled: true") if found.what == "Loki streams"]
    assert found.mark is Mark.NOTE
    assert "shard_streams.enabled is true there" in found.detail
    assert "is stored twice; set it to false" in found.detail
    assert "overrides" in found.detail


@pytest.mark.parametrize(
    ("old", "new", "way_out"),
    [
        ("rate_limit: 8MB", "rate_limit: 3MB", "set per_stream_rate_limit to at least 8MB"),
        ("burst: 12MB", "burst: 11.5MB", "set per_stream_rate_limit_burst to at least 12MB"),
        ("ingestion_rate_mb: 4", "ingestion_rate_mb: 4.5", "set per_stream_rate_limit to at least 9MB"),
    ],
)
def test_a_stream_that_can_exceed_its_rate_before_the_tenant_does_is_told(old: str, new: str, way_out: str) -> None:
    (found,) = [found for found in told(old, new) if found.what == "Loki streams"]
    assert found.mark is Mark.NOTE
    assert "can answer 204 all the same" in found.detail
    assert way_out in found.detail


def test_a_stream_without_a_rate_is_fine() -> None:
    assert told("rate_limit: 8MB", "rate_limit: 0B") == told()


@pytest.mark.parametrize("key", ["grpc_server_max_send_msg_size", "grpc_server_max_recv_msg_size"])
def test_messages_too_small_for_a_query_over_long_lines_are_told(key: str) -> None:
    (found,) = [found for found in told(f"{key}: 104857600", f"{key}: 4194304") if found.what == "Loki queries"]
    assert found.mark is Mark.NOTE
    assert found.detail.startswith(f"server.{key} is 4194304 there: a query that finds many long lines fails")
    assert "128 lines of loki.limits.line_bytes_max = 262144 set both to more than 33554432" in found.detail


def test_messages_that_are_large_enough_for_our_lines_are_fine() -> None:
    assert len(told("send_msg_size: 104857600", "send_msg_size: 4194304", line_bytes_max=32_768)) == 1


def test_a_window_for_disorder_below_ours_is_told() -> None:
    (found,) = [found for found in told("2h0m0s", "30m0s") if "max_chunk_age" in found.detail]
    assert found.mark is Mark.NOTE
    assert found.detail.startswith("ingester.max_chunk_age is 30m0s there, and loki.limits.entry_behind_max_s is 3,600")
    assert found.detail.endswith("set it to 900")


def test_a_short_look_back_is_told_where_it_hides_entries() -> None:
    (found,) = [found for found in told("-1ns", "2h41m0s") if found.what == "Loki queries"]
    assert found.mark is Mark.NOTE
    assert "query_store_max_look_back_period is 2h41m0s there: entries that are older" in found.detail
    assert told("-1ns", "168h0m0s") == told()


def test_a_short_look_back_is_no_matter_where_it_cannot_be_longer() -> None:
    short = GOOD.replace("-1ns", "2h41m0s")
    assert len([*findings(Loki(), short)]) == 2
    for old, new in (("target: all", "target: read"), ("object_store: filesystem", "object_store: s3")):
        assert len([*findings(Loki(), short.replace(old, new))]) == 1


@pytest.mark.parametrize(
    ("text", "number"),
    [("256KB", 262_144), ("0B", 0), ("1.5MB", 1_572_864), ("15", 15), ("1w", 604_800), ("1h30m", 5400), ("true", 0)],
)
def test_limits_are_read_as_loki_writes_them(text: str, number: float) -> None:
    assert parse_limit(text) == number


def test_only_limits_that_are_lower_there_are_told() -> None:
    theirs = {"max_line_size": "1KB", "max_label_names_per_series": "30", "max_label_value_length": "0"}
    (sentence,) = compare_limits(Limits(), theirs)
    assert sentence.startswith("max_line_size is 1KB there, and loki.limits.line_bytes_max is 262,144 here")
    assert [*compare_limits(Limits(), {"reject_old_samples": "false", "reject_old_samples_max_age": "1h"})] == []
    assert len([*compare_limits(Limits(), {"reject_old_samples": "true", "reject_old_samples_max_age": "1h"})]) == 1
