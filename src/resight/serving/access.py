"""Who may do what: the caller of a request by cookie or token, roles, and protection against forged requests."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from fastapi import Depends, HTTPException, Request
from fastapi.security import APIKeyCookie, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from starlette.concurrency import run_in_threadpool

from resight.serving.accounts import Principal, needs_seen, principal_of_session, principal_of_token, seen
from resight.serving.parts import Parts
from resight.serving.service import Service
from resight.serving.settings import Role

SESSION_COOKIE: Final = "resight_session"
CSRF_HEADER: Final = "X-CSRF-Token"
CSRF_FIELD: Final = "csrf_token"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_MOST_FORM_BYTES: Final = 1_000_000
"""Larger forms must carry the CSRF token as a header."""

_bearer = HTTPBearer(auto_error=False, description="token of a program: `resight tokens add`")
_cookie = APIKeyCookie(name=SESSION_COOKIE, auto_error=False, description="browser session, with X-CSRF-Token")


def service_of(request: Request) -> Service:
    """The service a request came to."""
    return request.app.state.service


async def caller(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    cookie: Annotated[str | None, Depends(_cookie)],
) -> Principal:
    """Who sent the request.

    Raises:
        HTTPException: 401 where nobody is signed in, 403 where a browser's request does not carry its CSRF token.
    """
    service = service_of(request)
    if bearer is not None:
        principal = await run_in_threadpool(_by_token, service, bearer.credentials)
        if principal is None:
            raise HTTPException(401, "the token is not valid", {"WWW-Authenticate": "Bearer"})
        return principal
    principal = None if cookie is None else await run_in_threadpool(_by_cookie, service, cookie)
    if principal is None:
        raise HTTPException(401, "nobody is signed in", {"WWW-Authenticate": "Bearer"})
    if request.method not in _SAFE:
        given = request.headers.get(CSRF_HEADER) or await _form_field(request)
        if not given or not hmac.compare_digest(given.encode(), (principal.csrf or "").encode()):
            raise HTTPException(403, "the request does not carry the CSRF token of its session")
    return principal


def allow(*roles: Role) -> Callable[..., Awaitable[Principal]]:
    """A dependency that lets these roles in and gives the caller.

    Raises:
        HTTPException: 403 for every other role.
    """

    async def check(principal: Annotated[Principal, Depends(caller)]) -> Principal:
        if principal.role not in roles:
            raise HTTPException(403, f"the role {principal.role} may not do this; it takes {' or '.join(roles)}")
        return principal

    return check


def parts_of(request: Request) -> Parts:
    """The parts of the service a request came to."""
    return request.app.state.parts


TheParts = Annotated[Parts, Depends(parts_of)]
TheService = Annotated[Service, Depends(service_of)]
AnyCaller = Annotated[Principal, Depends(caller)]
Reader = Annotated[Principal, Depends(allow("reader", "admin"))]
"""People who read studies."""
Sender = Annotated[Principal, Depends(allow("service", "admin"))]
"""Programs that hand in studies and fetch results."""
Admin = Annotated[Principal, Depends(allow("admin"))]


def client_address(request: Request) -> str:
    """Address of the client's end of the connection; headers that a client could forge are not believed."""
    return request.client.host if request.client else ""


def _by_token(service: Service, secret: str) -> Principal | None:
    with service.store.read() as session:
        return principal_of_token(session, secret)


def _by_cookie(service: Service, token: str) -> Principal | None:
    with service.store.read() as session:
        principal = principal_of_session(session, token, service.settings.security)
        stale = principal is not None and needs_seen(session, token)
    if stale:
        with service.store.write() as session:
            seen(session, token)
    return principal


async def _form_field(request: Request) -> str:
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    length = request.headers.get("content-length", "")
    small = length.isdigit() and int(length) <= _MOST_FORM_BYTES
    if kind not in ("application/x-www-form-urlencoded", "multipart/form-data") or not small:
        return ""
    value = (await request.form()).get(CSRF_FIELD)
    return value if isinstance(value, str) else ""
