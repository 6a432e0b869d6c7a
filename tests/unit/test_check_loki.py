"""What `check` says of everything that may stand at loki.url, against a small server that plays it."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from shipper.cli.check_loki import explain_failure, findings
from shipper.cli.finding import Finding, Mark
from shipper.devstack.server import free_port
from shipper.settings import Loki, Secret

Answer = tuple[int, str, str]
"""Status, content type, body."""
Play = Callable[[dict[str, Answer]], str]

READY = (200, "text/plain", "ready\n")
REFUSED_AS_LOKI_DOES = (422, "text/plain", "error at least one valid stream is required for ingestion\n")
HTML = "<html><head><title>Sign in</title></head><body>…</body></html>"


@pytest.fixture
def play() -> Iterator[Play]:
    """Start a server that answers by path (404 for others), and return its URL."""
    servers: list[ThreadingHTTPServer] = []

    def start(answers: dict[str, Answer]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, kind, body = answers.get(self.path, (404, "text/plain", "404 page not found\n"))
                content = body.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                if status in (301, 302, 307, 308):
                    self.send_header("Location", "https://elsewhere/")
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET  # noqa: N815 - http.server's name

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def failed(url: str, **settings: object) -> list[Finding]:
    return [found for found in findings(Loki(url=url, **settings)) if found.mark is Mark.FAILED]  # type: ignore[arg-type] # any of Loki's keys


def test_a_proxy_that_serves_the_push_path_alone_is_fine(play: Play) -> None:
    assert failed(play({"/loki/api/v1/push": REFUSED_AS_LOKI_DOES})) == []


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((401, "text/plain", "no org id\n"), "Loki wants a tenant (no org id): set loki.tenant"),
        ((401, "text/plain", "who are you?"), "answers 401 (who are you?): check loki.username"),
        ((403, "text/html", HTML), "answers 403 (Sign in): check loki.username and loki.password_file"),
        ((404, "text/plain", "404 page not found\n"), "no Loki has its API there; correct loki.url"),
        ((200, "text/html; charset=utf-8", HTML), "with a web page (Sign in): a proxy or another program"),
        ((200, "text/plain", HTML), "with a web page (Sign in)"),
        ((502, "text/html", HTML), "answers 502 with a web page"),
        ((302, "text/plain", ""), "redirects to https://elsewhere/"),
        ((429, "text/plain", "slow down"), "answers 429 (slow down): Loki is overloaded"),
        ((500, "text/plain", "boom"), "answers 500 (boom): Loki is overloaded or broken"),
        ((204, "text/plain", ""), "to an empty push, as Loki does not"),
        ((422, "application/json", '{"detail": "field required"}'), "to an empty push, as Loki does not"),
    ],
)
def test_what_is_no_loki_or_refuses_us_is_told_with_the_way_out(answer: Answer, sentence: str, play: Play) -> None:
    (found,) = failed(play({"/ready": READY, "/loki/api/v1/push": answer}))
    assert found.what == "Loki push"
    assert sentence in found.detail


def test_a_loki_that_is_not_ready_is_told(play: Play) -> None:
    starting = (503, "text/plain", "Ingester not ready: waiting for 15s after being ready\n")
    (found,) = failed(play({"/ready": starting, "/loki/api/v1/push": REFUSED_AS_LOKI_DOES}))
    assert "not ready (Ingester not ready: waiting for 15s after being ready): it may be starting" in found.detail


def test_a_password_is_never_told(play: Play) -> None:
    url = play({"/loki/api/v1/push": (401, "text/plain", "no")})
    told = [*findings(Loki(url=url, username="me", password=Secret("geheim")))]
    assert "geheim" not in str(told)


def test_silence_is_told_as_a_time_out() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:  # listens, and nobody answers
        (found,) = failed(f"http://127.0.0.1:{server.server_port}", timeout_s=0.2)
    assert "did not answer within 0.2 s" in found.detail


def test_nobody_there_is_told() -> None:
    (found,) = failed(f"http://127.0.0.1:{free_port()}")
    assert "(Connection refused): start Loki there, or correct loki.url" in found.detail


def test_tls_to_a_port_without_it_is_told(play: Play) -> None:
    (found,) = failed(play({}).replace("http://", "https://"))
    assert "(wrong version number): check whether it is http or https there" in found.detail


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            requests.ConnectionError("… NameResolutionError(\"Failed to resolve 'x' ([Errno -2] Name not known)\")"),
            "the host of http://x is unknown (Name not known)",
        ),
        (requests.exceptions.ProxyError("no"), "the proxy of the environment does not reach http://x (no)"),
        (
            requests.ConnectionError("('Connection aborted.', RemoteDisconnected('Remote end closed'))"),
            "what listens at http://x speaks no HTTP (Remote end closed)",
        ),
    ],
)
def test_failures_are_told_in_one_sentence(error: requests.RequestException, sentence: str) -> None:
    assert sentence in explain_failure(error, Loki(url="http://x"))


def test_a_configuration_that_is_closed_is_told_and_no_failure(play: Play) -> None:
    answers = {"/ready": READY, "/loki/api/v1/push": REFUSED_AS_LOKI_DOES}
    for closed in ((403, "text/plain", "no"), (200, "text/html", HTML), (404, "text/plain", "\nlimits_config:\n")):
        told = [*findings(Loki(url=play({**answers, "/config": closed})))]
        assert told[-1].mark is Mark.NOTE
        assert "compare [loki.limits] with its limits_config by hand" in told[-1].detail
