"""Rooms and their messages: each is stored, then published for those who are to be told of it.

What is published has no text: who is told reads it here.
"""

import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from fastapi import FastAPI

import servicelog
from examples.chat import CHAT, faults
from examples.chat.service import WORK, Body, new_api, serve
from servicelog import propagate

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS messages (id TEXT PRIMARY KEY, room TEXT, sender TEXT, author TEXT, text TEXT);
CREATE TABLE IF NOT EXISTS members (room TEXT, user TEXT, PRIMARY KEY (room, user));
"""
_READ_MAX: Final = 50
_POLL_S: Final = 0.05
_FLUSH_S: Final = 5.0
_SECONDS: Final = 1_000

_log = servicelog.get_logger("Messages")


class NewMessage(Body):
    """What somebody says."""

    user_id: str
    author: str
    text: str


class ModerationError(Exception):
    """A text cannot be judged."""


class _Messages:
    """Stores messages; whoever writes into a room, or reads it, is a member from then on."""

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.executescript(_SCHEMA)

    def join(self, room: str, user: str) -> None:
        """Make somebody a member."""
        self._database.execute("INSERT OR IGNORE INTO members VALUES (?, ?)", (room, user))

    def others(self, room: str, user: str) -> list[str]:
        """Return the members but for this one."""
        found = self._database.execute(
            "SELECT user FROM members WHERE room = ? AND user != ? ORDER BY user", (room, user)
        )
        return [row[0] for row in found]

    def store(self, room: str, new: NewMessage) -> str:
        """Store a message; returns its ID."""
        message = f"msg_{secrets.token_hex(6)}"
        self._database.execute(
            "INSERT INTO messages VALUES (?, ?, ?, ?, ?)", (message, room, new.user_id, new.author, new.text)
        )
        return message

    def latest(self, room: str) -> list[dict[str, str]]:
        """Return the last messages of a room, the newest first."""
        found = self._database.execute(
            "SELECT id, sender, author, text FROM messages WHERE room = ? ORDER BY rowid DESC LIMIT ?",
            (room, _READ_MAX),
        )
        return [{"id": row[0], "userId": row[1], "author": row[2], "text": row[3]} for row in found]


class _Publisher:
    """Publishes on Kafka, keyed by room; what came of it is told by a record of the request that it belongs to."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 0})
        self._topic = topic
        self._counting = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher")
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            self._producer.poll(_POLL_S)

    def publish(self, room: str, message: dict[str, Any]) -> None:
        """Send it on its way."""

        def told(error: KafkaError | None, _: Message) -> None:
            outcome = "failure" if error else "success"
            if error:
                self._count(-1)
            write = _log.error if error else _log.debug
            reason = error.name() if error else None
            write(
                "Message published", event="message_published", outcome=outcome, reason=reason, messageId=message["id"]
            )

        headers: list[tuple[str, str | bytes | None]] = [*propagate.kafka_headers(), (faults.HEADER, faults.header())]
        # Before it is on its way: who waits for the end would take it for nothing else, once the request is over.
        self._count(1)
        try:
            # The delivery report comes in another thread: it is told with what is bound here.
            self._producer.produce(
                self._topic, json.dumps(message), room, headers=headers, on_delivery=servicelog.carried(told)
            )
        except (BufferError, KafkaException):
            self._count(-1)
            raise

    def _count(self, messages: int) -> None:
        with self._counting:
            WORK.published += messages

    def close(self) -> None:
        """Deliver what there is."""
        self._ended.set()
        self._thread.join()
        self._producer.flush(_FLUSH_S)


def make_api() -> FastAPI:
    """Return the application, on the database that DATABASE names, and on Kafka at KAFKA."""
    messages = _Messages(os.environ.get("DATABASE", ":memory:"))

    @asynccontextmanager
    async def running(api: FastAPI) -> AsyncIterator[None]:
        api.state.publisher = _Publisher(os.environ["KAFKA"], os.environ.get("MESSAGE_TOPIC", "chat.messages"))
        yield
        api.state.publisher.close()

    api = new_api("chat", running)

    @api.post("/v1/rooms/{room}/messages", status_code=HTTPStatus.CREATED)
    async def send(room: str, new: NewMessage) -> dict[str, Any]:
        servicelog.bind(conversationId=room, userId=new.user_id)
        began_s = time.perf_counter()
        if faults.wanted("chat") == "exception":
            raise ModerationError(f"cannot judge {new.text!r}")
        messages.join(room, new.user_id)
        message = messages.store(room, new)
        recipients = messages.others(room, new.user_id)
        _log.info(
            "Message stored",
            event="message_stored",
            outcome="success",
            durationMs=round((time.perf_counter() - began_s) * _SECONDS, 3),
            messageId=message,
            recipients=len(recipients),
            messageBytes=len(new.text.encode()),
        )
        event = {"id": message, "room": room, "sender": new.user_id, "recipients": recipients}
        api.state.publisher.publish(room, {**event, "storedMs": time.time_ns() // 1_000_000})
        return {"id": message, "recipients": len(recipients)}

    @api.get("/v1/rooms/{room}/messages")
    async def read(room: str, userId: str) -> list[dict[str, str]]:  # noqa: N803 - its name in the query
        servicelog.bind(conversationId=room, userId=userId)
        messages.join(room, userId)
        return messages.latest(room)

    return api


if __name__ == "__main__":
    serve(CHAT, make_api)
