from pathlib import Path

import pytest

from certificates import Authority
from fault.pushes import OK, attempts, events_until, lines_of, pushing, request_of, serving, settle, settled
from fault.server import FaultServer
from shipper.loki.client import Attempt
from shipper.loki.verdict import LokiState, Outcome


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "Authority of the tests")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "Stranger")


def failed(server: FaultServer, **settings: str) -> Attempt:
    """The second try of a push that nothing comes of: a refused handshake is tried again like all else."""
    with pushing(server.url, **settings) as pusher:
        pusher.submit(1, request_of(lines_of(1)))
        events = events_until(pusher, lambda events: len(attempts(events)) >= 2)
        assert not settled(events)
        assert server.pushes == []
        return attempts(events)[1]


def test_a_server_with_a_certificate_of_the_configured_authority_is_pushed_to(authority: Authority) -> None:
    with (
        serving(lambda _: OK, authority.server()) as server,
        pushing(server.url, ca_file=authority.ca_file, in_flight_max=1) as pusher,
    ):
        for _ in range(3):
            _, tries = settle(pusher, request_of(lines_of(3)))
            assert [attempt.outcome for attempt in tries] == [Outcome.DELIVERED]
        assert server.connections == 1


@pytest.mark.parametrize("own", [True, False], ids=["another authority is configured", "the machine's own are trusted"])
def test_a_server_of_an_authority_that_is_not_trusted_gets_nothing(
    authority: Authority, stranger: Authority, *, own: bool
) -> None:
    with serving(lambda _: OK, authority.server()) as server:
        attempt = failed(server, **({"ca_file": stranger.ca_file} if own else {}))
        assert (attempt.outcome, attempt.state) == (Outcome.CONNECTION, LokiState.RETRYING)
        assert attempt.detail.startswith(f"{server.url}/loki/api/v1/push: ")
        assert "certificate verify failed: unable to get local issuer certificate" in attempt.detail


def test_a_server_with_a_certificate_for_another_name_gets_nothing(authority: Authority) -> None:
    with serving(lambda _: OK, authority.server("loki.example")) as server:
        attempt = failed(server, ca_file=authority.ca_file)
        assert attempt.outcome is Outcome.CONNECTION
        assert "Hostname mismatch, certificate is not valid for 'localhost'" in attempt.detail


def test_a_client_certificate_is_shown_where_it_is_wanted(authority: Authority) -> None:
    cert_file, key_file = authority.certificate("shipper")
    both = Path(cert_file).with_name("both.pem")
    both.write_text(Path(cert_file).read_text() + Path(key_file).read_text())
    for files in (
        {"client_cert_file": cert_file, "client_key_file": key_file},
        {"client_cert_file": str(both)},
    ):
        with (
            serving(lambda _: OK, authority.server(wants_client=True)) as server,
            pushing(server.url, ca_file=authority.ca_file, **files) as pusher,
        ):
            _, tries = settle(pusher, request_of(lines_of(3)))
            assert [attempt.outcome for attempt in tries] == [Outcome.DELIVERED]


def test_without_the_client_certificate_that_is_wanted_nothing_is_taken(authority: Authority) -> None:
    with serving(lambda _: OK, authority.server(wants_client=True)) as server:
        attempt = failed(server, ca_file=authority.ca_file)
        assert attempt.outcome is Outcome.CONNECTION
        assert _says(attempt, "certificate required")


def _says(attempt: Attempt, reason: str) -> bool:
    """In TLS 1.3 a server refuses a client after the handshake: its reason may come too late, behind the end itself."""
    endings = (reason, "EOF occurred", "Broken pipe", "Connection reset", "Connection aborted")
    return any(ending in attempt.detail for ending in endings)


def test_a_client_certificate_of_another_authority_is_refused(authority: Authority, stranger: Authority) -> None:
    cert_file, key_file = stranger.certificate("shipper")
    with serving(lambda _: OK, authority.server(wants_client=True)) as server:
        files = {"client_cert_file": cert_file, "client_key_file": key_file}
        attempt = failed(server, ca_file=authority.ca_file, **files)
        assert attempt.outcome is Outcome.CONNECTION
        assert _says(attempt, "unknown ca")


def test_plain_http_towards_a_tls_port_settles_nothing(authority: Authority) -> None:
    with serving(lambda _: OK, authority.server()) as server:
        server.url = server.url.replace("https:", "http:")
        assert failed(server).outcome is Outcome.CONNECTION
