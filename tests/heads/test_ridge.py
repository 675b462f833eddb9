from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resight.heads.ridge import fit_ridge

SHAPES = [(30, 8), (12, 12), (9, 25)]  # primal, square, dual


def problem(rng: np.random.Generator, n: int, j: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((n, j)) + 1.0, rng.choice([-1.0, 1.0], (n, 2))


@pytest.mark.parametrize(("n", "j"), SHAPES)
def test_is_least_squares_with_penalty_rows(rng, n, j):
    D, T = problem(rng, n, j)
    fits = fit_ridge(D, T, [0.01, 3.0])
    for fit in fits:
        stacked = np.vstack([D, np.sqrt(fit.penalty) * np.eye(j)])
        expected = np.linalg.lstsq(stacked, np.vstack([T, np.zeros((j, 2))]), rcond=None)[0]
        np.testing.assert_allclose(fit.coefficients, expected, atol=1e-9)
        assert not fit.intercept.any()


@pytest.mark.parametrize(("n", "j"), SHAPES)
def test_no_penalty_is_the_pseudo_inverse(rng, n, j):
    D, T = problem(rng, n, j)
    np.testing.assert_allclose(fit_ridge(D, T, [0])[0].coefficients, np.linalg.pinv(D) @ T, atol=1e-8)


def test_a_penalty_lost_in_rounding_still_gives_the_right_answer(rng):
    D, T = problem(rng, 20, 4)
    D = np.hstack([D, D]) * 1e6  # singular, and 1e-12 vanishes beside its Gram matrix
    fit = fit_ridge(D, T, [1e-12])[0]
    np.testing.assert_allclose(D @ fit.coefficients, D @ np.linalg.pinv(D) @ T, atol=1e-6)


@pytest.mark.parametrize(("n", "j"), SHAPES)
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("penalty", [0.5, 20.0])
def test_left_out_predictions_are_those_of_refits(rng, n, j, intercept, weighted, penalty):
    D, T = problem(rng, n, j)
    weights = rng.uniform(0.2, 3, n) if weighted else None
    fit = fit_ridge(D, T, [penalty], weights=weights, intercept=intercept, leave_out="one")[0]
    for i in range(n):
        keep = np.arange(n) != i
        other = fit_ridge(
            D[keep], T[keep], [penalty], weights=None if weights is None else weights[keep], intercept=intercept
        )[0]
        np.testing.assert_allclose(fit.left_out[i], D[i] @ other.coefficients + other.intercept, atol=1e-7)


@pytest.mark.parametrize(("n", "j"), SHAPES)
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("penalty", [0, 0.5, 20.0])
def test_predictions_without_a_fold_are_those_of_refits(rng, n, j, intercept, weighted, penalty):
    D, T = problem(rng, n, j)
    folds = rng.integers(0, 3, n)
    weights = rng.uniform(0.2, 3, n) if weighted else None
    fit = fit_ridge(D, T, [penalty], weights=weights, intercept=intercept, leave_out=folds)[0]
    if penalty == 0 and j >= n:
        assert np.isnan(fit.left_out).all()
        return
    for fold in range(3):
        out = folds == fold
        other = fit_ridge(
            D[~out], T[~out], [penalty], weights=None if weights is None else weights[~out], intercept=intercept
        )[0]
        np.testing.assert_allclose(fit.left_out[out], D[out] @ other.coefficients + other.intercept, atol=1e-7)


def test_a_sample_of_weight_three_leaves_one_of_three_out(rng):
    D, T = problem(rng, 15, 5)
    counts = rng.integers(1, 4, 15)
    repeated = np.repeat(np.arange(15), counts)
    weighted = fit_ridge(
        D, T, [1.0], weights=counts.astype(float), unit_weights=np.ones(15), intercept=True, leave_out="one"
    )[0]
    plain = fit_ridge(D[repeated], T[repeated], [1.0], intercept=True, leave_out="one")[0]
    np.testing.assert_allclose(weighted.coefficients, plain.coefficients, atol=1e-9)
    np.testing.assert_allclose(weighted.left_out[repeated], plain.left_out, atol=1e-9)


def test_interpolation_has_no_left_out_prediction(rng):
    D, T = problem(rng, 6, 10)
    assert np.isnan(fit_ridge(D, T, [0], leave_out="one")[0].left_out).all()


def test_the_intercept_is_not_penalised(rng):
    D, T = problem(rng, 40, 3)
    fit = fit_ridge(D, T + 7, [1e12], intercept=True)[0]
    np.testing.assert_allclose(fit.intercept, (T + 7).mean(axis=0), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_order_of_samples_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    D, T = problem(rng, 20, 6)
    order = rng.permutation(20)
    a = fit_ridge(D, T, [0.3], leave_out="one")[0]
    b = fit_ridge(D[order], T[order], [0.3], leave_out="one")[0]
    np.testing.assert_allclose(a.coefficients, b.coefficients, atol=1e-9)
    np.testing.assert_allclose(a.left_out[order], b.left_out, atol=1e-9)
