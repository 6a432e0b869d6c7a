"""Secrets: which settings are secret, and reading those that are given as a file."""

import re
from pathlib import Path

import msgspec

from shipper.config.problems import Problems
from shipper.settings import Kafka, Loki, Secret, Settings

_LOKI = ("password", "bearer_token")
_CLIENT_SECRET = re.compile(r"password|secret|\.pem$|credential|oauthbearer\.config|assertion")
_FILE = "_file"


def is_secret(key: str) -> bool:
    """Say whether the setting of this full name holds a secret itself (the name of a file with one is none)."""
    if key.endswith(_FILE):
        return False
    if key.startswith("kafka.client."):
        return _CLIENT_SECRET.search(key.removeprefix("kafka.client.")) is not None
    return key in {f"loki.{name}" for name in _LOKI}


def read(settings: Settings, problems: Problems) -> Settings:
    """Return the settings with the secrets of all `…_file` keys in place."""
    return msgspec.structs.replace(
        settings, kafka=_read_client(settings.kafka, problems), loki=_read_loki(settings.loki, problems)
    )


def _read_loki(loki: Loki, problems: Problems) -> Loki:
    found = {}
    for name in _LOKI:
        file = getattr(loki, name + _FILE)
        if file and getattr(loki, name):
            _both(f"loki.{name}", file, problems)
        elif file:
            found[name] = _content(f"loki.{name}{_FILE}", file, problems)
    return msgspec.structs.replace(loki, **found)


def _read_client(kafka: Kafka, problems: Problems) -> Kafka:
    client: dict[str, str | int | float | bool] = {}
    for key, value in kafka.client.items():
        full = f"kafka.client.{key}"
        if not key.endswith(_FILE):
            client[key] = Secret(value) if is_secret(full) else value
        elif key.removesuffix(_FILE) in kafka.client:
            _both(full.removesuffix(_FILE), str(value), problems)
        else:
            client[key.removesuffix(_FILE)] = _content(full, str(value), problems)
    return msgspec.structs.replace(kafka, client=client)


def _both(key: str, file: str, problems: Problems) -> None:
    problems.contradict((key, Secret("***")), (key + _FILE, file), "give one of the two")


def _content(key: str, file: str, problems: Problems) -> Secret:
    try:
        secret = Secret(Path(file).read_text(encoding="utf-8").rstrip("\r\n"))
    except OSError as error:
        problems.add(key, f'the file "{file}" cannot be read: {error.strerror}')
        return Secret()
    except UnicodeDecodeError:
        problems.add(key, f'the file "{file}" is no text in UTF-8')
        return Secret()
    if not secret:
        problems.add(key, f'the file "{file}" is empty; it must hold the secret and nothing else')
    return secret
