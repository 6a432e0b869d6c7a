"""Logs of services: one JSON object each, without secrets, into Kafka, never in the service's way.

import servicelog

servicelog.configure(service="chat-service", kafka="kafka:9092")
log = servicelog.get_logger("rooms")
with servicelog.bound(requestId=servicelog.new_request_id()):
    log.info("Message stored", roomId="room-375", durationMs=4)
"""

import sys
from pathlib import Path
from typing import Any

from servicelog.context import bind, bound, carried, new_request_id, request_id
from servicelog.core import CURRENT, Core, use
from servicelog.logger import Logger, get_logger
from servicelog.metrics import Metrics
from servicelog.record import RecordWriter
from servicelog.settings import Settings, SettingsError, load

__all__ = [
    "Logger",
    "Metrics",
    "RecordWriter",
    "Settings",
    "SettingsError",
    "bind",
    "bound",
    "carried",
    "close",
    "configure",
    "get_logger",
    "metrics",
    "new_request_id",
    "request_id",
]


def configure(
    *,
    config: str | Path | None = None,
    logging: bool = True,
    **settings: Any,  # noqa: ANN401 - checked by name and kind
) -> Settings:
    """Set the library up; again, if it was set up already.

    Args:
        config: a TOML file with a table `[servicelog]`; SERVICELOG_CONFIG names one as well.
        logging: whether records of standard logging are taken, by a handler on its root logger.
        settings: those of `Settings`; they go before the environment (SERVICELOG_SERVICE, …), that before the file.

    Returns: the settings in force.
    Raises: SettingsError, which says what to set.
    """
    loaded = load(settings, config)
    use(Core(loaded))
    changed = None
    if logging:
        from servicelog import stdlib  # noqa: PLC0415 - who does not want it does not load it

        stdlib.install()
        changed = stdlib.apply_levels
    if "servicelog.level_source" in sys.modules or loaded.level_url:
        from servicelog import level_source  # noqa: PLC0415 - the same

        level_source.stop()
        if loaded.level_url:
            level_source.start(loaded, CURRENT.core.levels, changed)
    return loaded


def metrics() -> Metrics:
    """What became of the records so far."""
    return CURRENT.core.sink.metrics()


def close(flush_s: float | None = None) -> None:
    """Deliver what there is, for `flush_s` at most; the end of the process does it by itself."""
    CURRENT.core.sink.close(flush_s)
