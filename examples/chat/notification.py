"""Notifications: tells the members of a room of a message, by push or e-mail, and again where the provider fails."""

import asyncio
import json
import os
import signal
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from confluent_kafka import Consumer, KafkaException, Message
from fastapi import FastAPI

import servicelog
from examples.chat import NOTIFICATION, faults
from examples.chat.service import WORK, new_api, serve
from servicelog import propagate

ATTEMPTS: Final = 3
_PAUSE_S: Final = 0.05
_AT_ONCE: Final = 32
_POLL_S: Final = 0.1
_PROVIDERS: Final = {"push": "fcm", "email": "smtp"}
_PROVIDER_TIMEOUT_S: Final = 0.1
_ANSWERS: Final[Mapping[str, str]] = {
    "": "accepted",
    "provider_timeout": "no answer",
    "provider_throttled": "429 slow down",
    "provider_rejected": "410 unregistered",
}

Headers = list[tuple[str, str | bytes | None]]

_log = servicelog.get_logger("Delivery")


async def _ask_provider(message: str, recipient: str, reason: str) -> None:
    """Stand in for a provider, whose answer is decided already: it takes some milliseconds."""
    took_s = zlib.crc32(f"{message}{recipient}".encode()) % 20 / 1_000
    await asyncio.sleep(_PROVIDER_TIMEOUT_S if reason == "provider_timeout" else took_s)


async def _notify(message: Mapping[str, Any], recipient: str, given: str) -> None:
    channel = "email" if zlib.crc32(recipient.encode()) % 4 == 0 else "push"
    log = _log.child(
        event="notification",
        messageId=message["id"],
        channel=channel,
        provider=_PROVIDERS[channel],
        recipient=recipient,
    )
    for attempt in range(1, ATTEMPTS + 1):
        reason = faults.wanted("notification", given=given, attempt=attempt)
        await _ask_provider(message["id"], recipient, reason)
        result = {"attempt": attempt, "providerResult": _ANSWERS[reason]}
        if not reason:
            taken_ms = time.time_ns() // 1_000_000 - message["storedMs"]
            log.info("Notification sent", outcome="success", deliveryMs=taken_ms, **result)
            return
        if attempt == ATTEMPTS or reason == "provider_rejected":
            log.error("Notification failed", outcome="failure", reason=reason, **result)
            return
        log.warning("Notification failed", outcome="retry", reason=reason, **result)
        await asyncio.sleep(_PAUSE_S * attempt)


async def _handle(record: Message) -> None:
    """Tell everybody of one message, as a part of the request that sent it."""
    headers = cast("Headers", record.headers() or [])
    with propagate.from_kafka(headers):
        try:
            given = next((value for name, value in headers if name == faults.HEADER and isinstance(value, bytes)), b"")
            message = json.loads(record.value() or b"{}")
            servicelog.bind(conversationId=message["room"], userId=message["sender"])
            await asyncio.gather(*(_notify(message, recipient, given.decode()) for recipient in message["recipients"]))
        # Somebody else's record, whatever it is, must not hold up the others.
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
            _log.exception("Message not understood", event="message_refused", offset=record.offset())


class _Worker:
    """Reads messages, some at once, and commits them when everybody has been told."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"{NOTIFICATION}.{topic}",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
        )
        self._consumer.subscribe([topic])
        self._ended = False

    async def run(self) -> None:
        """Work until `end` is called."""
        while not self._ended:
            records = [record for record in await asyncio.to_thread(self._take) if not record.error()]
            if records:
                await asyncio.gather(*map(_handle, records))
                WORK.consumed += len(records)
                await asyncio.to_thread(self._commit)
        await asyncio.to_thread(self._consumer.close)

    def end(self) -> None:
        """Take no more."""
        self._ended = True

    def _commit(self) -> None:
        try:
            self._consumer.commit(asynchronous=False)
        except KafkaException:  # then they are read, and told, once more
            _log.exception("Offsets not committed", event="commit")

    def _take(self) -> list[Message]:
        first = self._consumer.poll(_POLL_S)
        return [first, *self._consumer.consume(_AT_ONCE - 1, 0)] if first is not None else []


def _end_with(task: "asyncio.Task[None]") -> None:
    """End the process with its worker: it would answer that it is well, and tell nobody of anything."""
    if not task.cancelled() and (error := task.exception()):
        _log.fatal("No more notifications", event="worker", error=error)
        signal.raise_signal(signal.SIGTERM)


@asynccontextmanager
async def _working(_: FastAPI) -> AsyncIterator[None]:
    worker = _Worker(os.environ["KAFKA"], os.environ.get("MESSAGE_TOPIC", "chat.messages"))
    task = asyncio.create_task(worker.run())
    task.add_done_callback(_end_with)
    yield
    worker.end()
    await task


def make_api() -> FastAPI:
    """Return the application, which reads from Kafka at KAFKA while it serves."""
    return new_api("notification", _working)


if __name__ == "__main__":
    serve(NOTIFICATION, make_api)
