"""What somebody may see, as matchers of labels: every selector gets them, and no parameter takes them away."""

from shipper.api.principal import Principal
from shipper.loki.logql import matcher

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
