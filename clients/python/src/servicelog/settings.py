"""How the library is set: from code, then from the environment, then from a TOML file, then by default."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

from servicelog import levels

WhenFull = Literal["oldest", "newest", "spill"]
Stderr = Literal["away", "always", "never"]
_PREFIX: Final = "SERVICELOG_"
_CHOICES: Final = {
    "when_full": get_args(WhenFull),
    "stderr": get_args(Stderr),
    "compression": ("lz4", "zstd", "gzip", "snappy", "none"),
}


class SettingsError(ValueError):
    """A setting that cannot be used; the message says which, from where, and what would do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings.

    Attributes:
        service: who writes.
        kafka: `host:port` of Kafka, several with commas; empty: records go to stderr alone.
        topic: where to.
        level: the lowest level that is written.
        levels: of single loggers, by dotted name: `{"app.db": "debug"}`.
        when_full: what gives way when the queue is full: the `oldest` record, the `newest`, or none as long as
            `spill_folder` has room (`spill`).
        queue_bytes_max: bound on the records in memory.
        spill_folder, spill_bytes_max: where records wait on disk, and how many bytes of them.
        flush_s: how long the end of the process waits for Kafka.
        stderr: when lines are also on stderr: while Kafka is `away`, `always` or `never`.
        stderr_lines_per_s: how many of them.
        redact_names: endings of names whose values are secrets, beside the library's own.
        redact_emails: whether e-mail addresses are taken out of texts.
        level_url: where levels are asked for, `http://…/v1/levels/chat-service`; empty: nowhere.
        level_every_s: how often.
        level_token, level_token_file: what is sent there as `Authorization: Bearer …`; the file is read each time.
        compression: of what is sent.
        kafka_settings: more settings for librdkafka, for TLS and SASL.
    """

    service: str
    kafka: str = ""
    topic: str = "logs"
    level: str = "info"
    levels: Mapping[str, str] = field(default_factory=dict)
    when_full: WhenFull = "oldest"
    queue_bytes_max: int = 32 * 2**20
    spill_folder: str = ""
    spill_bytes_max: int = 256 * 2**20
    flush_s: float = 5.0
    stderr: Stderr = "away"
    stderr_lines_per_s: int = 200
    redact_names: tuple[str, ...] = ()
    redact_emails: bool = False
    level_url: str = ""
    level_every_s: float = 2.0
    level_token: str = field(default="", repr=False)
    level_token_file: str = ""
    compression: str = "lz4"
    kafka_settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.service:
            raise SettingsError(f"service is not set: name it in configure(service=…) or in {_PREFIX}SERVICE")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise SettingsError(f"{name} = {getattr(self, name)!r}: use one of {', '.join(choices)}")
        for name in ("queue_bytes_max", "spill_bytes_max", "stderr_lines_per_s", "level_every_s"):
            if getattr(self, name) <= 0:
                raise SettingsError(f"{name} = {getattr(self, name)!r}: it must be more than 0")
        if self.level_token and self.level_token_file:
            raise SettingsError("level_token and level_token_file are both set: give one of the two")
        if self.when_full == "spill" and not self.spill_folder:
            raise SettingsError('when_full = "spill" needs spill_folder: a folder that outlives the process')
        for level in (self.level, *self.levels.values()):
            try:
                levels.number(level)
            except ValueError as error:
                raise SettingsError(str(error)) from None


def load(given: Mapping[str, Any], config: str | Path | None = None) -> Settings:
    """Put the settings together.

    Args:
        given: from code; None is not given.
        config: a TOML file with a table `[servicelog]`; without it, the one that SERVICELOG_CONFIG names.

    Raises: SettingsError for what is unknown, or of the wrong kind, or missing.
    """
    path = config or os.environ.get(f"{_PREFIX}CONFIG")
    merged = _from_file(Path(path)) if path else {}
    for name in _KINDS:
        text = os.environ.get(_PREFIX + name.upper())
        if text is not None:
            merged[name] = _read(name, text)
    merged |= {name: value for name, value in given.items() if value is not None}
    unknown = merged.keys() - _KINDS.keys()
    if unknown:
        raise SettingsError(f"no setting is called {', '.join(sorted(unknown))}; there are {', '.join(_KINDS)}")
    if "redact_names" in merged:
        merged["redact_names"] = tuple(merged["redact_names"])
    settings = Settings(**{"service": "", **merged})
    for one in fields(Settings):
        value, kind = getattr(settings, one.name), _KINDS[one.name]
        if not isinstance(value, (int, float) if kind is float else kind):
            raise SettingsError(f"{one.name} = {value!r}: it must be of the kind {kind.__name__}")
    return settings


_KINDS: Final[Mapping[str, type]] = {
    **dict.fromkeys(("service", "kafka", "topic", "level"), str),
    "levels": Mapping,
    "when_full": str,
    "queue_bytes_max": int,
    "spill_folder": str,
    "spill_bytes_max": int,
    "flush_s": float,
    "stderr": str,
    "stderr_lines_per_s": int,
    "redact_names": tuple,
    "redact_emails": bool,
    "level_url": str,
    "level_every_s": float,
    "level_token": str,
    "level_token_file": str,
    "compression": str,
    "kafka_settings": Mapping,
}


def _from_file(path: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - most services have no file

    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("servicelog", {})
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    return dict(table)


def _read(name: str, text: str) -> object:
    """A setting from the environment: lists with commas, tables as `name=value` with commas."""
    kind = _KINDS[name]
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if kind is tuple:
            return tuple(filter(None, text.split(",")))
        if kind is Mapping:
            return dict(pair.split("=", 1) for pair in text.split(",") if pair)
        return kind(text)
    except (KeyError, ValueError) as error:
        raise SettingsError(f"{_PREFIX}{name.upper()} = {text!r} is no {kind.__name__}") from error
