"""JWTs: only those of the issuer are taken, whatever one says of itself, and claims mean what is configured."""

import base64
import hashlib
import hmac
import json
import math
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from shipper.api import tokens
from shipper.api.access import CredentialError, NotReadyError
from shipper.api.oidc import Oidc, principal
from shipper.api.principal import Principal, Role
from shipper.errors import ShipperError
from shipper.settings import ApiOidc

pytestmark = pytest.mark.anyio
_ISSUER, _AUDIENCE = "https://login.example", "log-api"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Provider:
    """An issuer: its keys, which it publishes, and the JWTs that it signs."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/keys"
        self.keys = {"one": rsa.generate_private_key(65_537, 2_048)}
        self.published = ["one"]
        self.asked = 0
        self.is_away = False

    def document(self) -> bytes:
        keys = []
        for kid in self.published:
            key = json.loads(RSAAlgorithm.to_jwk(self.keys[kid].public_key()))
            keys.append({**key, "kid": kid, "use": "sig"})
        return json.dumps({"keys": keys}).encode()

    def claims(self, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
        now = int(time.time())
        given = {"iss": _ISSUER, "aud": _AUDIENCE, "sub": "mara", "exp": now + 600, "roles": ["log-readers"], **more}
        return {name: value for name, value in given.items() if value is not None}

    def signed(self, kid: str = "one", **more: Any) -> str:  # noqa: ANN401 - any JSON
        return jwt.encode(self.claims(**more), self.keys[kid], "RS256", headers={"kid": kid})

    def settings(self) -> ApiOidc:
        return ApiOidc(
            issuer=_ISSUER,
            audience=_AUDIENCE,
            jwks_url=self.url,
            roles={"log-readers": "viewer", "on-call": "operator", "log-admins": "admin"},
        )


@pytest.fixture
def provider() -> Iterator[Provider]:
    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked += 1
            self.send_response(503 if found.is_away else 200)
            self.end_headers()
            self.wfile.write(b"" if found.is_away else found.document())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        found = Provider(server.server_port)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


def part(content: Any) -> str:  # noqa: ANN401 - any JSON
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


async def test_a_jwt_of_the_issuer_is_somebody_with_the_highest_of_their_roles(provider: Provider) -> None:
    oidc = Oidc(provider.settings())
    found = await oidc.principal(provider.signed(roles=["log-readers", "on-call", "other"]))
    assert time.time() < found.expires_s < math.inf
    wanted = Principal("mara", Role.OPERATOR, token=f"{_ISSUER}#mara", expires_s=found.expires_s)
    assert found == wanted
    assert provider.asked == 1
    await oidc.principal(provider.signed())
    assert provider.asked == 1, "keys are kept"


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"exp": 1_700_000_000}, "expired"),
        ({"exp": None}, "not genuine"),
        ({"aud": "another-api"}, "for somebody else"),
        ({"aud": None}, "not genuine"),
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"nbf": 4_000_000_000}, "not valid yet"),
        ({"sub": None}, "not genuine"),
        ({"roles": []}, "is a role here"),
        ({"roles": {"admin": True}}, "is a role here"),
        ({"roles": ["admin"]}, "is a role here"),
    ],
)
async def test_a_jwt_whose_claims_are_not_right_is_refused_with_what_is_wrong(
    provider: Provider, claims: dict[str, Any], said: str
) -> None:
    with pytest.raises(CredentialError, match=said):
        await Oidc(provider.settings()).principal(provider.signed(**claims))


async def test_a_jwt_that_the_issuer_did_not_sign_is_refused_however_it_is_made(provider: Provider) -> None:
    stranger = rsa.generate_private_key(65_537, 2_048)
    public = provider.keys["one"].public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    good = provider.signed()
    header, body, signature = good.split(".")
    admin = part(provider.claims(roles=["log-admins"]))
    confused = f"{part({'alg': 'HS256', 'kid': 'one'})}.{admin}"
    mac = base64.urlsafe_b64encode(hmac.digest(pem, confused.encode(), hashlib.sha256)).rstrip(b"=").decode()
    jwk = json.loads(RSAAlgorithm.to_jwk(stranger.public_key()))
    forged = {
        "none": f"{part({'alg': 'none', 'kid': 'one'})}.{admin}.",
        "None": f"{part({'alg': 'None', 'kid': 'one'})}.{admin}.",
        "no algorithm": f"{part({'kid': 'one'})}.{admin}.{signature}",
        "public key as a secret": f"{confused}.{mac}",
        "another's key": jwt.encode(provider.claims(), stranger, "RS256", headers={"kid": "one"}),
        "another algorithm": jwt.encode(provider.claims(), provider.keys["one"], "RS512", headers={"kid": "one"}),
        "brings its own key": jwt.encode(provider.claims(), stranger, "RS256", headers={"kid": "one", "jwk": jwk}),
        "names its own keys": jwt.encode(
            provider.claims(), stranger, "RS256", headers={"kid": "x", "jku": provider.url}
        ),
        "no kid": jwt.encode(provider.claims(), provider.keys["one"], "RS256"),
        "other claims": f"{header}.{admin}.{signature}",
        "no signature": f"{header}.{body}.",
        "no JSON": "a.b.c",
        "nothing": "..",
    }
    oidc = Oidc(provider.settings())
    for name, credential in forged.items():
        with pytest.raises(CredentialError):
            pytest.fail(f"{name}: {await oidc.principal(credential)}")
    await oidc.principal(good)


async def test_keys_are_rotated_and_strangers_cannot_make_them_fetched_again_and_again(provider: Provider) -> None:
    patient, oidc = Oidc(provider.settings()), Oidc(provider.settings(), cooldown_s=0)
    for each in (patient, oidc):
        await each.principal(provider.signed())
    provider.keys["two"] = rsa.generate_private_key(65_537, 2_048)
    provider.published = ["two"]
    assert (await oidc.principal(provider.signed("two"))).name == "mara"
    with pytest.raises(CredentialError):
        await oidc.principal(provider.signed("one"))
    asked = provider.asked
    for n in range(20):
        with pytest.raises(CredentialError):
            await patient.principal(
                jwt.encode(provider.claims(), provider.keys["two"], "RS256", headers={"kid": f"{n}"})
            )
    assert provider.asked == asked


async def test_an_issuer_that_is_away_is_no_refusal_and_is_left_alone_for_a_moment(provider: Provider) -> None:
    provider.is_away = True
    oidc = Oidc(provider.settings())
    for _ in range(5):
        with pytest.raises(NotReadyError):
            await oidc.principal(provider.signed())
    assert provider.asked == 1


def test_claims_bind_to_services_environments_and_a_tenant_and_a_missing_one_to_nothing() -> None:
    settings = ApiOidc(
        role_claim="realm.roles",
        roles={"r": "viewer"},
        services_claim="services",
        environments_claim="https://example.com/env",
        tenant_claim="tenant",
    )
    whole = {"sub": "s", "realm": {"roles": "x r"}, "services": "a b", "https://example.com/env": ["*"], "tenant": "t"}
    found = principal(whole, settings)
    assert (found.services, found.environments, found.tenant) == (frozenset({"a", "b"}), None, "t")
    without = {name: value for name, value in whole.items() if name not in {"services", "https://example.com/env"}}
    bound = principal(without, settings)
    assert (bound.services, bound.environments) == (frozenset(), frozenset())
    for name in ("sub", "realm", "tenant"):
        with pytest.raises(CredentialError, match=settings.role_claim if name == "realm" else name):
            principal({key: value for key, value in whole.items() if key != name}, settings)
    for wrong in ("a|b", "mün", "", "x" * 151, "a\n"):
        with pytest.raises(CredentialError, match="tenant"):
            principal({**whole, "tenant": wrong}, settings)
        with pytest.raises(ShipperError, match="tenant"):
            tokens.mint("n", Role.VIEWER, now_ms=0, valid_ms=1, tenant=wrong or " ")


def test_no_algorithm_that_is_not_asymmetric_can_be_configured() -> None:
    for algorithm in ("none", "HS256", "HS512"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"algorithms": [algorithm]}, ApiOidc)
