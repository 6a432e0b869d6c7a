"""A small HTTP server: it answers with the headers that came, and with levels."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answering(BaseHTTPRequestHandler):
    """Answers with the headers that came; for levels, with what the test has set."""

    levels: tuple[int, str, bytes] = (404, "", b"")
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        status, etag, body = (
            type(self).levels if "levels" in self.path else (200, "", json.dumps(dict(self.headers)).encode())
        )
        if etag and self.headers.get("If-None-Match") == etag:
            status, body = 304, b""
        if self.path == "/moved":
            status = 302
        self.send_response(status)
        if self.path == "/moved":
            self.send_header("Location", "/")
        if etag:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def answering() -> Iterator[str]:
    """Run it; gives its address."""
    Answering.levels, Answering.asked = (404, "", b""), 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{made.server_port}"
        finally:
            made.shutdown()
            thread.join()
