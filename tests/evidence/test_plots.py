"""The charts of a report show the evaluation's own points."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from resight.evaluation import Evaluation
from resight.evidence import ReportContent, SubgroupRow
from resight.evidence.plots import (
    Group,
    decision_charts,
    group_chart,
    overview,
    pr_charts,
    reliability_charts,
    roc_charts,
    training_charts,
)
from resight.types import MetricValue


def _area(svg: str) -> np.ndarray:
    """Width and height of the plot, which has 4 pixels of room around it."""
    inner = re.search(r'<svg x="[\d.]+" y="[\d.]+" width="([\d.]+)" height="([\d.]+)"', svg)
    assert inner is not None
    return np.array([float(inner[1]), float(inner[2])]) - 8


def _dots(svg: str, style: str) -> np.ndarray:
    """Dots in the unit square, upwards."""
    found = re.findall(rf'class="dot {style}" cx="([\d.-]+)" cy="([\d.-]+)"', svg)
    return np.abs([0, 1] - np.array(found, dtype=float) / _area(svg))


def test_operating_points_lie_at_their_rates(binary: ReportContent) -> None:
    (figure,) = roc_charts(binary.evaluation).figures
    expected = [
        (1 - point.metrics["specificity"].value, point.metrics["sensitivity"].value)
        for point in binary.evaluation.operating
    ]
    np.testing.assert_allclose(_dots(figure.svg, "second"), expected, atol=1e-3)


def test_chance_in_a_pr_chart_is_the_share_of_positives(binary: ReportContent) -> None:
    (figure,) = pr_charts(binary.evaluation).figures
    chance = re.search(r'class="line reference" d="M0 ([\d.]+)L[\d.]+ ([\d.]+)"', figure.svg)
    assert chance is not None
    counts = binary.evaluation.labels[0].counts
    share = counts.positives / (counts.positives + counts.negatives)
    height = 1 - np.array(chance.groups(), dtype=float) / _area(figure.svg)[1]
    np.testing.assert_allclose(height, share, atol=1e-3)
    assert share < 0.45


def test_reliability_shows_every_bin(binary: ReportContent) -> None:
    (figure,) = reliability_charts(binary.evaluation).figures
    bins = binary.evaluation.labels[0].curves.reliability
    assert bins is not None
    expected = np.column_stack([bins.predicted, [value.value for value in bins.observed]])
    np.testing.assert_allclose(_dots(figure.svg, "model"), expected, atol=1e-3)


@pytest.mark.parametrize("charts", [roc_charts, pr_charts, decision_charts])
def test_labels_that_cannot_be_judged_have_no_chart_and_are_named(
    fourteen: ReportContent, charts: Callable[[Evaluation], Group]
) -> None:
    group = charts(fourteen.evaluation)
    assert group.small
    assert [figure.head for figure in group.figures] == [r.label for r in fourteen.evaluation.labels[:-1]]
    assert "No curve for Hernia" in group.note
    assert "Across: " in group.note


def test_few_labels_get_large_charts_with_named_axes(three: ReportContent) -> None:
    group = roc_charts(three.evaluation)
    assert not group.small
    assert group.note == ""
    assert all("Sensitivity</text>" in figure.svg for figure in group.figures)


def test_the_overview_lists_labels_and_their_mean(fourteen: ReportContent, binary: ReportContent) -> None:
    svg = overview(fourteen.evaluation)
    assert svg is not None
    names = re.findall(r'class="name"[^>]*>([^<]+)<', svg)
    assert names == [*(r.label for r in fourteen.evaluation.labels), "Mean of labels"]
    assert overview(binary.evaluation) is None


def test_the_epoch_that_was_kept_is_marked(binary: ReportContent) -> None:
    loss, ranking = training_charts(binary).figures
    (place,) = _dots(loss.svg, "third")
    assert place[0] == pytest.approx(9 / 11, abs=1e-2)
    assert len(_dots(ranking.svg, "third")) == 1


def test_several_networks_share_a_legend_and_missing_values_are_left_out(binary: ReportContent) -> None:
    blind = [{**entry, "validation_auroc": None} for entry in binary.histories[0]]
    group = training_charts(replace(binary, histories=(blind, blind), best_epochs=(2, 4)))
    assert len(group.figures) == 1
    assert group.figures[0].svg.count('class="line model"') == 2
    assert group.legend.count("Validation") == 1
    one = training_charts(replace(binary, histories=(blind[:1],), best_epochs=(0,)))
    assert "nan" not in one.figures[0].svg
    assert training_charts(replace(binary, histories=([],), best_epochs=())).figures == ()


def test_groups_stand_below_each_other_with_the_commonest_label_first(binary: ReportContent) -> None:
    rows = [
        SubgroupRow("sex", group, label, 50, positives, {"auroc": MetricValue(0.8, 0.7, 0.9, 50)})
        for label, positives in (("Rare", 11), ("Common", 30))
        for group in ("F", "M")
    ]
    many = replace(binary, evaluation=replace(binary.evaluation, labels=binary.evaluation.labels * 2))
    small = SubgroupRow("sex", "X", "Common", 3, 1, {"auroc": MetricValue.undefined("3 images", 3)})
    chart = str(group_chart(replace(many, subgroups=(*rows, small))))
    assert chart.index("sex F, Common") < chart.index("sex F, Rare")
    assert "sex X" not in chart
    assert group_chart(replace(many, subgroups=(small,))) is None
