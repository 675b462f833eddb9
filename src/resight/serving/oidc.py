"""Signing in through the hospital's identity provider: OpenID Connect Core 1.0, code flow with PKCE (RFC 7636).

The state of a sign-in under way is kept here and named by a cookie, so that an answer of the provider is taken once,
and only in the browser that asked for it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import time
from dataclasses import dataclass
from html import escape
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from resight.errors import DataError, ResightError, SettingsError, require
from resight.serving.access import TheService, client_address
from resight.serving.accounts import add_user, begin_session, change_user, is_account_name
from resight.serving.login import is_tls, local_path, set_session_cookie, sign_in_page
from resight.serving.people import User
from resight.serving.service import Service
from resight.serving.settings import OIDCOptions, Role
from resight.serving.tls import trusting

router = APIRouter(include_in_schema=False)

_COOKIE: Final = "resight_oidc"
_PATH: Final = "/login/oidc"
_PENDING_S: Final = 600.0
_MOST_PENDING: Final = 1000
_TIMEOUT_S: Final = 10.0
_LEEWAY_S: Final = 60
_ALGORITHMS: Final = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
"""Signatures with a key that only the provider has; `none` and those with a shared secret are not among them."""
_KEY_KINDS: Final = ("RSA", "EC")


@dataclass(frozen=True)
class _Pending:
    """A sign-in under way."""

    nonce: str
    verifier: str
    target: str
    until: float


class PendingSignIns:
    """The sign-ins under way by their state; each is taken out once. The oldest makes room where there are too many."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_state: dict[str, _Pending] = {}

    def begin(self, target: str) -> tuple[str, _Pending]:
        """A new one and its state."""
        state, until = secrets.token_urlsafe(32), time.monotonic() + _PENDING_S
        pending = _Pending(secrets.token_urlsafe(32), secrets.token_urlsafe(48), target, until)
        with self._lock:
            while len(self._by_state) >= _MOST_PENDING:
                self._by_state.pop(next(iter(self._by_state)))
            self._by_state[state] = pending
        return state, pending

    def take(self, state: str) -> _Pending | None:
        """The one of a state; None where there is none, or it took too long."""
        with self._lock:
            pending = self._by_state.pop(state, None)
        return pending if pending is not None and time.monotonic() < pending.until else None


@router.get(_PATH)
def begin(request: Request, service: TheService, target: str = "/") -> Response:
    """Send the browser to the provider."""
    options = _options(service)
    try:
        with _Provider(options) as provider:
            where = provider.endpoint("authorization_endpoint")
    except ResightError as error:
        return _refuse(request, service, target, error.found, 502)
    state, pending = request.app.state.oidc.begin(local_path(target))
    challenge = base64.urlsafe_b64encode(hashlib.sha256(pending.verifier.encode()).digest()).rstrip(b"=")
    asked = {
        "response_type": "code",
        "client_id": options.client_id,
        "redirect_uri": options.redirect_url,
        "scope": options.scope,
        "state": state,
        "nonce": pending.nonce,
        "code_challenge": challenge.decode(),
        "code_challenge_method": "S256",
    }
    response = RedirectResponse(f"{where}{'&' if '?' in where else '?'}{urlencode(asked)}", 303)
    # lax: the provider's answer is a navigation from another site
    response.set_cookie(
        _COOKIE, state, path=_PATH, max_age=int(_PENDING_S), httponly=True, samesite="lax", secure=is_tls(service)
    )
    return response


@router.get(f"{_PATH}/callback")
def finish(
    request: Request,
    service: TheService,
    state: Annotated[str, Query(max_length=200)] = "",
    code: Annotated[str, Query(max_length=4096)] = "",
    error: Annotated[str, Query(max_length=200)] = "",
    iss: Annotated[str, Query(max_length=500)] = "",
) -> Response:
    """Take the provider's answer, and begin a session for the person it names."""
    options = _options(service)
    kept = request.cookies.get(_COOKIE, "")
    pending = request.app.state.oidc.take(state) if hmac.compare_digest(kept.encode(), state.encode()) else None
    if pending is None:
        return _refuse(request, service, "/", "the answer belongs to no sign-in of this browser", 403)
    if error or not code:
        return _refuse(request, service, pending.target, "the provider did not sign anybody in", 401)
    if iss and iss != options.issuer:  # RFC 9207
        return _refuse(request, service, pending.target, "the answer comes from another provider", 403)
    try:
        with _Provider(options) as provider:
            claims = provider.claims(code, pending)
        role = role_of(claims, options)
        with service.store.write() as session:
            token, _ = begin_session(
                session, _account(session, claims, role, options), client_address(request), service.settings.security
            )
    except ResightError as problem:
        return _refuse(request, service, pending.target, problem.found, 403)
    # a redirect would still count as coming from the provider's site, and the strict cookie would stay behind
    page = f'<!doctype html><meta http-equiv="refresh" content="0;url={escape(pending.target)}"><title>Resight</title>'
    response = HTMLResponse(page)
    set_session_cookie(service, response, token)
    response.delete_cookie(_COOKIE, path=_PATH)
    return response


def role_of(claims: dict[str, Any], options: OIDCOptions) -> Role:
    """The role of a person: that of the first group in the settings which the person is in.

    Raises:
        DataError: the person is in none of them.
    """
    said = claims.get(options.role_claim)
    groups = said if isinstance(said, list) else [said]
    for group, role in options.roles.items():
        if group in groups:
            return role
    raise DataError("the account is in no group that may sign in")


class _Provider:
    """The identity provider as this server talks to it; a context manager that hangs up."""

    def __init__(self, options: OIDCOptions) -> None:
        self._httpx = require("httpx", extra="serve")
        self._options = options
        verify = True if options.ca is None else trusting(options.ca)
        self._client = self._httpx.Client(timeout=_TIMEOUT_S, verify=verify)
        self._facts: dict[str, Any] | None = None

    def __enter__(self) -> _Provider:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def endpoint(self, name: str) -> str:
        """An address from the provider's description of itself."""
        if self._facts is None:
            issuer = self._options.issuer
            facts = self._get(issuer.rstrip("/") + "/.well-known/openid-configuration")
            if facts.get("issuer") != issuer:
                raise DataError("the provider describes itself as another issuer")
            self._facts = facts
        address = self._facts.get(name)
        scheme = self._options.issuer.split(":")[0] + "://"
        if not isinstance(address, str) or not address.startswith(("https://", scheme)):
            raise DataError(f"the provider names no {name} that can be used")
        return address

    def claims(self, code: str, pending: _Pending) -> dict[str, Any]:
        """What the provider vouches for, after its signature, issuer, audience, times and nonce were checked."""
        require("joserfc", extra="serve")
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        options = self._options
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": options.redirect_url,
            "client_id": options.client_id,
            "code_verifier": pending.verifier,
        }
        answer = self._json("POST", self.endpoint("token_endpoint"), data=form, auth=self._secret())
        published = self._get(self.endpoint("jwks_uri")).get("keys", [])
        usable = [key for key in published if key.get("kty") in _KEY_KINDS and key.get("use", "sig") == "sig"]
        checks = jwt.JWTClaimsRegistry(
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": options.issuer},
            aud={"essential": True, "value": options.client_id},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": pending.nonce},
        )
        try:
            keys = KeySet.import_key_set({"keys": usable})
            token = jwt.decode(str(answer.get("id_token", "")), keys, algorithms=_ALGORITHMS)
            checks.validate(token.claims)
        except (JoseError, ValueError, TypeError) as error:
            raise DataError(f"the provider's identity token is not valid ({type(error).__name__})") from None
        claims = dict(token.claims)
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if (several or "azp" in claims) and claims.get("azp") != options.client_id:
            raise DataError("the provider's identity token was made for another client")
        return claims

    def _secret(self) -> Any:
        path = self._options.client_secret_file
        if path is None:
            return None
        try:
            secret = path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsError(f"the client's secret cannot be read ({error.strerror})", where=str(path)) from None
        return self._httpx.BasicAuth(self._options.client_id, secret)

    def _get(self, address: str) -> dict[str, Any]:
        return self._json("GET", address)

    def _json(self, method: str, address: str, **arguments: Any) -> dict[str, Any]:
        try:
            answer = self._client.request(method, address, **arguments)
            if answer.status_code != 200 or not isinstance(value := answer.json(), dict):
                raise DataError(f"the provider answers {answer.status_code}")
        except (self._httpx.HTTPError, ValueError) as error:
            raise DataError(f"the provider does not answer ({type(error).__name__})") from None
        return value


def _account(session: Session, claims: dict[str, Any], role: Role, options: OIDCOptions) -> User:
    """The account of a person, made at the first sign-in; its role follows the provider."""
    external = f"{options.issuer} {claims['sub']}"
    user = session.scalar(select(User).where(User.external_id == external))
    if user is None:
        wanted = str(claims.get("preferred_username") or claims.get("email") or claims["sub"])
        name = "".join(letter for letter in wanted if letter.isprintable())[:60].strip()
        if not is_account_name(name) or session.scalar(select(User.id).where(User.name == name)) is not None:
            # never into the account of somebody else who has the name here
            digest = hashlib.sha256(external.encode()).hexdigest()[:12]
            name = f"{name} {digest}" if is_account_name(name) else f"person {digest}"
        return add_user(session, name, role, None, by="identity provider", external_id=external)
    if user.disabled:
        raise DataError("the account may not be used")
    if user.role != role:
        change_user(session, user.name, by="identity provider", role=role)
    return user


def _options(service: Service) -> OIDCOptions:
    if service.settings.security.oidc is None:
        raise HTTPException(404, "there is no identity provider")
    return service.settings.security.oidc


def _refuse(request: Request, service: Service, target: str, reason: str, status: int) -> Response:
    service.audit("sign-in failed", actor="nobody", address=client_address(request), reason=reason)
    return sign_in_page(request, service, target, f"Not signed in: {reason}.", status)
