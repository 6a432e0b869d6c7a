"""The configurations of Loki: what Loki itself says of them, and what they must have in common."""

import subprocess
from pathlib import Path

import pytest

from deployed import LOKI_CONFIGS, ROOT, read_config
from shipper.cli import check_loki_config
from shipper.devstack import parts
from shipper.kafka.topics import LOG_RETENTION_MS
from shipper.loki.server_config import parse_limit
from shipper.settings import Loki

PARTS_OF_LOKI = (
    *("distributor", "ingester", "querier", "query-frontend", "query-scheduler", "index-gateway", "compactor", "ruler"),
)
pytestmark = pytest.mark.loki


def loki(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Ask Loki about a configuration."""
    command = [
        str(parts.locate("loki")),
        f"-config.file={config}",
        "-config.expand-env=true",
        "-verify-config",
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("config", LOKI_CONFIGS, ids=lambda path: path.stem)
def test_loki_takes_every_configuration(config: Path) -> None:
    done = loki(config)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("target", PARTS_OF_LOKI)
def test_loki_takes_the_configuration_of_microservices_for_each_part(target: str) -> None:
    done = loki(ROOT / "loki" / "production-microservices.yaml", f"-target={target}")
    assert done.returncode == 0, done.stderr


def test_loki_refuses_a_configuration_with_a_mistake(tmp_path: Path) -> None:
    wrong = tmp_path / "loki.yaml"
    written = (ROOT / "loki" / "development.yaml").read_text()
    wrong.write_text(written.replace("retention_period: 2160h", "retention_perod: 2160h"))
    assert loki(wrong).returncode != 0


@pytest.mark.parametrize("config", LOKI_CONFIGS, ids=lambda path: path.stem)
def test_shipper_check_has_nothing_to_say_of_any_configuration(config: Path) -> None:
    # As /config answers: every key, as Loki writes it.
    done = loki(config, "-print-config-stderr")
    ours = Loki()
    told = [finding.detail for finding in check_loki_config.findings(ours, done.stderr)]
    assert told == ["none is lower than [loki.limits]"]


def test_the_limits_are_the_same_everywhere() -> None:
    limits = [read_config(config)["limits_config"] for config in LOKI_CONFIGS]
    assert len(limits) == 3
    assert limits[0] == limits[1] == limits[2]


@pytest.mark.parametrize("config", LOKI_CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_deletes_what_is_over_its_time(config: Path) -> None:
    compactor = read_config(config)["compactor"]
    assert compactor["retention_enabled"]
    assert compactor["delete_request_store"] == read_config(config)["schema_config"]["configs"][0]["object_store"]


def test_what_loki_takes_late_is_what_kafka_keeps() -> None:
    limits = read_config(LOKI_CONFIGS[0])["limits_config"]
    assert parse_limit(limits["reject_old_samples_max_age"]) == LOG_RETENTION_MS / 1000
    # Nor may it be older than what is deleted at once.
    shortest_s = min(parse_limit(rule["period"]) for rule in limits["retention_stream"])
    assert parse_limit(limits["reject_old_samples_max_age"]) <= shortest_s
    # What is kept longest can be asked for, and all ninety days at once.
    assert parse_limit(limits["max_query_lookback"]) >= max(
        parse_limit(it["period"]) for it in limits["retention_stream"]
    )
    assert parse_limit(limits["max_query_length"]) > parse_limit(limits["retention_period"]) == 90 * 86_400
