"""A Loki that has nothing, and remembers what it was asked: path, headers, query."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Self
from urllib.parse import parse_qsl, urlsplit


class Heard(NamedTuple):
    """One request."""

    path: str
    headers: list[tuple[str, str]]
    parameters: dict[str, str]

    def header(self, name: str) -> list[str]:
        """Return all values of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


class HearingLoki:
    """It listens on `url`, from `with` to its end.

    Attributes:
        heard: what it was asked.
        refusal: status and text that it answers with in place of nothing.
    """

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.refusal: tuple[int, str] | None = None
        hearing = self

        class Answering(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer("")

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers.get("content-length", 0))).decode())

            def _answer(self, body: str) -> None:
                url = urlsplit(self.path)
                heard = Heard(url.path, list(self.headers.items()), dict(parse_qsl(url.query or body)))
                hearing.heard.append(heard)
                status, text = hearing.refusal or (200, _nothing(heard))
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _nothing(heard: Heard) -> str:
    if "query" not in heard.path.rpartition("/")[2] or heard.path.endswith("format_query"):
        return json.dumps(
            {"status": "success", "data": heard.parameters.get("query", []) if "format" in heard.path else []}
        )
    kind = "streams" if heard.parameters.get("query", "").startswith("{") else "matrix"
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": []}})
