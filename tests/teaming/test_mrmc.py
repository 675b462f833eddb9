"""Obuchowski-Rockette: published examples, limits that are known, and the false alarm rate by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from resight.teaming import ErrorVariance, SimulatedReaders, analyse, arm_test, simulate_ratings

# Van Dyke et al. 1993, two arms and five readers, as analysed in the RJafroc book (D. Chakraborty), chapter 21:
# areas under the empirical curves and covariances by jackknife.
VAN_DYKE = np.array(
    [
        [0.91964573, 0.85877617, 0.90386473, 0.97310789, 0.82979066],
        [0.94782609, 0.90531401, 0.92173913, 0.99935588, 0.92995169],
    ]
)
VAN_DYKE_ERRORS = ErrorVariance(0.0008022883, 0.0003466137, 0.0003440748, 0.0002390284, (math.nan, math.nan))


@pytest.mark.parametrize(
    ("kind", "statistic", "df", "p", "low", "high"),
    [
        ("readers and cases", 4.456319, 15.25967, 0.05166569, -0.0003589, 0.0879595),
        ("cases", 5.475953, math.inf, 0.01927984, 0.0071147, 0.0804859),
        ("readers", 8.704000, 4.0, 0.04195875, 0.0025804, 0.0850202),
    ],
)
def test_the_published_example(kind: str, statistic: float, df: float, p: float, low: float, high: float) -> None:
    found = arm_test(VAN_DYKE, VAN_DYKE_ERRORS, kind)
    assert found.statistic == pytest.approx(statistic, abs=2e-5)
    assert found.df[1] == pytest.approx(df, rel=1e-5)
    assert found.p == pytest.approx(p, abs=1e-6)
    difference = found.differences[0, 1]
    assert (difference.low, difference.high) == pytest.approx((low, high), abs=2e-6)


def test_equal_arms_are_called_different_as_often_as_stated() -> None:
    """400 null studies: at 5 %, 20 are expected; 8 to 34 holds with a probability of 0.998."""
    targets = np.arange(80) < 40
    alarms = 0
    for seed in range(400):
        ratings = simulate_ratings(targets, SimulatedReaders(seed=seed, readers=4))
        alarms += analyse(ratings, targets).tests[0].p < 0.05
    assert 8 <= alarms <= 34


def test_a_planted_difference_is_found_with_its_sign_and_size() -> None:
    targets = np.arange(300) < 150
    ratings = simulate_ratings(targets, SimulatedReaders(separation=(1.0, 2.0), readers=6, seed=1))
    found = analyse(ratings, targets).tests[0]
    difference = found.differences[0, 1]
    assert found.p < 0.001
    assert 0.08 < difference.low < difference.value < difference.high < 0.3


@pytest.mark.parametrize("figure", ["sensitivity", "specificity"])
def test_rates_are_means_over_readers(figure: str, rng: np.random.Generator) -> None:
    targets = np.arange(60) < 25
    decisions = (rng.random((2, 3, 60)) < 0.4).astype(float)
    found = analyse(decisions, targets, figure=figure)
    rows = targets if figure == "sensitivity" else ~targets
    right = decisions[:, :, rows] == (figure == "sensitivity")
    np.testing.assert_allclose(found.figures, right.mean(axis=2))
    covariance = np.cov(right.reshape(6, -1).astype(float)) / rows.sum()
    np.testing.assert_allclose(found.errors.variance, np.diag(covariance).mean(), rtol=1e-12)


def test_cases_of_one_patient_do_not_tell_how_cases_vary(rng: np.random.Generator) -> None:
    found = analyse(rng.normal(size=(2, 3, 20)), np.tile([0.0, 1.0], 10), np.zeros(20, dtype=int))
    of_kind = {test.generalises_to: test for test in found.tests}
    for kind in ("readers and cases", "cases"):
        assert of_kind[kind].undefined_because.startswith("one patient holds all positives")
        assert math.isnan(of_kind[kind].p)
    assert of_kind["readers"].p > 0


def test_readers_who_are_moved_alike_leave_no_variance_to_judge_by() -> None:
    figures = np.array([[0.8, 0.7], [0.9, 0.8]])
    found = arm_test(figures, ErrorVariance(0.001, 0.001, 0.0, 0.0, (0.0, 0.0)), "readers")
    assert math.isnan(found.p)
    assert "no variance" in found.undefined_because


@pytest.mark.parametrize(
    ("ratings", "targets", "said"),
    [
        (np.zeros((2, 1, 4)), np.array([0, 0, 1, 1]), "1 reader"),
        (np.full((2, 2, 4), np.nan), np.array([0, 0, 1, 1]), "missing"),
        (np.zeros((2, 2, 4)), np.zeros(4), "0 of 4 cases are positive"),
    ],
)
def test_what_cannot_be_analysed_is_said(ratings: np.ndarray, targets: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        analyse(ratings, targets)


def test_one_arm_has_figures_but_no_test() -> None:
    targets = np.arange(40) < 20
    found = analyse(simulate_ratings(targets, SimulatedReaders(separation=(1.5,))), targets)
    assert found.arms[0].low < found.arms[0].value < found.arms[0].high
    assert all(test.undefined_because for test in found.tests)
