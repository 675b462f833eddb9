from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_rel
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import ShuffleSplit, cross_val_score

from resight.evaluation.resampled import corrected_resampled_t_test


def test_is_the_paired_t_test_with_a_wider_error(rng):
    a, b = rng.normal(0.8, 0.03, 20), rng.normal(0.78, 0.03, 20)
    ours = corrected_resampled_t_test(a, b, n_train=80, n_test=20)
    plain = ttest_rel(a, b)
    widened = math.sqrt(1 + 20 * 20 / 80)
    assert ours.statistic == pytest.approx(plain.statistic / widened)
    assert ours.difference == pytest.approx((a - b).mean())
    interval = plain.confidence_interval()
    assert ours.high - ours.low == pytest.approx((interval.high - interval.low) * widened)
    assert plain.pvalue < ours.p


def test_with_vanishing_test_parts_it_is_the_paired_t_test(rng):
    a, b = rng.normal(0.8, 0.03, 12), rng.normal(0.78, 0.03, 12)
    assert corrected_resampled_t_test(a, b, n_train=10**12, n_test=1).p == pytest.approx(ttest_rel(a, b).pvalue)


def test_a_worked_example():
    """Five splits by hand: mean 0.02, variance 0.00025, error sqrt((1/5 + 1/4) * 0.00025) = 0.010607."""
    a = np.array([0.90, 0.91, 0.92, 0.93, 0.94])
    test = corrected_resampled_t_test(a, np.full(5, 0.90), n_train=400, n_test=100)
    assert test.statistic == pytest.approx(0.02 / 0.0106066, rel=1e-4)
    assert test.p == pytest.approx(0.1324, abs=1e-3)
    assert test.low == pytest.approx(0.02 - 2.776445 * 0.0106066, abs=1e-6)


def test_models_that_are_equally_good_are_rarely_told_apart():
    """Two useless feature sets: at level 0.05 the plain t-test is far too eager, the corrected one is not."""
    plain, corrected = 0, 0
    for seed in range(30):
        X, y = make_classification(60, 8, n_informative=2, n_redundant=0, flip_y=0.6, shuffle=False, random_state=seed)
        splits = ShuffleSplit(10, test_size=0.3, random_state=seed)
        a, b = (cross_val_score(LogisticRegression(), X[:, part], y, cv=splits) for part in (slice(2, 5), slice(5, 8)))
        if not np.ptp(a - b):
            continue
        plain += ttest_rel(a, b).pvalue < 0.05
        corrected += corrected_resampled_t_test(a, b, n_train=42, n_test=18).p < 0.05
    assert plain >= 7
    assert corrected <= 3


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ([0.5], [0.4], "two are needed"),
        ([], [], "two are needed"),
        ([0.5, np.nan], [0.4, 0.3], "1 of 2"),
        ([0.5, 0.75], [0.25, 0.5], "same on every split"),
    ],
)
def test_undefined_is_said(a, b, reason):
    test = corrected_resampled_t_test(np.array(a), np.array(b), n_train=8, n_test=2)
    assert math.isnan(test.p)
    assert reason in test.undefined_because


def test_no_difference_anywhere_is_no_difference():
    same = corrected_resampled_t_test(np.ones(3), np.ones(3), n_train=8, n_test=2)
    assert (same.p, same.low, same.high) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize(("b", "n_test", "message"), [([1.0], 2, "one per split"), ([1.0, 2.0], 0, "at least 1")])
def test_impossible_questions_are_refused(b, n_test, message):
    with pytest.raises(ValueError, match=message):
        corrected_resampled_t_test(np.array([1.0, 2.0]), np.array(b), n_train=8, n_test=n_test)
