"""The audit: a log record of each access, through the same Kafka topic as all other logs, `service="log-api"`.

    {"level": "info", "service": "log-api", "message": "Access", "context": "Audit", "requestId": "…", "userId": "mara",
     "event": "access", "outcome": "success", "method": "GET", "route": "/v1/logs", "status": 200, "durationMs": 12.5,
     "metadata": {"role": "viewer", "prefix": "5f2c…", "client": "192.0.2.7", "from": "…", "to": "…", "lines": 17, …}}

So it is kept as long as they are, and is found as they are. Nothing here has a secret: no header is written, and what
looks like a token in the rest is taken out.
"""

import logging
import re
from typing import Any, Final

from starlette.types import Scope

import servicelog
from shipper.api.access import Visit
from shipper.api.principal import Role
from shipper.settings import Settings

SERVICE: Final = "log-api"
_OWN_TOKEN: Final = re.compile(r"(shp_[0-9a-f]{10}_)[A-Za-z0-9_-]{8,}")
_DENIED: Final = (401, 403, 429)
_WRONG, _FAILED = 400, 500
_POLLS: Final = (200, 304, 404)


def configure(settings: Settings) -> None:
    """Have the log records of this process written to the log topic.

    What is set here goes before SERVICELOG_… in the environment: no level of theirs can silence the audit. The other
    settings are the environment's, such as SERVICELOG_WHEN_FULL=spill.
    """
    servicelog.configure(
        service=SERVICE,
        kafka=",".join(settings.kafka.bootstrap_servers),
        topic=settings.kafka.topics[0],
        kafka_settings={key: str(value) for key, value in settings.kafka.client.items()},
        level="info",
        levels={},
        level_url="",
    )
    # The library takes over what servers log of their own; their access lines would tell of each call a second time.
    logging.getLogger("uvicorn.access").disabled = True


def write(scope: Scope, visit: Visit) -> None:
    """Write a visit down; never blocks, never raises.

    A service's library that asks for its levels every two seconds is written down only when it is refused.
    """
    who = visit.principal
    if who is not None and who.role is Role.SERVICE and visit.status in _POLLS:
        return
    level = "error" if visit.status >= _FAILED else "warn" if visit.status >= _WRONG else "info"
    facts = {name: _clean(value) for name, value in visit.facts.items()}
    own = {
        "requestId": visit.request_id,
        "userId": who.name if who else None,
        "event": "access",
        "outcome": _outcome(visit),
        "reason": visit.refusal or None,
        "method": scope["method"],
        "route": getattr(scope.get("route"), "path", None),
        "status": visit.status or None,
        "durationMs": round(visit.duration_s * 1_000, 3),
        "role": who.role.name.lower() if who else None,
        "prefix": who.token if who else None,
        "client": visit.client,
        "path": _clean(scope["path"]),
        "bytes": visit.bytes_sent,
    }
    getattr(servicelog.get_logger("Audit"), level)(
        "Access", **{**facts, **own}
    )  # no fact of a route's takes their place


def _outcome(visit: Visit) -> str:
    if visit.status in _DENIED:
        return "denied"
    return "success" if 0 < visit.status < _WRONG else "failure"


def _clean(value: Any) -> Any:  # noqa: ANN401 - a fact is anything
    match value:
        case str():
            return _OWN_TOKEN.sub(r"\1[redacted]", value)
        case list():
            return [_clean(one) for one in value]
        case dict():
            return {_clean(name): _clean(one) for name, one in value.items()}
    return value
