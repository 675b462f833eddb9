"""Pages as Jinja templates in the folder `templates`; everything that is put into them is escaped."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any

from fastapi import Path, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

Key = Annotated[int, Path(ge=0, le=2**31 - 1)]
"""Number of a row in the address of a page."""


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page.

    Args:
        request: what is answered; templates know it as `request`.
        template: file name.
        status: HTTP status.
        **values: what the template uses.
    """
    text = _environment().get_template(template).render(request=request, **values)
    return HTMLResponse(text, status)


@lru_cache
def _environment() -> Environment:
    loader = PackageLoader("resight.serving")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
