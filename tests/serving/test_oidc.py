"""Signing in through a small identity provider that runs beside the test; a wrong answer of it signs nobody in."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from pydantic import ValidationError
from sqlalchemy import select

from resight.serving.accounts import add_user, change_user
from resight.serving.app import build_app
from resight.serving.oidc import PendingSignIns, role_of
from resight.serving.parts import Parts
from resight.serving.people import User
from resight.serving.service import Service
from resight.serving.settings import OIDCOptions

CLIENT, BACK = "resight", "http://testserver/login/oidc/callback"
KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})


class Provider:
    """Authorisation code flow with PKCE, as far as a client sees it; `changes` go into the next identity token."""

    def __init__(self) -> None:
        self.changes: dict[str, Any] = {}
        self.key: Any = KEY
        self.algorithm = "RS256"
        self.asked: dict[str, dict[str, str]] = {}
        self.described_as: str | None = None
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._say(owner.describe() if "well-known" in self.path else {"keys": [KEY.as_dict(private=False)]})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                given = {name: values[0] for name, values in parse_qs(body).items()}
                self._say(owner.exchange(given))

            def _say(self, value: dict[str, Any] | None) -> None:
                text = json.dumps(value or {"error": "invalid_grant"}).encode()
                self.send_response(200 if value else 400)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def describe(self) -> dict[str, Any]:
        return {
            "issuer": self.described_as or self.issuer,
            "authorization_endpoint": self.issuer + "/authorize",
            "token_endpoint": self.issuer + "/token",
            "jwks_uri": self.issuer + "/keys",
        }

    def authorise(self, location: str) -> dict[str, str]:
        """What the provider sends the browser back with, once the person has signed in there."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        assert asked["response_type"] == "code"
        assert asked["redirect_uri"] == BACK
        assert asked["code_challenge_method"] == "S256"
        code = f"code{len(self.asked)}"
        self.asked[code] = asked
        return {"state": asked["state"], "code": code, "iss": self.issuer}

    def exchange(self, given: dict[str, str]) -> dict[str, Any] | None:
        asked = self.asked.pop(given.get("code", ""), None)
        digest = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked is None or challenge != asked["code_challenge"] or given["redirect_uri"] != asked["redirect_uri"]:
            return None
        moment = int(time.time())
        claims = {
            "iss": self.issuer, "aud": CLIENT, "sub": "4711", "iat": moment, "exp": moment + 300,
            "nonce": asked["nonce"], "preferred_username": "ann", "roles": ["staff", "radiologists"],
        }  # fmt: skip
        claims = {name: value for name, value in (claims | self.changes).items() if value is not None}
        return {"id_token": jwt.encode({"alg": self.algorithm, "kid": "one"}, claims, self.key), "token_type": "Bearer"}


@pytest.fixture
def provider() -> Iterator[Provider]:
    provider = Provider()
    yield provider
    provider.server.shutdown()
    provider.server.server_close()


@pytest.fixture
def service(make_service, provider: Provider) -> Service:
    oidc = {
        "issuer": provider.issuer,
        "client_id": CLIENT,
        "redirect_url": BACK,
        "roles": {"radiologists": "reader", "it": "admin"},
    }
    return make_service(security={"oidc": oidc})


def sign_in(client: TestClient, provider: Provider, target: str = "/login", **changes: str) -> Any:
    sent = client.get("/login/oidc", params={"target": target})
    assert sent.status_code == 303
    answer = provider.authorise(sent.headers["location"]) | changes
    return client.get("/login/oidc/callback", params=answer)


def users(service: Service) -> dict[str, str]:
    with service.store.read() as session:
        return {user.name: user.role for user in session.scalars(select(User))}


def test_a_person_of_a_group_gets_a_session_and_an_account(client, service, provider) -> None:
    answer = sign_in(client, provider, "/studies?a=1&b=2")
    assert answer.status_code == 200
    assert 'url=/studies?a=1&amp;b=2"' in answer.text
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("resight_session="))
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert client.get("/api/studies").status_code == 200
    assert users(service) == {"ann": "reader"}
    sign_in(client, provider)
    assert users(service) == {"ann": "reader"}


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "http://127.0.0.1:1"}, {"iss": None}, {"aud": "other"}, {"aud": None}, {"nonce": "guessed"},
        {"nonce": None}, {"exp": 1_700_000_000}, {"exp": None}, {"sub": None}, {"iat": None},
        {"aud": ["resight", "other"]}, {"aud": ["resight", "other"], "azp": "other"}, {"roles": ["staff"]},
        {"roles": None}, {"roles": {"radiologists": 1}}, {"roles": 7}, {"nbf": 4_000_000_000},
    ],
)  # fmt: skip
def test_a_wrong_claim_signs_nobody_in(client, service, provider, changes) -> None:
    provider.changes = changes
    answer = sign_in(client, provider)
    assert answer.status_code == 403
    assert "Not signed in" in answer.text
    assert "resight_session" not in client.cookies
    assert users(service) == {}


def test_a_signature_of_somebody_else_signs_nobody_in(client, service, provider) -> None:
    provider.key = RSAKey.generate_key(2048)
    assert sign_in(client, provider).status_code == 403
    public = KEY.as_pem(private=False)
    provider.algorithm, provider.key = "HS256", OctKey.import_key(base64.urlsafe_b64encode(public).decode())
    assert sign_in(client, provider).status_code == 403
    assert users(service) == {}


@pytest.mark.parametrize("changes", [{"state": "guessed"}, {"iss": "https://evil.example"}, {"code": "guessed"}])
def test_a_wrong_answer_signs_nobody_in(client, service, provider, changes) -> None:
    assert sign_in(client, provider, **changes).status_code == 403
    assert users(service) == {}


def test_an_answer_counts_once_and_in_the_browser_that_asked(client, service, provider, parts: Parts) -> None:
    sent = client.get("/login/oidc")
    answer = provider.authorise(sent.headers["location"])
    with TestClient(client.app, base_url="http://testserver", follow_redirects=False) as other:
        assert other.get("/login/oidc/callback", params=answer).status_code == 403
    assert client.get("/login/oidc/callback", params=answer).status_code == 200
    assert client.get("/login/oidc/callback", params=answer).status_code == 403


def test_somebody_elses_name_does_not_give_their_account(client, service, provider) -> None:
    with service.store.write() as session:
        add_user(session, "ann", "admin", "correct horse battery", by="test")
    sign_in(client, provider)
    found = users(service)
    assert found.pop("ann") == "admin"
    assert list(found.values()) == ["reader"]
    assert client.get("/api/audit").status_code == 403


def test_role_follows_the_provider_and_a_disabled_account_stays_out(client, service, provider) -> None:
    sign_in(client, provider)
    provider.changes = {"roles": "it"}
    sign_in(client, provider)
    assert users(service) == {"ann": "admin"}
    with service.store.write() as session:
        change_user(session, "ann", by="test", disabled=True)
    assert sign_in(client, provider).status_code == 403


def test_a_provider_that_is_away_or_another_one_is_said_so(client, provider) -> None:
    provider.described_as = "https://evil.example"
    assert "another issuer" in client.get("/login/oidc").text
    provider.server.shutdown()
    provider.server.server_close()
    answer = client.get("/login/oidc")
    assert answer.status_code == 502
    assert "does not answer" in answer.text


def test_a_target_elsewhere_is_not_followed(client, provider) -> None:
    assert 'url=/"' in sign_in(client, provider, "//evil.example").text


def test_without_a_provider_there_is_no_door(make_service) -> None:
    with Parts(make_service()) as parts, TestClient(build_app(parts), follow_redirects=False) as client:
        assert client.get("/login/oidc").status_code == 404
        assert client.get("/login/oidc/callback").status_code == 404
        assert "/login/oidc" not in client.get("/login").text


def test_sign_ins_under_way_do_not_pile_up() -> None:
    pending = PendingSignIns()
    first, _ = pending.begin("/")
    for _ in range(1000):
        last, _ = pending.begin("/")
    assert pending.take(first) is None
    assert pending.take(last) is not None
    assert pending.take(last) is None


def test_an_issuer_without_tls_is_refused_elsewhere_than_here() -> None:
    given = {"client_id": "x", "redirect_url": BACK, "roles": {"a": "reader", "b": "admin"}}
    with pytest.raises(ValidationError, match="https"):
        OIDCOptions(issuer="http://idp.example", **given)
    options = OIDCOptions(issuer="https://idp.example", **given)
    assert role_of({"roles": ["b", "a"]}, options) == "reader"
