"""What somebody may see, as matchers of labels: every selector gets them, and no parameter takes them away."""

from fastapi import Request

from shipper.api.principal import Principal
from shipper.api.problems import Problem
from shipper.loki.logql import matcher
from shipper.settings import Settings

SERVICE, LEVEL, ENVIRONMENT = "service", "level", "env"
"""The labels that the API relies on."""

LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")


def matchers(principal: Principal) -> list[str]:
    """Return the matchers that bind this principal; none for one who may see everything."""
    bound = []
    if principal.services is not None:
        bound.append(matcher(SERVICE, principal.services))
    if principal.environments is not None:
        bound.append(matcher(ENVIRONMENT, principal.environments))
    return bound


def may_see_service(principal: Principal, service: str) -> bool:
    """Say whether this service is one of theirs."""
    return principal.services is None or service in principal.services


def of_installation(request: Request, principal: Principal) -> None:
    """Raise Problem 403 to those who are bound to another environment or tenant than this installation's.

    Levels and dead letters are those of one Kafka: they have no environment or tenant that they could be told apart by.
    """
    settings: Settings = request.app.state.service.settings
    environment = settings.labels.static.get(ENVIRONMENT, "")
    if principal.environments is not None and environment not in principal.environments:
        raise Problem(
            403,
            "forbidden",
            "this token is bound to environments, and this is about all of this installation"
            + (f", which is {environment}" if environment else ""),
        )
    if principal.tenant not in {"", settings.loki.tenant}:
        raise Problem(403, "forbidden", "this token is bound to another tenant than this installation's")


def of_all(request: Request, principal: Principal) -> None:
    """Raise Problem 403 to those who are bound to anything that this installation is more than, services too."""
    of_installation(request, principal)
    if principal.services is not None:
        raise Problem(403, "forbidden", "this token is bound to services, and this is about all of them")
