from pathlib import Path

import msgspec
import pytest

from fault.pushes import OK, attempts, encode, events_until, lines_of, pushing, request_of, seeded, serving, settle
from fault.server import Answer, Push, in_turn
from shipper.errors import ConfigError
from shipper.loki import connection
from shipper.loki.client import Pusher
from shipper.loki.verdict import Outcome
from shipper.settings import Loki, Secret


def test_tls_with_a_server_that_speaks_none_is_a_connection_that_failed() -> None:
    with serving(lambda _: OK) as server, pushing(server.url.replace("http:", "https:")) as pusher:
        pusher.submit(1, request_of(lines_of(1)))
        (attempt, *_) = attempts(events_until(pusher, attempts))
        assert attempt.outcome is Outcome.CONNECTION
        assert "SSL" in attempt.detail


@pytest.mark.parametrize("answer", [OK, Answer(500, "with a body"), Answer(429)])
def test_connections_are_kept(answer: Answer) -> None:
    with serving(in_turn(*[answer] * 20, OK)) as server, pushing(server.url, in_flight_max=1) as pusher:
        for _ in range(20):
            settle(pusher, request_of(lines_of(1)))
        assert len(server.pushes) >= 20
        assert server.connections == 1


def test_a_renewed_token_is_read_after_it_was_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old-token\n")

    def guarded(push: Push) -> Answer:
        if push.headers["Authorization"] == "Bearer new-token":
            return OK
        file.write_text("new-token\n")
        return Answer(401, "expired")

    with serving(guarded) as server, pushing(server.url, bearer_token_file=str(file)) as pusher:
        settle(pusher, request_of(lines_of(3)))
        assert [push.headers["Authorization"] for push in server.pushes] == ["Bearer old-token", "Bearer new-token"]


def test_a_token_file_that_vanishes_keeps_the_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("token")
    with serving(in_turn(Answer(401), OK)) as server, pushing(server.url, bearer_token_file=str(file)) as pusher:
        file.unlink()
        settle(pusher, request_of(lines_of(3)))
        assert [push.headers["Authorization"] for push in server.pushes] == ["Bearer token"] * 2


def test_user_tenant_and_program_are_named(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("pässword with spaces \n", "utf-8")
    settings = {"username": "grafana", "password_file": str(tmp_path / "password"), "tenant": "chat"}
    with serving(lambda _: OK) as server, pushing(server.url, **settings) as pusher:
        settle(pusher, request_of(lines_of(1)))
        headers = server.pushes[0].headers
        assert headers["Authorization"] == "Basic Z3JhZmFuYTpww6Rzc3dvcmQgd2l0aCBzcGFjZXMg"
        assert headers["X-Scope-OrgID"] == "chat"
        assert headers["User-Agent"].startswith("shipper/")


@pytest.mark.parametrize("scheme", ["http", "https", "no-such-scheme"])
def test_a_secret_shows_nowhere(scheme: str) -> None:
    with serving(in_turn(Answer(401, "refused"), Answer(204, cut=0))) as server:
        url = server.url.replace("http://", f"{scheme}://someone:hunter2@")
        settings = Loki(url=url, bearer_token=Secret("t0ken"), retry_wait_min_s=0.001, in_flight_max=1)
        pusher = Pusher(settings, encode=encode, random=seeded(1))
        pusher.submit(1, request_of(lines_of(1)))
        events = events_until(pusher, lambda events: len(attempts(events)) >= 2)
        pusher.stop(1)
        session = connection.session(settings)
        shown = repr((events, pusher, session, session.headers, session.auth))
        assert "t0ken" not in shown
        assert "hunter2" not in shown
        assert {push.headers["Authorization"] for push in server.pushes} <= {"Bearer t0ken"}


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"bearer_token_file": "/nowhere/token"}, "loki.bearer_token_file"),
        ({"username": "a", "password_file": "/nowhere/password"}, "loki.password_file"),
        ({"ca_file": "/nowhere/ca.pem"}, "loki.ca_file"),
        ({"client_cert_file": "/nowhere/cert.pem"}, "loki.client_cert_file"),
        ({"bearer_token": Secret("t0ken\nX-Evil: 1")}, "loki.bearer_token"),
        ({"bearer_token": Secret("t0ken é")}, "loki.bearer_token"),
        ({"tenant": "a\r\nb"}, "loki.tenant"),
    ],
)
def test_settings_that_cannot_work_name_their_key_and_no_secret(settings: dict[str, str], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Pusher(msgspec.structs.replace(Loki(), **settings), encode=encode, random=seeded(1))
    assert str(caught.value).startswith(f"{key}: ")
    assert "t0ken" not in str(caught.value)


def test_the_configured_authority_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text("no certificate")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/bundle.pem")
    with pushing("https://127.0.0.1:1", ca_file=str(ca_file)) as pusher:
        pusher.submit(1, request_of(lines_of(1)))
        (attempt, *_) = attempts(events_until(pusher, attempts))
        assert "/nowhere" not in attempt.detail
