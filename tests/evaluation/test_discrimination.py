"""Invariances and undefined cases of the ranking metrics; values are held in `tests/oracles`."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resight.evaluation import (
    Curve,
    auprc,
    auroc,
    partial_auroc,
    roc_curve,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
)
from resight.types import MetricValue

ROWS = st.lists(st.tuples(st.booleans(), st.integers(-8, 8)), min_size=2, max_size=40).filter(
    lambda rows: 0 < sum(positive for positive, _ in rows) < len(rows)
)
Rows = list[tuple[bool, int]]


def arrays(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    return np.array([float(p) for p, _ in rows]), np.array([float(s) for _, s in rows])


def all_of(y: np.ndarray, s: np.ndarray) -> list[float]:
    return [
        auroc(y, s).value,
        auprc(y, s).value,
        partial_auroc(y, s, 0.2).value,
        sensitivity_at_specificity(y, s, 0.8).value,
        specificity_at_sensitivity(y, s, 0.8).value,
    ]


@settings(deadline=None)
@given(ROWS)
def test_only_the_order_of_scores_counts(rows: Rows) -> None:
    y, s = arrays(rows)
    assert all_of(y, np.exp(s / 3) - 7) == all_of(y, s)


@settings(deadline=None)
@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_count(rows: Rows, random: object) -> None:
    y, s = arrays(rows)
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert all_of(*arrays(shuffled)) == pytest.approx(all_of(y, s), abs=1e-12)


@settings(deadline=None)
@given(ROWS)
def test_weights_are_copies_of_rows(rows: Rows) -> None:
    y, s = arrays(rows)
    times = np.arange(len(rows)) % 3 + 1
    for metric in (auroc, auprc):
        copied = metric(np.repeat(y, times), np.repeat(s, times)).value
        assert metric(y, s, times.astype(float)).value == pytest.approx(copied, abs=1e-12)


@settings(deadline=None)
@given(ROWS)
def test_turning_scores_round_mirrors_the_auroc(rows: Rows) -> None:
    y, s = arrays(rows)
    assert auroc(y, -s).value == pytest.approx(1 - auroc(y, s).value, abs=1e-12)
    assert auroc(1 - y, s).value == pytest.approx(1 - auroc(y, s).value, abs=1e-12)


def test_equal_scores_say_nothing() -> None:
    y, s = np.array([1.0, 0, 0, 0]), np.ones(4)
    assert auroc(y, s).value == 0.5
    assert auprc(y, s).value == 0.25
    assert partial_auroc(y, s, 0.1).value == pytest.approx(0.5)
    assert sensitivity_at_specificity(y, s, 0.9).value == 0
    assert specificity_at_sensitivity(y, s, 0.9).value == 0


def test_perfect_scores_and_infinite_ones() -> None:
    y, s = np.array([0.0, 0, 1, 1]), np.array([-np.inf, 0, 1, np.inf])
    assert all_of(y, s) == [1, 1, 1, 1, 1]


def test_a_rate_of_nine_in_ten_is_reached_by_nine_of_ten() -> None:
    y = np.array([0.0] * 10 + [1.0] * 10)
    s = np.arange(20.0)
    s[9], s[10] = 10, 9
    assert sensitivity_at_specificity(y, s, 0.9).value == 1.0
    assert specificity_at_sensitivity(y, s, 0.9).value == 1.0


@pytest.mark.parametrize(
    ("targets", "reason"), [([], "no rows"), ([1, 1, 1], "3 positives, 0 negatives"), ([0], "0 positives, 1 negatives")]
)
def test_one_class_is_not_a_number_and_says_why(targets: list[int], reason: str) -> None:
    y = np.array(targets, dtype=float)
    for value in (auroc(y, y), auprc(y, y), partial_auroc(y, y, 0.1), sensitivity_at_specificity(y, y, 0.9)):
        assert math.isnan(value.value)
        assert value == MetricValue(value.value, n=len(y), undefined_because=reason)


def test_weights_that_leave_one_class() -> None:
    y = np.array([1.0, 0.0, 0.0])
    for weights in ([0.0, 1, 1], [1.0, 0, 0]):
        value = auprc(y, y, np.array(weights))
        assert value.undefined_because == "the weights leave one class only"


def test_a_thinned_curve_keeps_ends_and_shape(rng: np.random.Generator) -> None:
    y = (rng.random(20_000) < 0.02).astype(float)
    curve = roc_curve(y, rng.normal(size=20_000) + 2 * y)
    thin = curve.thinned(400)
    assert len(thin.x) <= 400
    assert (thin.x[0], thin.y[0], thin.x[-1], thin.y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(thin.y, thin.x) == pytest.approx(np.trapezoid(curve.y, curve.x), abs=0.005)
    assert curve.thinned(50_000) is curve
    assert isinstance(thin, Curve)
