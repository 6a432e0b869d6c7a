"""Settings: from code, environment and file; and what the library weighs."""

import subprocess
import sys
from pathlib import Path

import pytest

import servicelog
from servicelog.core import CURRENT, use
from servicelog.settings import Settings, SettingsError, load


def test_code_goes_before_environment_before_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "service.toml"
    file.write_text(
        '[servicelog]\nservice = "a"\ntopic = "b"\nkafka = "c:1"\nqueue_bytes_max = 5\n'
        'redact_names = ["x"]\nlevels = {"app.db" = "debug"}\nkafka_settings = {"security.protocol" = "SSL"}\n'
    )
    monkeypatch.setenv("SERVICELOG_CONFIG", str(file))
    monkeypatch.setenv("SERVICELOG_TOPIC", "from-env")
    monkeypatch.setenv("SERVICELOG_KAFKA", "env:1")
    monkeypatch.setenv("SERVICELOG_REDACT_EMAILS", "true")
    monkeypatch.setenv("SERVICELOG_FLUSH_S", "1.5")
    assert load({"kafka": "code:1"}) == Settings(
        service="a", topic="from-env", kafka="code:1", queue_bytes_max=5, redact_names=("x",), redact_emails=True,
        levels={"app.db": "debug"}, flush_s=1.5, kafka_settings={"security.protocol": "SSL"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "service is not set"),
        ({"service": "s", "colour": "red"}, "no setting is called colour"),
        ({"service": "s", "when_full": "explode"}, "use one of oldest, newest, spill"),
        ({"service": "s", "level": "loud"}, "no level is called 'loud'"),
        ({"service": "s", "when_full": "spill"}, "needs spill_folder"),
        ({"service": "s", "queue_bytes_max": 0}, "more than 0"),
        ({"service": "s", "topic": 7}, "topic = 7"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_with_the_way_out(given: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load(given)


def test_what_the_environment_says_wrongly_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICELOG_QUEUE_BYTES_MAX", "many")
    with pytest.raises(SettingsError, match="SERVICELOG_QUEUE_BYTES_MAX = 'many' is no int"):
        load({"service": "s"})


def test_without_kafka_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    before = CURRENT.core
    try:
        servicelog.configure(service="s", logging=False)
        servicelog.get_logger("t").info("m")
        assert '"service":"s","message":"m","context":"t"}' in capsys.readouterr().err
        assert servicelog.metrics().sent == 1
    finally:
        use(before)


def test_the_library_is_light() -> None:
    """It loads neither the shipper nor what is heavy, and takes less than the standard library's own HTTP client."""
    program = """
import time, sys
began = time.process_time(); import servicelog; own = time.process_time() - began
servicelog.configure(service="s"); servicelog.get_logger().info("m")
heavy = {"numpy", "polars", "shipper", "confluent_kafka", "asyncio", "ssl"} & sys.modules.keys()
assert not heavy, heavy
began = time.process_time(); import asyncio, http.client, email.message; other = time.process_time() - began
assert own < 2 * other, (own, other)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
