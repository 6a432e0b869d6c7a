"""Drives the gateway with traffic as it comes, mistakes included, and knows exactly what it did.

    report = traffic.run("http://127.0.0.1:4000", requests=500)
    report.answered()["POST", "/v1/login", 401]
    report.count("notification-service", "notification", "retry")

Every kind of journey below is taken at least once; then they come as often as they say.
"""

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

import httpx

from examples.chat import CHAT, USER
from examples.chat.report import Report
from examples.chat.visitor import Person, UnexpectedAnswerError, Visitor

__all__ = ["Report", "UnexpectedAnswerError", "run"]

MEMBERS: Final = 3
_PEOPLE: Final = 6
_ROOMS: Final = 4
_AT_ONCE: Final = 8
_CARDS: Final = ("4111 1111 1111 1111", "5500-0000-0000-0004", "340000000000009")

Progress = Callable[[int], None]
"""Takes how many requests have been answered."""


def run(
    url: str,
    *,
    requests: int = 300,
    seed: int = 1,
    rate_per_s: float = 0.0,
    at_once: int = _AT_ONCE,
    journeys: Collection[str] = (),
    on_progress: Progress | None = None,
) -> Report:
    """Drive traffic, and say what it was.

    Args:
        url: of the gateway; the services must have CHAT_FAULTS=1, as `Stack` starts them.
        requests: at least so many, some more for whole journeys; each kind of journey needs about 60 in all.
        seed: decides what is done, in which order.
        rate_per_s: requests per second on average; 0: as fast as it goes.
        at_once: how many people are on their way at once.
        journeys: only these, by the names that they have below, as `attack`; all by default.
        on_progress: is told of each answer.

    Raises: UnexpectedAnswerError if the services do otherwise than they should; httpx.TransportError if they are away;
        ValueError if no journey has such a name.
    """
    if unknown := set(journeys) - {journey.go.__name__ for journey in _JOURNEYS}:
        raise ValueError(f"no journey is called {', '.join(sorted(unknown))}")
    chosen = [journey for journey in _JOURNEYS if not journeys or journey.go.__name__ in journeys]
    told = on_progress or (lambda _: None)
    return asyncio.run(_Traffic(seed, chosen, told).run(url, requests, rate_per_s, at_once))


class _Traffic:
    """One run: people, rooms, and what they do next."""

    def __init__(self, seed: int, journeys: "Sequence[_Journey]", on_progress: Progress) -> None:
        self._journeys = journeys
        self._random = random.Random(seed)  # noqa: S311 - no secret comes of it
        self._report = Report()
        self._on_progress = on_progress
        self._people: list[Person] = []
        self._rooms: dict[str, list[Person]] = {}

    async def run(self, url: str, requests: int, rate_per_s: float, at_once: int) -> Report:
        """Drive it."""
        self._report.began_ns = time.time_ns()
        limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
        async with httpx.AsyncClient(base_url=url, limits=limits, trust_env=False) as client:
            visitor = Visitor(client, self._report, self._on_progress)
            await self._move_in(visitor)
            waiting = self._planned(requests - len(self._report.requests))
            began_s, started = time.monotonic(), 0

            async def travel() -> None:
                nonlocal started
                while waiting:
                    journey = waiting.pop()
                    due_s = began_s + started / rate_per_s if rate_per_s else 0.0
                    started += journey.requests
                    await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                    await journey.go(self, visitor)

            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(at_once):
                        group.create_task(travel())
            except ExceptionGroup as errors:  # what made the others end comes first
                raise errors.exceptions[0] from None
        self._report.events = +self._report.events
        self._report.ended_ns = time.time_ns()
        return self._report

    async def _move_in(self, visitor: Visitor) -> None:
        for _ in range(_PEOPLE):
            person = await visitor.register()
            person.token = await visitor.login(person)
            self._people.append(person)
        for number in range(_ROOMS):
            room = f"room-{secrets.token_hex(3)}"
            self._rooms[room] = [self._people[(number + i) % _PEOPLE] for i in range(MEMBERS)]
            for person in self._rooms[room]:
                await visitor.read(person, room)

    def _planned(self, requests: int) -> "list[_Journey]":
        """Return journeys of so many requests, to be taken from the end."""
        planned = list(self._journeys)
        self._random.shuffle(planned)
        left = requests - sum(journey.requests for journey in planned)
        weights = [journey.weight for journey in self._journeys]
        while left > 0:
            (journey,) = self._random.choices(self._journeys, weights)
            planned.append(journey)
            left -= journey.requests
        self._random.shuffle(planned)
        return planned

    # --- journeys

    def _anybody(self) -> Person:
        return self._random.choice(self._people)

    async def _say(self, visitor: Visitor, text: str = "See you at eight", **asked: object) -> str:
        room = self._random.choice(list(self._rooms))
        return await visitor.say(self._random.choice(self._rooms[room]), room, text, members=MEMBERS, **asked)  # type: ignore[arg-type] # as `say` has them

    async def message(self, visitor: Visitor) -> None:
        """A message that reaches everybody."""
        self._report.followed = await self._say(visitor)

    async def message_with_secrets(self, visitor: Visitor) -> None:
        """Somebody sends a card number and a password: they are stored, and must not be logged."""
        await self._say(visitor, self._indiscreet(visitor))

    def _indiscreet(self, visitor: Visitor) -> str:
        card = self._random.choice(_CARDS)
        self._report.secrets.add(card)
        token = self._anybody().token
        return f"my card is {card}, password={visitor.new_secret('pw')}, bearer {token}"

    async def reading(self, visitor: Visitor) -> None:
        """A room is read."""
        room = self._random.choice(list(self._rooms))
        await visitor.read(self._random.choice(self._rooms[room]), room)

    async def profile(self, visitor: Visitor) -> None:
        """Somebody looks at the own profile, and changes it."""
        person = self._anybody()
        await visitor.read_me(person)
        await visitor.change_me(person)

    async def newcomer(self, visitor: Visitor) -> None:
        """Somebody registers, and looks."""
        person = await visitor.register()
        person.token = await visitor.login(person)
        await visitor.read_me(person)

    async def name_taken(self, visitor: Visitor) -> None:
        """Somebody wants another one's name."""
        await visitor.register_again(self._anybody())

    async def mistyped(self, visitor: Visitor) -> None:
        """A wrong password, then the right one."""
        person = self._anybody()
        async with person.logging_in:
            await visitor.fail_to_login(person.name, "bad_password", person.address)
            await visitor.login(person)

    async def nobody(self, visitor: Visitor) -> None:
        """A login of somebody whom nobody knows."""
        await visitor.fail_to_login(f"nobody-{secrets.token_hex(4)}", "unknown_user", "198.51.100.23")

    async def attack(self, visitor: Visitor) -> None:
        """Passwords are tried until the account is locked."""
        person, address = await visitor.register(), "198.51.100.7"
        for _ in range(5):
            await visitor.fail_to_login(person.name, "bad_password", address)
        visitor.told("auth-service", "lockout")
        self._report.locked_from.add(address)
        await visitor.fail_to_login(person.name, "locked", address)

    async def badly_put(self, visitor: Visitor) -> None:
        """A login that cannot be understood."""
        await visitor.login_badly_put()

    async def bad_tokens(self, visitor: Visitor) -> None:
        """No token, one that is none, and one that has expired."""
        await visitor.refused(None, "missing")
        await visitor.refused(visitor.new_secret("tok"), "invalid")
        person = self._anybody()
        async with person.logging_in:
            await visitor.refused(await visitor.login(person, lifetime_s=0), "expired")

    async def lost(self, visitor: Visitor) -> None:
        """What there is not."""
        await visitor.lose_the_way()

    async def slow(self, visitor: Visitor) -> None:
        """A service behind the gateway is slow."""
        await visitor.read_me(self._anybody(), self._random.choice(("auth:slow", "user:slow")))
        await self._say(visitor, fault="chat:slow")

    async def stuck(self, visitor: Visitor) -> None:
        """The user service answers too late once, and is asked again."""
        await visitor.read_me(self._anybody(), "user:stuck*1", failures=("timeout",))

    async def stuck_message(self, visitor: Visitor) -> None:
        """The chat service answers too late: the sender hears of a failure, the others get the message."""
        await self._say(visitor, fault="chat:stuck", failure="timeout")

    async def unavailable(self, visitor: Visitor) -> None:
        """The user service is out of order once, and is asked again; a message is not repeated."""
        await visitor.read_me(self._anybody(), "user:unavailable*1", failures=("status",))
        await self._say(visitor, fault="chat:unavailable", failure="status")

    async def exceptions(self, visitor: Visitor) -> None:
        """Nobody has expected these; one of them has a text with secrets in its message."""
        await visitor.read_me(self._anybody(), "user:exception*1", failures=("status",))
        self._report.exceptions[USER] += 1
        await self._say(visitor, self._indiscreet(visitor), fault="chat:exception", failure="status")
        self._report.exceptions[CHAT] += 1
        await visitor.fail_to_read_me(self._anybody())

    async def provider_fails_for_a_while(self, visitor: Visitor) -> None:
        """The provider of notifications fails, and does what it should when it is asked again."""
        kind = self._random.choice(("provider_timeout", "provider_throttled"))
        times = self._random.choice((1, 2))
        told = [*[("retry", kind)] * times, ("success", None)]
        await self._say(visitor, fault=f"notification:{kind}*{times}", told=told)

    async def provider_fails(self, visitor: Visitor) -> None:
        """The provider rejects, or does not answer at all."""
        await self._say(visitor, fault="notification:provider_rejected", told=[("failure", "provider_rejected")])
        told = [*[("retry", "provider_timeout")] * 2, ("failure", "provider_timeout")]
        await self._say(visitor, fault="notification:provider_timeout", told=told)


@dataclass(frozen=True)
class _Journey:
    """One of those above: of how many requests it is, and how often it is taken."""

    go: Callable[[_Traffic, Visitor], Awaitable[None]]
    requests: int
    weight: float


_JOURNEYS: Final = (
    _Journey(_Traffic.message, 1, 40),
    _Journey(_Traffic.message_with_secrets, 1, 3),
    _Journey(_Traffic.reading, 1, 30),
    _Journey(_Traffic.profile, 2, 10),
    _Journey(_Traffic.newcomer, 3, 3),
    _Journey(_Traffic.name_taken, 1, 1),
    _Journey(_Traffic.mistyped, 2, 4),
    _Journey(_Traffic.nobody, 1, 2),
    _Journey(_Traffic.attack, 7, 0.5),
    _Journey(_Traffic.badly_put, 1, 1),
    _Journey(_Traffic.bad_tokens, 4, 1),
    _Journey(_Traffic.lost, 1, 1),
    _Journey(_Traffic.slow, 2, 2),
    _Journey(_Traffic.stuck, 1, 0.3),
    _Journey(_Traffic.stuck_message, 1, 0.3),
    _Journey(_Traffic.unavailable, 2, 1),
    _Journey(_Traffic.exceptions, 3, 1),
    _Journey(_Traffic.provider_fails_for_a_while, 1, 3),
    _Journey(_Traffic.provider_fails, 2, 1),
)
