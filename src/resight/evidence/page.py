"""A page of sections with text, charts and tables in one HTML file: for analyses that are no evaluation of a run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from resight.errors import writing
from resight.evidence.plots import Group
from resight.evidence.tables import Table
from resight.evidence.theme import style_variables


@dataclass(frozen=True)
class Section:
    """One section.

    Attributes:
        title: its heading.
        how: how it is to be read, one or two sentences.
        sentences: paragraphs.
        charts: side by side, with their legend.
        tables: below the charts.
        notes: what was left out and the like, in small print.
    """

    title: str
    how: str = ""
    sentences: tuple[str, ...] = ()
    charts: Group | None = None
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        kind: stands small above the title.
        title: its heading.
        sections: in order.
        lead: stands below the title.
        warnings: stand below the lead, one sentence each.
        notice: what the page is and is not, at its end.
    """

    kind: str
    title: str
    sections: tuple[Section, ...]
    lead: str = ""
    warnings: tuple[str, ...] = ()
    notice: str = "This page describes one analysis of past images. It is no approval for use on patients."


def write_page(path: Path, page: Page) -> None:
    """Write a page.

    Raises:
        OutputError: the file cannot be written.
    """
    write_html(path, render_page(page))


def render_page(page: Page, template: str = "page.html", **values: Any) -> str:
    """A page as HTML; all text is escaped.

    Args:
        page: what every page has.
        template: one that extends `layout.html`.
        **values: what that template shows besides.
    """
    return (
        environment()
        .get_template(template)
        .render(
            page=page,
            **values,
            style=Markup(asset("report.css")),  # noqa: S704 - our own file
            light=Markup(style_variables(dark=False)),  # noqa: S704 - our own colours
            dark=Markup(style_variables(dark=True)),  # noqa: S704
        )
    )


def write_html(path: Path, text: str) -> None:
    """Write text that was rendered.

    Raises:
        OutputError: the file cannot be written.
    """
    with writing(path):
        path.write_text(text, encoding="utf-8")


@cache
def environment() -> Environment:
    """The templates of this room."""
    loader = PackageLoader("resight.evidence")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def asset(name: str) -> str:
    """Text of a file beside the templates."""
    return files("resight.evidence").joinpath("templates", name).read_text(encoding="utf-8")
