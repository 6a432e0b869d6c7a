"""What the traffic generator's people do at the gateway, request by request, and what must be told of it."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import httpx

from examples.chat import AUTH, CHAT, GATEWAY, NOTIFICATION, USER, faults
from examples.chat.report import Event, Report, Sent

_MS: Final = 1_000
_TIMEOUT_S: Final = 120.0
MESSAGES: Final = "/v1/rooms/{room}/messages"
ME: Final = "/v1/users/me"
_SERVICE_OF: Final = {"auth": AUTH, "user": USER, "chat": CHAT}


@dataclass
class Person:
    """Somebody with an account."""

    name: str
    password: str
    address: str
    token: str = ""
    logging_in: asyncio.Lock = field(default_factory=asyncio.Lock)


class Answer(NamedTuple):
    """What the gateway answered."""

    request_id: str
    body: Any


class UnexpectedAnswerError(Exception):
    """The gateway answered otherwise than the traffic generator knows: what it says of its traffic would be wrong."""


class Visitor:
    """Asks the gateway, and keeps the report.

    Args:
        client: for the gateway.
        report: what is added to.
        on_progress: is told how many requests have been answered, after each.
    """

    def __init__(self, client: httpx.AsyncClient, report: Report, on_progress: Callable[[int], None]) -> None:
        self._client, self._report, self._on_progress = client, report, on_progress
        self._run = secrets.token_hex(3)
        self._people = 0

    # --- what is asked

    async def register(self) -> Person:
        """Make an account."""
        self._people += 1
        name = f"{self._run}-{self._people}"
        address = f"203.0.113.{self._people % 250 + 1}"  # of the addresses that are kept for examples
        person = Person(name, self.new_secret("pw"), address)
        body = {
            "name": name,
            "password": person.password,
            "email": f"{name}@mail.example",
            "displayName": f"Person {name}",
        }
        self._report.personal.update((body["email"], body["displayName"]))
        await self.ask("POST", "/v1/users", 201, calls=("user", "auth"), body=body)
        self.told(USER, "user_registered", "success")
        return person

    async def register_again(self, person: Person) -> None:
        """Ask for a name that is taken."""
        body = {"name": person.name, "password": person.password, "email": f"{self._run}@x.example", "displayName": "X"}
        await self.ask("POST", "/v1/users", 409, calls=("user",), body=body)
        self.told(USER, "user_registered", "failure", "taken")

    async def login(self, person: Person, *, lifetime_s: int = 3_600) -> str:
        """Log in; returns the token."""
        body = {"user": person.name, "password": person.password, "lifetimeS": lifetime_s}
        answer = await self._login(body, 200, person.address)
        self.told(AUTH, "login", "success")
        token: str = answer.body["token"]
        self._report.secrets.add(token)
        return token

    async def fail_to_login(self, name: str, reason: str, address: str) -> None:
        """Log in with a password that is wrong, or into an account that is not there, or locked."""
        body = {"user": name, "password": self.new_secret("wrong")}
        await self._login(body, 423 if reason == "locked" else 401, address)
        self.told(AUTH, "login", "failure", reason)

    async def login_badly_put(self) -> None:
        """Send a password in a form that is not understood."""
        body = {"user": f"{self._run}-0", "password": [self.new_secret("pw")]}
        await self._login(body, 422, "203.0.113.254")
        self.told(AUTH, "request_refused")

    async def _login(self, body: dict[str, Any], status: int, address: str) -> Answer:
        headers = {"x-forwarded-for": address}
        return await self.ask("POST", "/v1/login", status, calls=("auth",), body=body, headers=headers)

    async def refused(self, token: str | None, reason: str) -> None:
        """Ask with a token that is not good."""
        # A token in the query is a client's mistake: no record may have that either.
        query = {"token": self.new_secret("tok")}
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        await self.ask("GET", ME, 401, calls=("auth",), headers=headers, query=query)
        self.told(GATEWAY, "request")
        self.told(AUTH, "token_check", "failure", reason)

    async def read_me(self, person: Person, fault: str = "", *, failures: Sequence[str] = ()) -> None:
        """Read one's own profile; `failures` are the reasons for which the user service is asked again."""
        await self.ask("GET", ME, 200, calls=("auth", *("user" for _ in failures), "user"), failures=failures,
                       person=person, fault=fault)  # fmt: skip

    async def fail_to_read_me(self, person: Person) -> None:
        """Read it when the gateway itself makes a mistake."""
        await self.ask("GET", ME, 500, calls=("auth",), person=person, fault="gateway:exception")
        self._report.exceptions[GATEWAY] += 1

    async def change_me(self, person: Person) -> None:
        """Change one's own profile."""
        name = f"Person {secrets.token_hex(6)}"
        self._report.personal.add(name)
        await self.ask("PATCH", ME, 200, calls=("auth", "user"), person=person, body={"displayName": name})
        self.told(USER, "user_changed", "success")

    async def read(self, person: Person, room: str, fault: str = "") -> None:
        """Read a room, and become a member."""
        await self.ask("GET", MESSAGES, 200, calls=("auth", "chat"), person=person, room=room, fault=fault)

    async def say(
        self,
        person: Person,
        room: str,
        text: str,
        *,
        members: int,
        fault: str = "",
        told: Iterable[tuple[str, str | None]] = (("success", None),),
        failure: str = "",
    ) -> str:
        """Say something in a room; returns the request's ID.

        Args:
            person: a member.
            room: which room.
            text: what is said.
            members: how many the room has.
            fault: what goes wrong.
            told: (outcome, reason) of the records of each recipient's notification.
            failure: why the gateway hears nothing good from chat; empty if it does.
        """
        stored = failure in ("", "timeout")  # who answers too late has done it all the same
        status = {"": 201, "timeout": 504, "status": 502}[failure]
        answer = await self.ask(
            "POST", MESSAGES, status, calls=("auth", "user", "chat"), failures=[failure] if failure else (),
            person=person, room=room, body={"text": text}, fault=fault, more=(NOTIFICATION,) if stored else (),
        )  # fmt: skip
        if stored:
            self.told(CHAT, "message_stored", "success")
            self.told(CHAT, "message_published", "success")
            for outcome, reason in told:
                self.told(NOTIFICATION, "notification", outcome, reason, times=members - 1)
        return answer.request_id

    async def lose_the_way(self) -> None:
        """Ask for what is not there."""
        await self.ask("GET", None, 404, calls=())

    # --- how it is asked, and what is kept of it

    def new_secret(self, kind: str) -> str:
        """Make up a text that must not be found anywhere, and remember it."""
        secret = f"{kind}-{secrets.token_hex(12)}"
        self._report.secrets.add(secret)
        return secret

    def told(self, service: str, event: str, outcome: str | None = None, reason: str | None = None, *,
             times: int = 1) -> None:  # fmt: skip
        """Remember that a service must have told of this."""
        self._report.events[Event(service, event, outcome, reason)] += times

    async def ask(
        self,
        method: str,
        route: str | None,
        status: int,
        *,
        calls: Sequence[str],
        failures: Sequence[str] = (),
        more: Sequence[str] = (),
        person: Person | None = None,
        room: str = "",
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        fault: str = "",
    ) -> Answer:
        """Ask.

        Args:
            method: GET, POST, …
            route: its template.
            status: what must be answered.
            calls: the services that the gateway asks, in order.
            failures: why calls to the last of them fail.
            more: services that hear of it by Kafka.
            person: who asks.
            room: for the route.
            body: as JSON.
            headers: beside the token.
            query: behind the `?`.
            fault: what goes wrong.

        Raises: UnexpectedAnswerError.
        """
        sending = {faults.HEADER: fault, **(headers or {})}
        if person is not None:
            sending["authorization"] = f"Bearer {person.token}"
            self.told(GATEWAY, "request")
            self.told(AUTH, "token_check", "success")
        for reason in failures:
            self.told(GATEWAY, "upstream_call", "failure", reason)
        self.told(GATEWAY, "upstream_call", "success", times=len(calls) - len(failures))
        url = "/nothing/here" if route is None else route.replace("{room}", room)
        began_s = time.perf_counter()
        answer = await self._client.request(method, url, json=body, headers=sending, params=query, timeout=_TIMEOUT_S)
        latency_ms = (time.perf_counter() - began_s) * _MS
        if answer.status_code != status:
            raise UnexpectedAnswerError(f"{method} {url} {fault}: {answer.status_code}, not {status}: {answer.text}")
        services = frozenset((GATEWAY, *(_SERVICE_OF[name] for name in calls), *more))
        sent = Sent(answer.headers["x-request-id"], method, route, status, latency_ms, services)
        self._report.requests.append(sent)
        self._on_progress(len(self._report.requests))
        return Answer(sent.request_id, answer.json())
