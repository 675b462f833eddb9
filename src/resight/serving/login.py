"""Signing in and out with name and password."""

from __future__ import annotations

import hmac
import secrets
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from resight.errors import DataError
from resight.serving.access import SESSION_COOKIE, AnyCaller, TheService, client_address
from resight.serving.accounts import sign_in, sign_out
from resight.serving.pages import render
from resight.serving.service import Service

router = APIRouter(include_in_schema=False)

_FORM_COOKIE: Final = "resight_form"
"""Repeats the hidden field of the sign-in form, so that another site cannot sign a browser in."""


@router.get("/login")
def form(request: Request, service: TheService, target: str = "/") -> HTMLResponse:
    """The sign-in page."""
    return sign_in_page(request, service, target)


@router.post("/login")
def submit(
    request: Request,
    service: TheService,
    name: Annotated[str, Form(max_length=100)],
    password: Annotated[str, Form(max_length=1024)],
    form_token: Annotated[str, Form(max_length=100)],
    target: Annotated[str, Form(max_length=500)] = "/",
) -> Response:
    """Check name and password."""
    kept = request.cookies.get(_FORM_COOKIE, "")
    if not kept or not hmac.compare_digest(kept.encode(), form_token.encode()):
        return sign_in_page(request, service, target, "The page was too old. Please sign in again.", 403)
    try:
        begun = sign_in(service.store, name, password, client_address(request), service.settings.security)
    except DataError as error:
        return sign_in_page(request, service, target, f"{error}.", 429)
    if begun is None:
        return sign_in_page(request, service, target, "Name or password is wrong.", 401)
    return signed_in_response(service, begun[0], target)


@router.post("/logout")
def leave(request: Request, service: TheService, caller: AnyCaller) -> Response:
    """End the browser session."""
    del caller  # asked for the check of the CSRF token
    with service.store.write() as session:
        sign_out(session, request.cookies.get(SESSION_COOKIE, ""))
    response = RedirectResponse("/login", 303)
    response.delete_cookie(SESSION_COOKIE, path="/")
    return response


def signed_in_response(service: Service, token: str, target: str) -> Response:
    """Go to where the person wanted to go, with the cookie of the new session."""
    response = RedirectResponse(local_path(target), 303)
    set_session_cookie(service, response, token)
    response.delete_cookie(_FORM_COOKIE, path="/login")
    return response


def set_session_cookie(service: Service, response: Response, token: str) -> None:
    """Give the browser its session in a cookie that neither scripts nor other sites can use."""
    response.set_cookie(SESSION_COOKIE, token, path="/", httponly=True, samesite="strict", secure=is_tls(service))


def sign_in_page(request: Request, service: Service, target: str, message: str = "", status: int = 200) -> HTMLResponse:
    """The sign-in form, with what went wrong."""
    token = secrets.token_urlsafe(24)
    values = {"message": message, "target": local_path(target), "form_token": token}
    page = render(request, "login.html", status=status, oidc=service.settings.security.oidc is not None, **values)
    page.set_cookie(_FORM_COOKIE, token, path="/login", httponly=True, samesite="strict", secure=is_tls(service))
    return page


def local_path(target: str) -> str:
    """A path on this server; the start page for everything that could lead elsewhere."""
    plain = target.startswith("/") and not target.startswith("//") and "\\" not in target
    return target if plain and target.isprintable() else "/"


def wants_page(request: Request, status: int) -> bool:
    """Whether a browser asked for a page without being signed in, and should see the form instead of an error."""
    return status == 401 and request.method == "GET" and "text/html" in request.headers.get("accept", "")


def is_tls(service: Service) -> bool:
    """Whether browsers reach this server over TLS."""
    return service.settings.http.tls is not None
