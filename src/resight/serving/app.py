"""The web application: sign-in, REST, STOW-RS, health, metrics and the pages, behind one guard."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Final
from urllib.parse import quote

from fastapi import FastAPI, HTTPException, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from python_multipart.exceptions import FormParserError
from starlette.exceptions import HTTPException as StarletteHTTPException

from resight.serving import api, dashboard, dicomweb, login, oidc, reader_pages, review_pages, viewer
from resight.serving.guard import Guard
from resight.serving.pages import render
from resight.serving.parts import Parts
from resight.serving.pictures import Pictures
from resight.serving.views import Views

_MEGABYTE: Final = 2**20
_STATIC: Final = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
"""Kinds of files in the folder `static`, which browsers may fetch."""


def build_app(parts: Parts) -> FastAPI:
    """The application of a service.

    Args:
        parts: what it serves; closed by whoever made them.
    """
    settings = parts.service.settings
    app = FastAPI(
        title="Resight",
        version=version("resight"),
        summary="Predictions on medical images: studies in, findings out.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.parts, app.state.service = parts, parts.service
    app.state.oidc = oidc.PendingSignIns()
    app.add_middleware(
        Guard,
        networks=settings.http.networks,
        body_bytes=settings.limits.upload_mb * _MEGABYTE,
        tls=settings.http.tls is not None,
    )
    app.add_exception_handler(StarletteHTTPException, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_unfit)
    app.add_exception_handler(FormParserError, _answer_damaged_form)
    app.state.pictures, app.state.views = Pictures(parts), Views(parts)
    app.state.drifts = dashboard.DriftCache()
    for room in (login, oidc, api, dicomweb, review_pages, viewer, reader_pages, dashboard):
        app.include_router(room.router)
    app.middleware("http")(_count)
    app.get("/static/{name}", include_in_schema=False)(static_file)
    return app


def static_file(name: str) -> Response:
    """A style sheet, script or picture of the pages; listed by name, so that no path leads elsewhere."""
    files = {path.name: path for path in (Path(__file__).parent / "static").iterdir() if path.suffix in _STATIC}
    if name not in files:
        raise HTTPException(404, "there is no such file")
    return FileResponse(files[name], media_type=_STATIC[files[name].suffix], headers={"Cache-Control": "max-age=3600"})


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    if login.wants_page(request, error.status_code):
        return RedirectResponse(f"/login?target={quote(request.url.path)}", 303)
    if _is_person(request):
        return _error_page(request, error.status_code, str(error.detail))
    return await http_exception_handler(request, error)


async def _answer_unfit(request: Request, error: Exception) -> Response:
    """Say which part of the request is not what it should be; what was sent may be a password, and is not repeated."""
    assert isinstance(error, RequestValidationError)
    problems = [{key: one[key] for key in ("loc", "msg", "type")} for one in error.errors()]
    if not _is_person(request):
        return JSONResponse({"detail": problems}, 422)
    words = [f"{'.'.join(map(str, one['loc'][1:])) or 'the form'}: {one['msg'].lower()}" for one in problems]
    where = "address" if request.method == "GET" else "form"
    return _error_page(request, 422, f"This {where} asks for something that cannot be: {'; '.join(words)}.")


def _is_person(request: Request) -> bool:
    """Whether a browser asks for a page: somebody in a dark room, not a program."""
    return "text/html" in request.headers.get("accept", "")


def _error_page(request: Request, status: int, detail: str) -> Response:
    return render(request, "error.html", status=status, code=status, detail=detail)


async def _answer_damaged_form(request: Request, error: Exception) -> Response:
    """Tell the client of a body that is not the form its header announces."""
    del request, error  # its message repeats what was sent
    return JSONResponse({"detail": "the body is not the form that its header describes"}, 400)


async def _count(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Count a request under the template of its path, so that nobody can invent labels."""
    begun = time.perf_counter()
    response = await call_next(request)
    route = getattr(request.scope.get("route"), "path", "none")
    telemetry = request.app.state.parts.telemetry
    telemetry.requests.labels(route, request.method if route != "none" else "any", response.status_code).inc()
    telemetry.seconds.labels(route).observe(time.perf_counter() - begun)
    return response
