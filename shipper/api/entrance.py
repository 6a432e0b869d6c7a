"""Who comes in, as the configuration has it: tokens of our own, JWTs of an issuer, rate limits, the audit."""

from shipper.api import audit
from shipper.api.access import Access, Authenticator
from shipper.api.oidc import Oidc
from shipper.api.rates import Rates
from shipper.api.tables import Tables
from shipper.api.tokens import Tokens
from shipper.settings import Api


def entrance(api: Api, tables: Tables) -> Access:
    """Return the door of the log API."""
    rates = Rates(api)
    authenticators: list[Authenticator] = [Tokens(tables.tokens)]
    if api.oidc.issuer:
        authenticators.append(Oidc(api.oidc))
    return Access(
        authenticators=authenticators,
        limit=rates.of_principal,
        refusals=rates.of_refusals,
        failures=rates.of_failures,
        audit=audit.write,
    )
