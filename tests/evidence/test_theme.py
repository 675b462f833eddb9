"""Colours can be read by everybody."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import product

import pytest

from resight.evidence.theme import PALETTE, TEXT, contrast, style_variables


def test_contrast_of_black_and_white_and_of_the_published_example() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize(("name", "paper", "dark"), list(product(TEXT, ("paper", "raised"), (False, True))))
def test_text_has_enough_contrast(name: str, paper: str, dark: bool) -> None:
    assert contrast(PALETTE[name][dark], PALETTE[paper][dark]) >= 4.5


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("line", ["model", "second", "good", "reference"])
def test_lines_stand_out_from_the_paper(line: str, dark: bool) -> None:
    assert contrast(PALETTE[line][dark], PALETTE["paper"][dark]) >= 3


def test_the_style_sheet_uses_colours_that_exist_and_all_of_them() -> None:
    style = files("resight.evidence").joinpath("templates", "report.css").read_text(encoding="utf-8")
    used = set(re.findall(r"var\(--([a-z]+)\)", style))
    assert used == set(PALETTE)
    assert style_variables(dark=True).startswith("--paper: #14181d;")


def test_lines_differ_in_more_than_colour() -> None:
    style = files("resight.evidence").joinpath("templates", "report.css").read_text(encoding="utf-8")
    dashes = re.findall(r"\.line\.(?:second|third|reference) \{[^}]*stroke-dasharray: ([^;]+);", style)
    assert len(dashes) == len(set(dashes)) == 3
