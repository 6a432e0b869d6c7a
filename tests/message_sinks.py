"""Where messages about alerts arrive in tests: a mail server, and an HTTP server for all that is posted."""

import json
import threading
import time
from collections.abc import Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self, TypeVar, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from shipper.devstack.server import HOST, free_port

WAIT_S = 120.0
USER, PASSWORD = "alerts@example.com", "correct horse"  # the mail server of the tests knows them
Found = TypeVar("Found")


def until(find: Callable[[], Found | None], told: Callable[[], object] = str) -> Found:
    """Return what is found as soon as it is; `told` explains a failure."""
    deadline = time.monotonic() + WAIT_S
    while not (found := find()):
        assert time.monotonic() < deadline, told()
        time.sleep(0.05)
    return found


class MailSink:
    """A mail server that takes mail from those who know the password, as a context manager."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.port = free_port()
        self._controller = Controller(
            self,
            hostname=HOST,
            port=self.port,
            auth_required=True,
            auth_require_tls=False,
            authenticator=self._known,
            auth_exclude_mechanism=["LOGIN"],  # its words for it are not those that Alertmanager waits for
        )

    def _known(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, login: object
    ) -> AuthResult:
        known = isinstance(login, LoginPassword) and login.password == PASSWORD.encode()
        return AuthResult(success=known)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Keep a mail."""
        mail = message_from_bytes(cast("bytes", envelope.content), policy=policy.default)
        self.mails.append(mail)
        return "250 OK"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()


class Posted(NamedTuple):
    """What was posted, and where."""

    path: str
    body: Any


class HttpSink:
    """An HTTP server that keeps the JSON of every POST and answers as Slack does, as a context manager."""

    def __init__(self) -> None:
        self.posted: list[Posted] = []
        posted = self.posted

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                posted.append(Posted(self.path, body))
                # PagerDuty's API accepts with 202 and JSON, everybody else here is content with Slack's ok.
                answer, code = (b'{"status":"success"}', 202) if self.path == "/pagerduty" else (b"ok", 200)
                self.send_response(code)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((HOST, free_port()), Handler)
        self.url = f"http://{HOST}:{self._server.server_address[1]}"

    def of(self, path: str) -> list[Any]:
        """Return the bodies that were posted to this path."""
        return [it.body for it in self.posted if it.path == path]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
