"""A chat of five small services that log with `servicelog`: how a request is followed from one to the next."""

from typing import Final

GATEWAY: Final = "api-gateway"
AUTH: Final = "auth-service"
USER: Final = "user-service"
CHAT: Final = "chat-service"
NOTIFICATION: Final = "notification-service"
SERVICES: Final = (GATEWAY, AUTH, USER, CHAT, NOTIFICATION)
"""The services by the names in their records, in the order in which a message passes through them."""
