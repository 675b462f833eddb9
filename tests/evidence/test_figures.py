"""Charts put points where the numbers say."""

from __future__ import annotations

import re

import numpy as np
import pytest

from resight.evaluation import roc_curve
from resight.evidence.figures import Axis, Chart, Interval, Line, interval_plot, legend, path, round_ticks
from resight.types import MetricValue


def _points(data: str) -> np.ndarray:
    return np.array([[float(n) for n in point.split()] for point in re.split("[ML]", data) if point])


def _plot_area(svg: str) -> tuple[float, float]:
    inner = re.search(r'<svg x="[\d.]+" y="[\d.]+" width="([\d.]+)" height="([\d.]+)" viewBox="(-[\d.]+) ', svg)
    assert inner is not None
    bleed = -float(inner[3])
    return float(inner[1]) - 2 * bleed, float(inner[2]) - 2 * bleed


def test_a_known_roc_curve_is_drawn_where_it_is() -> None:
    curve = roc_curve(np.array([1, 1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.6, 0.1]))
    svg = Chart("ROC", Axis("x"), Axis("y"), (Line("model", curve.x, curve.y),)).svg()
    width, height = _plot_area(svg)
    data = re.search(r'class="line model" d="([^"]+)"', svg)
    assert data is not None
    drawn = _points(data[1]) / [width, height]
    expected = [(0, 0), (0, 1 / 3), (0, 2 / 3), (0.5, 2 / 3), (0.5, 1), (1, 1)]
    np.testing.assert_allclose(drawn, [(x, 1 - y) for x, y in expected], atol=1e-3)


@pytest.mark.parametrize("size", [(320, 290), (172, 160)])
def test_ticks_stand_under_the_values_they_name(size: tuple[int, int]) -> None:
    svg = Chart("c", Axis("x", -1, 3, (-1.0, 1.0, 3.0)), Axis("", 0, 0.0012), (), size).svg()
    width, _ = _plot_area(svg)
    places = {
        text: float(x)
        for x, text in re.findall(r'<text class="tick" x="([\d.-]+)"[^>]*text-anchor="middle">([^<]+)<', svg)
    }
    assert places["1"] - places["−1"] == pytest.approx(width / 2, abs=0.11)
    assert places["3"] - places["−1"] == pytest.approx(width, abs=0.11)
    ends = re.findall(r'<text class="tick" x="([\d.-]+)"[^>]*text-anchor="end">([^<]+)<', svg)
    assert all(float(x) >= 6 * len(text) for x, text in ends), "a number is cut off on the left"


def test_points_that_are_not_finite_interrupt_a_line() -> None:
    data = path(np.array([0.0, 1.0, np.nan, 3.0, 4.0]), np.array([0.0, 1.0, 2.0, np.inf, 4.0]))
    assert data == "M0 0L1 1M4 4"


def test_whiskers_and_dots_of_bins_without_interval_are_left_out() -> None:
    x = np.array([0.2, 0.8])
    line = Line(
        "m", x, np.array([0.5, np.nan]), low=np.array([0.1, np.nan]), high=np.array([0.9, np.nan]),
        dots=True, joined=False,
    )  # fmt: skip
    svg = Chart("c", Axis(""), Axis(""), (line,)).svg()
    assert svg.count("<circle") == 1
    whisker = re.search(r'class="whisker model" d="([^"]+)"', svg)
    assert whisker is not None
    assert whisker[1].count("M") == 1


def test_the_longest_number_beside_an_interval_plot_has_room() -> None:
    note = "0.996 (0.991 to 0.9996)"
    rows = [Interval("A", MetricValue(0.996, 0.991, 0.9996, 10), note=note), Interval("B", MetricValue(0.5, 0, 1, 4))]
    svg = interval_plot("AUROC", rows, Axis("AUROC", 0.5, 1.0), width=760)
    place = re.search(
        r'<text x="([\d.]+)" y="[\d.]+"[^>]*class="figure-number"|<text class="figure-number"[^>]*x="([\d.]+)"', svg
    )
    assert place is not None
    digit_px = 6.0  # of 11 px, and dots and brackets are narrower
    assert float(place[1] or place[2]) + digit_px * len(note) <= 760


def test_an_interval_plot_says_why_a_value_is_missing_and_marks_the_comparison() -> None:
    rows = [
        Interval("A", MetricValue(0.75, 0.5, 1.0, 10), reference=0.5, note="0.75"),
        Interval("B & C", MetricValue.undefined("0 positives, 9 negatives")),
    ]
    svg = interval_plot("AUROC", rows, Axis("AUROC", 0.5, 1.0))
    whisker = re.search(r'class="whisker model" d="M([\d.]+) [\d.]+H([\d.]+)"', svg)
    dot = re.search(r'class="dot model" cx="([\d.]+)"', svg)
    mark = re.search(r'class="line second mark" d="M([\d.]+) ', svg)
    assert whisker is not None
    assert dot is not None
    assert mark is not None
    assert float(dot[1]) == pytest.approx((float(whisker[1]) + float(whisker[2])) / 2, abs=0.1)
    assert float(mark[1]) == float(whisker[1])
    assert svg.count("<circle") == 1
    assert "not estimable: 0 positives, 9 negatives" in svg
    assert "B &amp; C" in svg


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        (-0.1, 0.4, (-0.1, 0.0, 0.1, 0.2, 0.3, 0.4)),
        (0.0, 47.0, (0.0, 10.0, 20.0, 30.0, 40.0)),
        (2.0, 2.0, (2.0,)),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: tuple[float, ...]) -> None:
    assert round_ticks(low, high, 5) == expected


def test_a_legend_names_each_line_once() -> None:
    x = np.array([0.0, 1.0])
    text = legend([Line("Model", x, x), Line("Model", x, x), Line("Chance <", x, x, "reference")])
    assert text.count("<li>") == 2
    assert "Chance &lt;" in text
