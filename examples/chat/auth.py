"""Auth: passwords, locks and tokens. Its records say what happened and from where, never a credential."""

import hashlib
import hmac
import os
import secrets
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Final

import jwt
from fastapi import FastAPI, Header, HTTPException, Response

import servicelog
from examples.chat import AUTH
from examples.chat.service import Body, new_api, serve

FAILURES_MAX: Final = 5
_LIFETIME_S: Final = 3_600
_ALGORITHM: Final = "HS256"

_logins = servicelog.get_logger("Login")
_tokens = servicelog.get_logger("Token")


class Login(Body):
    """Who wants to log in. A lifetime of 0 gives a token that has expired already, to try that."""

    user: str
    password: str
    lifetime_s: int = _LIFETIME_S


class Credential(Body):
    """What a user logs in with."""

    name: str
    password: str


@dataclass
class _Account:
    user: str
    salt: bytes
    hash: bytes
    failures: int = 0
    locked_until_s: float = 0.0


def _hashed(password: str, salt: bytes) -> bytes:
    # Far cheaper than a real service's: thousands of logins of an example share two cores.
    return hashlib.scrypt(password.encode(), salt=salt, n=2**10, r=8, p=1)


class _Accounts:
    """Who may log in, in memory."""

    def __init__(self, lock_s: float) -> None:
        self._by_name: dict[str, _Account] = {}
        self._lock_s = lock_s
        self._key = secrets.token_bytes(32)

    def set(self, user: str, credential: Credential) -> None:
        """Take over a user's credential."""
        salt = secrets.token_bytes(16)
        self._by_name[credential.name] = _Account(user, salt, _hashed(credential.password, salt))

    def login(self, login: Login, source: str) -> str:
        """Check a password, and tell; returns whose it is.

        Raises: HTTPException, 401 or 423.
        """
        account = self._by_name.get(login.user)
        reason = self._refusal(account, login.password)
        if account is not None:
            servicelog.bind(userId=account.user)
            if reason == "bad_password":
                account.failures += 1
        failed = account.failures if account is not None else 0
        (_logins.warn if reason else _logins.info)(
            "Login",
            event="login",
            outcome="failure" if reason else "success",
            reason=reason,
            sourceAddress=source,
            failedAttempts=failed,
        )
        if account is None or reason is not None:
            if account is not None and reason == "bad_password" and failed >= FAILURES_MAX:
                account.locked_until_s = time.monotonic() + self._lock_s
                _logins.warn("Account locked", event="lockout", sourceAddress=source, failedAttempts=failed)
            status = HTTPStatus.LOCKED if reason == "locked" else HTTPStatus.UNAUTHORIZED
            raise HTTPException(status, "user or password is wrong, or the account is locked")
        account.failures = 0
        return account.user

    def _refusal(self, account: _Account | None, password: str) -> str | None:
        if account is None:
            _hashed(password, b"nobody")  # it takes as long as for a user that there is
            return "unknown_user"
        if time.monotonic() < account.locked_until_s:
            return "locked"
        if not hmac.compare_digest(_hashed(password, account.salt), account.hash):
            return "bad_password"
        return None

    def token(self, user: str, lifetime_s: int) -> str:
        """Make a token that says who its bearer is."""
        return jwt.encode({"sub": user, "exp": int(time.time()) + lifetime_s}, self._key, _ALGORITHM)

    def bearer(self, authorization: str | None) -> str:
        """Check a token, and tell; returns whose it is.

        Raises: HTTPException, 401.
        """
        user, reason = "", None
        if not authorization:
            reason = "missing"
        else:
            try:
                user = jwt.decode(authorization.removeprefix("Bearer "), self._key, [_ALGORITHM])["sub"]
            except jwt.ExpiredSignatureError:
                reason = "expired"
            except jwt.InvalidTokenError:
                reason = "invalid"
        if reason:
            _tokens.warn("Token checked", event="token_check", outcome="failure", reason=reason)
            raise HTTPException(HTTPStatus.UNAUTHORIZED, f"the token is {reason}")
        servicelog.bind(userId=user)
        _tokens.debug("Token checked", event="token_check", outcome="success")
        return user


def make_api() -> FastAPI:
    """Return the application."""
    api = new_api("auth")
    accounts = _Accounts(lock_s=float(os.environ.get("LOCK_S", "60")))

    @api.put("/v1/credentials/{user}", status_code=HTTPStatus.OK)
    async def set_credential(user: str, credential: Credential) -> dict[str, str]:
        servicelog.bind(userId=user)
        accounts.set(user, credential)
        return {"id": user}

    @api.post("/v1/login")
    async def login(
        login: Login, response: Response, x_forwarded_for: Annotated[str, Header()] = ""
    ) -> dict[str, str | int]:
        user = accounts.login(login, x_forwarded_for)
        response.headers["cache-control"] = "no-store"
        return {"id": user, "token": accounts.token(user, login.lifetime_s), "lifetimeS": login.lifetime_s}

    @api.get("/v1/verify")
    async def verify(authorization: Annotated[str | None, Header()] = None) -> dict[str, str]:
        return {"id": accounts.bearer(authorization)}

    return api


if __name__ == "__main__":
    serve(AUTH, make_api)
