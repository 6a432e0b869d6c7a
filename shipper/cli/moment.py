"""A moment on the command line: a date, a time, or how long ago."""

import re
from datetime import UTC, datetime

from shipper.errors import ConfigError

_AGO = re.compile(r"(\d+)([smhd])")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def moment_ms(option: str, text: str | None, *, now_ms: int) -> int | None:
    """Return a moment in milliseconds since the epoch; None for None.

    Args:
        option: its name, for the error.
        text: `2026-11-24T05:50:00Z`, `2026-11-24 05:50` (UTC unless it says otherwise), `2026-11-24`; or `90s`, `15m`,
            `2h`, `7d`, which mean so long ago.
        now_ms: milliseconds since the epoch.

    Raises: ConfigError if it is none of these.
    """
    if text is None:
        return None
    if ago := _AGO.fullmatch(text):
        return now_ms - int(ago[1]) * _UNIT_MS[ago[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"{option} wants 2026-11-24T05:50:00Z, 2026-11-24, or 15m, 2h, 7d ago, not {text!r}"
        ) from error
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000)


def duration_s(option: str, text: str) -> float:
    """Return how many seconds `90s`, `15m`, `2h` or `7d` are. Raises ConfigError if it is none, or zero."""
    if not (found := _AGO.fullmatch(text)) or not int(found[1]):
        raise ConfigError(f"{option} wants 90s, 15m, 2h or 7d, not {text!r}")
    return int(found[1]) * _UNIT_MS[found[2]] / 1_000
