"""JWTs of an OpenID Connect provider: whether one is genuine, and what its claims mean here.

The algorithms are pinned to asymmetric ones, so nothing that a JWT says of itself chooses how it is checked. Keys are
fetched from the provider when they are needed, and again when a JWT names one that is not known yet; that happens
twice a minute at most, whatever is sent.
"""

import asyncio
import math
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import jwt
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAudienceError,
    InvalidIssuerError,
    PyJWKClientConnectionError,
    PyJWKClientError,
    PyJWTError,
)

from shipper.api.access import CredentialError, NotReadyError
from shipper.api.principal import TENANT, Principal, Role
from shipper.logs import log
from shipper.settings import ApiOidc

_LEEWAY_S: Final = 30
_FETCH_TIMEOUT_S: Final = 5.0
_PAUSE_S: Final = 10.0
_THREADS: Final = 4
_NAME_CHARS_MAX: Final = 200
_NOT_GENUINE: Final = "this JWT is not genuine: its signature, key or form is not what the issuer's would be"


class _Keys(jwt.PyJWKClient):
    """The provider's keys; a provider that does not answer is left alone for a moment."""

    _failed_at = -_PAUSE_S

    def fetch_data(self) -> Any:  # noqa: ANN401 - as the library has it
        if time.monotonic() - self._failed_at < _PAUSE_S:
            raise PyJWKClientConnectionError("it did not answer a moment ago")
        try:
            return super().fetch_data()
        except (PyJWTError, ValueError) as error:
            self._failed_at = time.monotonic()
            log("warn", "The keys of the JWTs' issuer cannot be had", url=self.uri, error=str(error))
            raise PyJWKClientConnectionError(str(error)) from error


class Oidc:
    """Knows the JWTs of one issuer.

    Args:
        settings: the section `[api.oidc]`, with an issuer.
        cooldown_s: so long after the keys were fetched an unknown one does not make them fetched again, in seconds.
    """

    def __init__(self, settings: ApiOidc, *, cooldown_s: float = 30.0) -> None:
        self._settings = settings
        self._keys = _Keys(settings.jwks_url, timeout=_FETCH_TIMEOUT_S, cooldown_duration=cooldown_s)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="oidc")  # the provider's slowness stays here

    def takes(self, credential: str) -> bool:
        """Say whether this is to be a JWT."""
        return credential.count(".") == 2  # noqa: PLR2004 - header.claims.signature

    async def principal(self, credential: str) -> Principal:
        """Return whom a JWT is about. Raises CredentialError; NotReadyError if the provider does not answer."""
        claims = await asyncio.get_running_loop().run_in_executor(self._threads, self._claims, credential)
        return principal(claims, self._settings)

    def _claims(self, credential: str) -> dict[str, Any]:
        settings = self._settings
        try:
            if jwt.get_unverified_header(credential).get("alg") not in settings.algorithms:
                raise CredentialError(f"this JWT is not signed with {' or '.join(settings.algorithms)}")
            claims: dict[str, Any] = jwt.decode(
                credential,
                self._keys.get_signing_key_from_jwt(credential),
                algorithms=settings.algorithms,
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except PyJWKClientConnectionError as error:
            raise NotReadyError("the issuer of the JWT does not give its keys now: try again in a moment") from error
        except ExpiredSignatureError as error:
            raise CredentialError("this JWT has expired: log in again") from error
        except ImmatureSignatureError as error:
            raise CredentialError("this JWT is not valid yet: are the clocks right?") from error
        except InvalidAudienceError as error:
            raise CredentialError("this JWT is for somebody else: its `aud` is not this service's") from error
        except InvalidIssuerError as error:
            raise CredentialError("this JWT is of another issuer") from error
        except (PyJWKClientError, PyJWTError, ValueError, TypeError) as error:
            raise CredentialError(_NOT_GENUINE) from error
        return claims


def principal(claims: Mapping[str, Any], settings: ApiOidc) -> Principal:
    """Return whom these claims are about, and what they may. Raises CredentialError if they may do nothing here."""
    name = _at(claims, settings.name_claim)
    if not isinstance(name, str) or not name:
        raise CredentialError(f"this JWT has no claim {settings.name_claim}, which is to name somebody")
    roles = [settings.roles[one] for one in _texts(_at(claims, settings.role_claim)) if one in settings.roles]
    if not roles:
        raise CredentialError(f"nothing in the claim {settings.role_claim} of this JWT is a role here")
    tenant = ""
    if settings.tenant_claim:
        found = _at(claims, settings.tenant_claim)
        if not isinstance(found, str) or not found:
            raise CredentialError(f"this JWT has no claim {settings.tenant_claim}, which is to name the tenant")
        if not TENANT.fullmatch(found):
            raise CredentialError(f"the claim {settings.tenant_claim} of this JWT is no name of one tenant")
        tenant = found
    return Principal(
        name[:_NAME_CHARS_MAX],
        max(Role[one.upper()] for one in roles),
        services=_bound(claims, settings.services_claim),
        environments=_bound(claims, settings.environments_claim),
        tenant=tenant,
        token=f"{settings.issuer}#{claims['sub']}",
        expires_s=float(claims.get("exp", math.inf)) + _LEEWAY_S,
    )


def _bound(claims: Mapping[str, Any], path: str) -> frozenset[str] | None:
    """Return what somebody is bound to; None, to nothing in particular, only where no claim is asked for, or all is."""
    if not path:
        return None
    found = frozenset(_texts(_at(claims, path)))
    return None if "*" in found else found


def _at(claims: Mapping[str, Any], path: str) -> object:
    """Return what lies at a path; a name that has dots itself, as in `https://example.com/roles`, goes first."""
    if path in claims:
        return claims[path]
    found: object = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _texts(found: object) -> list[str]:
    if isinstance(found, str):
        return found.split()
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []
