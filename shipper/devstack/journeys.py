"""What the five services of a chat application log when people use it: the journey of a request through services.

Names in angle brackets are filled in per record (`<user>`), some as numbers (`<#ms>`): `generate` has the columns.
"""

from typing import Any, NamedTuple


class Step(NamedTuple):
    """One log record of a journey, as its service writes it.

    Attributes:
        service: who writes it, and the record's key.
        level: as the service spells it; two of them have spellings of their own.
        record: the fields after timestamp, level and service, in order.
    """

    service: str
    level: str
    record: dict[str, Any]


class Journey(NamedTuple):
    """Records that share a request, and how often it happens among a thousand requests."""

    weight: int
    steps: tuple[Step, ...]


def _access(
    method: str, route: str, status: int, *, level: str = "info", path: str = "", user: str | None = "<user>"
) -> Step:
    return Step(
        "api-gateway",
        level,
        {
            "message": f"{method} {path or route} {status} <#ms>ms",
            "context": "HttpLogger",
            "requestId": "<request>",
            **({"userId": user} if user else {}),
            "method": method,
            "route": route,
            "status": status,
            "durationMs": "<#ms>",
            "metadata": {"ip": "<ip>", "bytes": "<#bytes>"},
        },
    )


def _said(service: str, level: str, context: str, message: str, **more: object) -> Step:
    return Step(
        service,
        level,
        {"message": message, "context": context, "requestId": "<request>", "userId": "<user>", **more},
    )


def _failed(service: str, context: str, error: str, message: str, where: tuple[str, ...]) -> Step:
    frames = "\n".join(f"    at {frame}" for frame in where)
    return _said(
        service,
        "error",
        context,
        message,
        durationMs="<#ms>",
        stack=f"{error}: {message}\n{frames}",
        metadata={"error": error, "attempt": "<#attempt>", "instance": "<instance>"},
    )


_VERIFIED = _said(
    "auth-service",
    "debug",
    "JwtStrategy",
    "Access token verified for user <user>",
    durationMs="<#fast>",
    metadata={"scopes": ["chat:read", "chat:write"], "expiresInS": "<#ttl>", "instance": "<instance>"},
)
_PROFILE = _said(
    "user-service",
    "verbose",
    "UserRepository",
    "SELECT users WHERE id = <user> returned 1 row",
    durationMs="<#fast>",
    metadata={"table": "users", "cached": False, "pool": {"active": "<#attempt>", "max": 20}, "instance": "<instance>"},
)

JOURNEYS = (
    Journey(
        420,
        (
            _VERIFIED,
            _said(
                "chat-service",
                "info",
                "MessageGateway",
                "Message <message> stored in room <room>: “<words>”",
                durationMs="<#fast>",
                metadata={"roomId": "<room>", "length": "<#bytes>", "members": "<#attempt>"},
            ),
            _said(
                "notification-service",
                "info",
                "PushProcessor",
                "Push sent to the devices of user <user>",
                durationMs="<#ms>",
                metadata={"provider": "fcm", "job": "<#bytes>", "queue": "push", "attempt": "<#attempt>"},
            ),
            _access("POST", "/v1/rooms/:roomId/messages", 201, path="/v1/rooms/<room>/messages"),
        ),
    ),
    Journey(
        250,
        (
            _VERIFIED,
            _said(
                "chat-service",
                "debug",
                "MessageRepository",
                "Loaded 50 messages of room <room> before <message>",
                durationMs="<#fast>",
                metadata={"roomId": "<room>", "rows": 50, "cached": True},
            ),
            _access("GET", "/v1/rooms/:roomId/messages", 200, path="/v1/rooms/<room>/messages?limit=50"),
        ),
    ),
    Journey(
        120,
        (_VERIFIED, _PROFILE, _access("GET", "/v1/users/:userId", 200, path="/v1/users/<user>")),
    ),
    Journey(
        60,
        (
            _said(
                "auth-service",
                "info",
                "AuthService",
                "User <user> logged in",
                durationMs="<#ms>",
                metadata={
                    "method": "password",
                    "mfa": True,
                    "ip": "<ip>",
                    "device": {"name": "<agent>", "trusted": True},
                },
            ),
            _PROFILE,
            _access("POST", "/v1/auth/login", 200),
        ),
    ),
    Journey(
        40,
        (
            _said(
                "auth-service",
                "warn",
                "AuthService",
                "Login refused for user <user>: wrong password (attempt <#attempt>)",
                durationMs="<#ms>",
                metadata={"ip": "<ip>", "userAgent": "<agent>", "lockedInAttempts": 5},
            ),
            _access("POST", "/v1/auth/login", 401, level="warn", user=None),
        ),
    ),
    Journey(
        60,
        (
            _said(
                "chat-service",
                "info",
                "ChatGateway",
                "Socket <socket> joined room <room>",
                metadata={
                    "transport": "websocket",
                    "ip": "<ip>",
                    "userAgent": "<agent>",
                    "room": {"id": "<room>", "members": 12},
                },
            ),
            _said(
                "chat-service",
                "info",
                "ChatGateway",
                "Socket <socket> left room <room>: transport close",
                durationMs="<#ms>",
                metadata={
                    "roomId": "<room>",
                    "reason": "transport close",
                    "rooms": ["<room>", "lobby"],
                    "instance": "<instance>",
                },
            ),
        ),
    ),
    Journey(
        20,
        (
            _VERIFIED,
            _said(
                "user-service",
                "info",
                "UserService",
                "Profile of <user> changed: displayName → “<name>”",
                durationMs="<#ms>",
                metadata={"changed": ["displayName"], "version": "<#attempt>", "instance": "<instance>"},
            ),
            _access("PATCH", "/v1/users/:userId", 200, path="/v1/users/<user>"),
        ),
    ),
    Journey(
        10,
        (
            _said(
                "api-gateway",
                "warn",
                "ThrottlerGuard",
                "Rate limit exceeded by <user> on /v1/rooms/:roomId/messages",
                metadata={"limit": 20, "ttlS": 10, "ip": "<ip>", "retryAfterS": "<#attempt>", "instance": "<instance>"},
            ),
            _access("POST", "/v1/rooms/:roomId/messages", 429, level="warn", path="/v1/rooms/<room>/messages"),
        ),
    ),
    Journey(
        8,
        (
            _VERIFIED,
            _failed(
                "chat-service",
                "MessageRepository",
                "QueryFailedError",
                "timeout exceeded when trying to connect to postgres://db-<#attempt>:5432/chat",
                (
                    "PostgresQueryRunner.query (/app/node_modules/typeorm/driver/PostgresQueryRunner.js:331:19)",
                    "MessageRepository.insert (/app/dist/messages/message.repository.js:58:22)",
                    "MessageGateway.handleMessage (/app/dist/messages/message.gateway.js:94:31)",
                ),
            ),
            _access("POST", "/v1/rooms/:roomId/messages", 503, level="error", path="/v1/rooms/<room>/messages"),
        ),
    ),
    Journey(
        8,
        (
            _failed(
                "notification-service",
                "PushProcessor",
                "FcmError",
                "messaging/registration-token-not-registered for device of <user>",
                (
                    "FcmProvider.send (/app/dist/push/fcm.provider.js:41:15)",
                    "PushProcessor.process (/app/dist/push/push.processor.js:27:7)",
                ),
            ),
            _said(
                "notification-service",
                "warning",
                "PushProcessor",
                "Push job <#bytes> will be tried again in <#ms> ms",
                durationMs="<#ms>",
                metadata={"queue": "push", "attempt": "<#attempt>", "attemptsMax": 5, "instance": "<instance>"},
            ),
        ),
    ),
    Journey(
        3,
        (
            _failed(
                "user-service",
                "ExceptionsHandler",
                "TypeError",
                "Cannot read properties of undefined (reading 'displayName')",
                (
                    "UserService.present (/app/dist/users/user.service.js:112:38)",
                    "UserController.findOne (/app/dist/users/user.controller.js:44:29)",
                    "async Object.anonymous (/app/node_modules/@nestjs/core/router/router-proxy.js:9:17)",
                ),
            ),
        ),
    ),
    Journey(
        1,
        (
            _said(
                "auth-service",
                "fatal",
                "KeyStore",
                "Signing key <socket> cannot be read; the instance stops",
                metadata={"instance": "<instance>", "path": "/run/secrets/jwt", "errno": "EACCES"},
            ),
        ),
    ),
)
