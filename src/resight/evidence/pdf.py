"""A page as PDF, by WeasyPrint: nothing is fetched, as pages hold all they show."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NoReturn

from resight.errors import OutputError, require, writing


def write_pdf(path: Path, html: str) -> None:
    """Print a page.

    Args:
        path: the file.
        html: the page, complete in itself.

    Raises:
        DependencyError: WeasyPrint, or a library of the system that it needs, is not installed.
        OutputError: the file cannot be written.
    """
    for name in ("weasyprint", "fontTools"):  # they talk about every rule of a style sheet that is not for paper
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        weasyprint = require("weasyprint", extra="evidence")
        printed = weasyprint.HTML(string=html, url_fetcher=_refuse).write_pdf()
    except OSError as error:  # Pango or another shared library is not there
        raise OutputError(f"WeasyPrint cannot work here ({error})", where=str(path)) from error
    with writing(path):
        path.write_bytes(printed)


def _refuse(url: str) -> NoReturn:
    raise ValueError(f"nothing is fetched: {url[:40]}")
