"""Who may come in: everything is refused but the open paths, until somebody has proved who they are.

    request ─▶ AccessMiddleware: credential ─▶ Authenticator ─▶ Principal ─▶ rate limit ─▶ the app ─▶ audit
                     │ 401, 429                                               └ require(Role): 403

A route names what it wants: `principal: Annotated[Principal, Depends(require(Role.OPERATOR))]`, or `principal_of` for
everybody who may read logs. A route that names nothing is still behind the middleware.
"""

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Protocol

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servicelog import propagate
from shipper.api.principal import Principal, Role
from shipper.api.problems import RETRY_AFTER_S, Problem, respond

OPEN_PATHS = frozenset({"/healthz"})
"""What is answered to everybody."""

_CREDENTIAL_CHARS_MAX = 8_192
_WRONG = 400
_CHALLENGE = 'Bearer realm="shipper"'


class CredentialError(Exception):
    """A credential proves nothing; the sentence may be shown to whoever sent it, and holds nothing of it."""


class NotReadyError(Exception):
    """Whether a credential is good cannot be known now; the sentence says why."""


class Authenticator(Protocol):
    """Knows one kind of credential."""

    def takes(self, credential: str) -> bool:
        """Say whether this has the form of such a credential; nothing is checked yet."""

    async def principal(self, credential: str) -> Principal:
        """Return who proves themselves with it. Raises CredentialError, or NotReadyError."""


@dataclass(slots=True, kw_only=True)
class Visit:
    """One request, as the audit tells of it.

    Attributes:
        client: the address that it came from.
        request_id: what the caller calls it, or a new name; it is in the answer's `X-Request-ID`.
        principal: who asks; None: nobody that we know.
        refusal: why it was refused at the door, in words.
        status: of the answer; 0: there was none.
        bytes_sent: of the answer's body.
        duration_s: from the first line to the last byte.
        facts: what the route has told of itself with `note`.
        is_stream: whether the answer may last for hours; its beginning is audited too.
        why_over: says why whoever asks may ask no longer; empty: they still may.
    """

    client: str
    request_id: str = ""
    principal: Principal | None = None
    refusal: str = ""
    status: int = 0
    bytes_sent: int = 0
    duration_s: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    is_stream: bool = False
    why_over: Callable[[], Awaitable[str]] | None = None


Limiter = Callable[[Principal, str], float]
"""Counts a request, by who asks and the client's address; the seconds until the next is permitted, 0 if this one is."""

Failures = Callable[[str], float]
"""Counts a credential that failed, by the client's address; the seconds to wait, 0 if it may be told and audited."""

Audit = Callable[[Scope, Visit], None]
"""Writes a visit down. It must neither block nor raise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What the door asks.

    Attributes:
        authenticators: asked in order; the first that takes a credential decides.
        limit: the rate limit of a principal.
        refusals: the rate limit of telling the audit that `limit` refused somebody.
        failures: the rate limit of failures.
        audit: is told of each visit but those of open paths.
        open_paths: what is answered to everybody.
    """

    authenticators: Sequence[Authenticator]
    limit: Limiter = lambda _who, _client: 0.0
    refusals: Limiter = lambda _who, _client: 0.0
    failures: Failures = lambda _: 0.0
    audit: Audit = lambda _scope, _visit: None
    open_paths: frozenset[str] = OPEN_PATHS

    async def principal(self, authorization: Sequence[str]) -> Principal:
        """Return who asks. Raises CredentialError with the reason, or NotReadyError.

        Args:
            authorization: the values of all headers Authorization.
        """
        if not authorization:
            raise CredentialError("a token is needed, in the header `Authorization: Bearer …`")
        if len(authorization) > 1:
            raise CredentialError("there is more than one header Authorization: send one")
        scheme, _, credential = authorization[0].partition(" ")
        if scheme.lower() != "bearer" or not credential or not credential.isascii():
            raise CredentialError("the header Authorization is to be `Bearer`, a space, and the token")
        if len(credential) > _CREDENTIAL_CHARS_MAX:
            raise CredentialError(f"the token is longer than {_CREDENTIAL_CHARS_MAX} characters")
        for authenticator in self.authenticators:
            if authenticator.takes(credential):
                return await authenticator.principal(credential)
        raise CredentialError("the token is of no kind that is known here")

    async def why_over(self, authorization: Sequence[str], principal: Principal) -> str:
        """Say why somebody who was let in may stay no longer; empty: they may."""
        if time.time() >= principal.expires_s:
            return "the token has expired"
        try:
            found = await self.principal(authorization)
        except CredentialError as error:
            return str(error)
        except NotReadyError:  # it was good, and is not over
            return ""
        return "" if found == principal else "what the token gives a right to has changed"


class AccessMiddleware:
    """Lets nobody in who has not proved who they are, counts who comes, and has each visit written down."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        is_open = scope["type"] == "http" and path in self._access.open_paths
        if is_open or scope["type"] == "lifespan":
            scope.setdefault("state", {})["is_open"] = is_open
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no route of ours is a WebSocket
            await send({"type": "websocket.close", "code": 1008})
            return
        await self._visit(scope, receive, send)

    async def _visit(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.monotonic()
        given = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request_id = str(propagate.taken_over(given)["requestId"])
        visit = Visit(client=scope["client"][0] if scope.get("client") else "", request_id=request_id)
        scope.setdefault("state", {})["visit"] = visit

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                name = (propagate.REQUEST_ID.encode(), request_id.encode("latin-1"))
                message = {**message, "headers": [*message.get("headers", ()), name]}
                if visit.is_stream and visit.status < _WRONG:
                    visit.facts["stream"] = "begins"
                    self._access.audit(scope, visit)
                    visit.facts["stream"] = "ends"
            else:
                visit.bytes_sent += len(message.get("body", b""))
            await send(message)

        tell = True
        try:
            refusal = await self._refusal(scope, visit)
            if refusal is None:
                await self._app(scope, receive, sent)
            else:
                tell = refusal.audited
                await respond(Request(scope), refusal.problem)(scope, receive, sent)
        finally:
            visit.duration_s = time.monotonic() - started
            if tell:
                self._access.audit(scope, visit)

    async def _refusal(self, scope: Scope, visit: Visit) -> "_Refusal | None":
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]
        try:
            visit.principal = await self._access.principal(given)
            visit.why_over = partial(self._access.why_over, given, visit.principal)
        except CredentialError as error:
            visit.refusal = str(error)
            if wait_s := self._access.failures(visit.client):
                return _Refusal(_too_many(wait_s), audited=False)
            challenge = f'{_CHALLENGE}, error="invalid_token"' if given else _CHALLENGE
            return _Refusal(unauthenticated(str(error), challenge))
        except NotReadyError as error:
            visit.refusal = str(error)
            retry = {"Retry-After": str(RETRY_AFTER_S)}
            audited = not self._access.failures(visit.client)
            return _Refusal(Problem(503, "not-ready", str(error), headers=retry), audited=audited)
        if wait_s := self._access.limit(visit.principal, visit.client):
            visit.refusal = "rate limit"
            return _Refusal(_too_many(wait_s), audited=not self._access.refusals(visit.principal, visit.client))
        return None


@dataclass(frozen=True, slots=True)
class _Refusal:
    problem: Problem
    audited: bool = True


def unauthenticated(detail: str, challenge: str = _CHALLENGE) -> Problem:
    """Return the problem of somebody who has not proved who they are."""
    return Problem(401, "unauthenticated", detail, headers={"WWW-Authenticate": challenge})


def _too_many(wait_s: float) -> Problem:
    seconds = math.ceil(wait_s)
    detail = f"too many requests: ask again in {seconds} s"
    return Problem(429, "too-much", detail, headers={"Retry-After": str(seconds)})


BEARER = HTTPBearer(
    auto_error=False, description="A token of `shipper api token create`, or a JWT of the configured issuer."
)


def visit_of(request: Request) -> Visit:
    """Return what is known of a request so far. Raises Problem 401 if it did not come through the door."""
    visit = getattr(request.state, "visit", None)
    if not isinstance(visit, Visit):
        raise unauthenticated("nobody has looked who asks")
    return visit


def require(role: Role) -> Callable[..., Awaitable[Principal]]:
    """Return a dependency that gives who asks, and refuses those who may not: 401, 403."""

    async def permitted(
        request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)] = None
    ) -> Principal:
        principal = visit_of(request).principal
        if principal is None:
            raise unauthenticated("nobody has proved who asks")
        if principal.role < role:
            raise Problem(
                403,
                "forbidden",
                f"this needs the role {role.name.lower()}, and {principal.name} has the role "
                f"{principal.role.name.lower()}",
            )
        return principal

    return permitted


principal_of = require(Role.VIEWER)
"""Gives whoever may read logs."""


async def unless_open(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)] = None
) -> None:
    """Let in whoever may read logs, and everybody where the configuration makes the path public."""
    if not getattr(request.state, "is_open", False):
        await principal_of(request)


def note(request: Request, **facts: object) -> None:
    """Tell the audit what a request did: `note(request, lines=17, start="…", end="…")`; never anything secret."""
    visit_of(request).facts.update(facts)
