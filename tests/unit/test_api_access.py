"""The door of the log API: who is let in, who is not, and what is written down of it."""

from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Request

from shipper.api import problems
from shipper.api.access import (
    Access,
    AccessMiddleware,
    CredentialError,
    NotReadyError,
    Visit,
    note,
    principal_of,
    require,
)
from shipper.api.principal import Principal, Role
from shipper.api.rates import Rates
from shipper.settings import Api

_PEOPLE = {role.name.lower(): Principal(role.name.lower(), role, token=role.name) for role in Role}


class Names:
    """A credential is the name of a role."""

    def takes(self, credential: str) -> bool:
        return credential != "stranger"

    async def principal(self, credential: str) -> Principal:
        if credential == "later":
            raise NotReadyError("not yet")
        if credential not in _PEOPLE:
            raise CredentialError("no such name")
        return _PEOPLE[credential]


class Door:
    """An app behind the door, and what the audit was told."""

    def __init__(self, **access: Any) -> None:  # noqa: ANN401 - what Access takes
        self.visits: list[Visit] = []
        app = FastAPI()
        problems.install(app)
        app.add_middleware(
            AccessMiddleware,
            access=Access(authenticators=[Names()], audit=lambda _, visit: self.visits.append(visit), **access),
        )

        @app.get("/healthz")
        def healthz() -> str:
            return "ok"

        @app.get("/unguarded")
        def unguarded() -> str:
            return "a route that forgot to name what it wants"

        @app.get("/logs")
        def logs(request: Request, who: Annotated[Principal, Depends(principal_of)]) -> str:
            note(request, lines=7)
            return who.name

        @app.get("/operators")
        def operators(who: Annotated[Principal, Depends(require(Role.OPERATOR))]) -> str:
            return who.name

        self._transport = httpx.ASGITransport(app, client=("192.0.2.7", 4711))

    async def get(self, path: str, *authorization: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=self._transport, base_url="http://log-api") as client:
            given = [(b"authorization", value.encode()) for value in authorization]
            return await client.get(path, headers=given)


pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    "path", ["/logs", "/operators", "/unguarded", "/docs", "/openapi.json", "/no/such", "/healthz/", "//healthz", "/"]
)
async def test_without_a_token_there_is_nothing_but_the_open_path(path: str) -> None:
    door = Door()
    answer = await door.get(path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await door.get("/healthz")).status_code == 200
    assert [visit.status for visit in door.visits] == [401], "open paths are not audited, refusals are"


@pytest.mark.parametrize(
    "authorization",
    [
        ("",),
        ("Bearer",),
        ("Bearer ",),
        ("viewer",),
        ("Basic viewer",),
        ("Bearer stranger",),
        ("Bearer nobody",),
        ("Bearer viewer", "Bearer admin"),
        ("Bearer " + "x" * 9_000,),
        ("Bearer ädmin",),
    ],
)
async def test_what_proves_nothing_is_refused_and_never_repeated(authorization: tuple[str, ...]) -> None:
    answer = await Door().get("/logs", *authorization)
    assert answer.status_code == 401
    assert "xxx" not in answer.text
    assert "nobody" not in answer.text


async def test_a_role_may_do_what_those_below_it_may_and_no_more() -> None:
    door = Door()
    may = {
        path: [name for name in _PEOPLE if (await door.get(path, f"Bearer {name}")).status_code == 200]
        for path in ("/logs", "/operators")
    }
    assert may == {"/logs": ["viewer", "operator", "admin"], "/operators": ["operator", "admin"]}
    refused = await door.get("/operators", "Bearer viewer")
    assert refused.status_code == 403
    assert "operator" in refused.text


async def test_a_route_that_did_not_come_through_the_door_is_refused() -> None:
    app = FastAPI()
    problems.install(app)

    @app.get("/logs")
    def logs(who: Annotated[Principal, Depends(principal_of)]) -> str:
        return who.name

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://log-api") as client:
        assert (await client.get("/logs", headers={"authorization": "Bearer admin"})).status_code == 401


async def test_the_audit_is_told_who_from_where_and_what_the_route_noted() -> None:
    door = Door()
    await door.get("/logs", "Bearer viewer")
    visit = door.visits[0]
    assert visit.principal is not None
    assert (visit.principal.name, visit.client, visit.status, visit.facts) == ("viewer", "192.0.2.7", 200, {"lines": 7})
    assert visit.bytes_sent == len('"viewer"')


async def test_who_asks_too_often_is_told_when_to_come_back() -> None:
    door = Door(limit=lambda who, _: 2.5 if who.name == "viewer" else 0.0)
    answer = await door.get("/logs", "Bearer viewer")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    assert (await door.get("/logs", "Bearer operator")).status_code == 200


async def test_refusals_are_audited_once_a_minute_and_an_issuer_that_is_away_floods_no_audit() -> None:
    rates = Rates(Api(requests_per_minute=2, failures_per_minute=3))
    door = Door(limit=rates.of_principal, refusals=rates.of_refusals, failures=rates.of_failures)
    statuses = [(await door.get("/logs", "Bearer viewer")).status_code for _ in range(9)]
    assert statuses == [200] * 2 + [429] * 7
    assert [visit.status for visit in door.visits] == [200, 200, 429]
    assert {(await door.get("/logs", "Bearer later")).status_code for _ in range(9)} == {503}
    assert [visit.status for visit in door.visits].count(503) == 3


def test_the_processes_of_a_service_share_a_token_and_no_limit_across_hosts() -> None:
    rates = Rates(Api(requests_per_minute=2))
    library, viewer = (Principal("chat-service", role, token=role.name) for role in (Role.SERVICE, Role.VIEWER))
    waits = [[rates.of_principal(who, f"192.0.2.{n}") for n in range(4)] for who in (library, viewer)]
    assert [[bool(one) for one in of] for of in waits] == [[False] * 4, [False, False, True, True]]


async def test_failures_beyond_their_limit_are_neither_told_nor_audited() -> None:
    door = Door(failures=lambda _: 9.0)
    assert (await door.get("/logs", "Bearer nobody")).status_code == 429
    assert (await door.get("/logs", "Bearer viewer")).status_code == 200, "who is known is not locked out by others"
    assert [visit.status for visit in door.visits] == [200]


async def test_what_cannot_be_known_yet_is_503_and_no_refusal() -> None:
    answer = await Door().get("/logs", "Bearer later")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
