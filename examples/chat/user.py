"""Users: who they are. Its records name users and the fields that changed, never what is personal."""

import os
import secrets
import sqlite3
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, HTTPException

import servicelog
from examples.chat import USER, faults
from examples.chat.service import Body, new_api, serve

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS users (
    id TEXT PRIMARY KEY, name TEXT UNIQUE NOT NULL, email TEXT NOT NULL, display_name TEXT NOT NULL
)
"""

_log = servicelog.get_logger("Users")


class NewUser(Body):
    """Who registers."""

    name: str
    email: str
    display_name: str


class Change(Body):
    """What a user changes; None stays as it is."""

    email: str | None = None
    display_name: str | None = None


def _read(database: sqlite3.Connection, user: str) -> dict[str, str]:
    row = database.execute("SELECT name, email, display_name FROM users WHERE id = ?", (user,)).fetchone()
    if row is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "there is no such user")
    return {"id": user, "name": row[0], "email": row[1], "displayName": row[2]}


def make_api() -> FastAPI:
    """Return the application, on the database that DATABASE names: in memory by default."""
    api = new_api("user")
    database = sqlite3.connect(os.environ.get("DATABASE", ":memory:"), isolation_level=None, check_same_thread=False)
    database.execute(_SCHEMA)

    @api.post("/v1/users", status_code=HTTPStatus.CREATED)
    async def register(new: NewUser) -> dict[str, str]:
        user = f"usr_{secrets.token_hex(4)}"
        try:
            database.execute("INSERT INTO users VALUES (?, ?, ?, ?)", (user, new.name, new.email, new.display_name))
        except sqlite3.IntegrityError:
            _log.warn("User registered", event="user_registered", outcome="failure", reason="taken")
            raise HTTPException(HTTPStatus.CONFLICT, "the name is taken") from None
        servicelog.bind(userId=user)
        _log.info("User registered", event="user_registered", outcome="success")
        return {"id": user, "name": new.name}

    @api.get("/v1/users/{user}")
    async def read(user: str) -> dict[str, str]:
        servicelog.bind(userId=user)
        found = _read(database, user)
        if faults.wanted("user") == "exception":
            try:
                found["email"].index("#")
            except ValueError as error:
                raise RuntimeError("the profile cannot be shown") from error
        return found

    @api.patch("/v1/users/{user}")
    async def change(user: str, change: Change) -> dict[str, str]:
        servicelog.bind(userId=user)
        _read(database, user)
        changes = change.model_dump(exclude_none=True)
        for column, value in changes.items():
            database.execute(f"UPDATE users SET {column} = ? WHERE id = ?", (value, user))  # noqa: S608 - a field above
        names = sorted(change.model_dump(exclude_none=True, by_alias=True))
        _log.info("User changed", event="user_changed", outcome="success", changedFields=names)
        return _read(database, user)

    return api


if __name__ == "__main__":
    serve(USER, make_api)
