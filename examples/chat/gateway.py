"""The API gateway: who asks, and which services answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Request

import servicelog
from examples.chat import GATEWAY, faults
from examples.chat.service import new_api, serve
from examples.chat.upstream import Upstreams

_FORWARDED_FOR: Final = "x-forwarded-for"

_log = servicelog.get_logger("Gateway")

Json = dict[str, Any]


@asynccontextmanager
async def _open(api: FastAPI) -> AsyncIterator[None]:
    async with Upstreams() as upstreams:
        api.state.upstreams = upstreams
        yield


def _upstreams(request: Request) -> Upstreams:
    found: Upstreams = request.app.state.upstreams
    return found


Behind = Annotated[Upstreams, Depends(_upstreams)]


async def _caller(request: Request, behind: Behind) -> str:
    """Have the token checked; returns whose it is, and binds it to the request."""
    # What a client sends is worth a look when it cannot log in. The library takes its credentials out.
    _log.debug("Request came in", event="request", headers=dict(request.headers))
    credential = {name: value for name, value in request.headers.items() if name == "authorization"}
    user: str = (await behind.call("auth", "GET", "/v1/verify", headers=credential))["id"]
    servicelog.bind(userId=user)
    return user


Caller = Annotated[str, Depends(_caller)]


def make_api() -> FastAPI:
    """Return the application."""
    api = new_api("gateway", _open)

    @api.post("/v1/login")
    async def login(request: Request, behind: Behind, body: Json) -> Any:  # noqa: ANN401 - as it was answered
        # Behind a load balancer it says who asks; without one, the connection does.
        peer = request.client.host if request.client else ""
        source = {_FORWARDED_FOR: request.headers.get(_FORWARDED_FOR, peer)}
        return await behind.call("auth", "POST", "/v1/login", body=body, headers=source)

    @api.post("/v1/users", status_code=HTTPStatus.CREATED)
    async def register(behind: Behind, body: Json) -> Any:  # noqa: ANN401 - the same
        password = body.pop("password", None)
        user = await behind.call("user", "POST", "/v1/users", body=body)
        servicelog.bind(userId=user["id"])
        credential = {"name": user["name"], "password": password}
        await behind.call("auth", "PUT", "/v1/credentials/{user}", body=credential, user=user["id"])
        return user

    @api.get("/v1/users/me")
    async def read_me(behind: Behind, caller: Caller) -> Any:  # noqa: ANN401 - the same
        if faults.wanted("gateway") == "exception":
            raise LookupError(f"no view is made for {caller}")
        return await behind.call("user", "GET", "/v1/users/{user}", user=caller)

    @api.patch("/v1/users/me")
    async def change_me(behind: Behind, caller: Caller, body: Json) -> Any:  # noqa: ANN401 - the same
        return await behind.call("user", "PATCH", "/v1/users/{user}", body=body, user=caller)

    @api.post("/v1/rooms/{room}/messages", status_code=HTTPStatus.CREATED)
    async def send(room: str, behind: Behind, caller: Caller, body: Json) -> Any:  # noqa: ANN401 - the same
        servicelog.bind(conversationId=room)
        author = (await behind.call("user", "GET", "/v1/users/{user}", user=caller))["displayName"]
        message = {**body, "userId": caller, "author": author}
        return await behind.call("chat", "POST", "/v1/rooms/{room}/messages", body=message, room=room)

    @api.get("/v1/rooms/{room}/messages")
    async def read(room: str, behind: Behind, caller: Caller) -> Any:  # noqa: ANN401 - the same
        servicelog.bind(conversationId=room)
        return await behind.call("chat", "GET", "/v1/rooms/{room}/messages", query={"userId": caller}, room=room)

    return api


if __name__ == "__main__":
    serve(GATEWAY, make_api)
