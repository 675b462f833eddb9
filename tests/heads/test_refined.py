from __future__ import annotations

import numpy as np
import pytest

from resight.heads import ridge
from resight.heads.refined import FEW, solve_refined
from resight.heads.ridge import fit_ridge


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("penalty", [1e-6, 1.0])
@pytest.mark.parametrize("responses", [1, FEW])
def test_a_factor_in_float32_gives_the_solution_of_float64(
    order: str, penalty: float, responses: int, rng: np.random.Generator
) -> None:
    rows = np.asarray(np.tanh(rng.standard_normal((700, 300))), order=order)
    right = np.column_stack([rows.T @ rng.standard_normal((700, responses)), np.zeros(300)])
    exact = np.linalg.solve(rows.T @ rows + penalty * np.eye(300), right)
    found = solve_refined(rows, right, penalty)
    assert found is not None
    np.testing.assert_allclose(found, exact, rtol=1e-10, atol=1e-12)
    coarse = np.linalg.solve((rows.T @ rows + penalty * np.eye(300)).astype(np.float32), right.astype(np.float32))
    assert np.abs(coarse - exact).max() > 1e3 * np.abs(found - exact).max()


def test_what_float32_cannot_tell_apart_is_left_to_float64(rng: np.random.Generator) -> None:
    base = rng.standard_normal((700, 300))
    base[:, 1] = base[:, 0] * (1 + 1e-12)  # the same column twice, in float32
    assert solve_refined(base, base.T @ rng.standard_normal((700, 1)), 1e-9) is None
    assert solve_refined(base * 1e30, base.T @ rng.standard_normal((700, 1)), 1.0) is None  # infinite in float32
    targets = rng.standard_normal((700, 1))
    (fit,) = fit_ridge(base, targets, [1e-9])
    residual = base.T @ (targets - base @ fit.coefficients) - 1e-9 * fit.coefficients
    assert np.abs(residual).max() < 1e-6


@pytest.mark.parametrize("shape", [(600, 300), (300, 600)])
def test_a_single_penalty_and_several_give_the_same_weights(
    shape: tuple[int, int], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    design, responses = np.tanh(rng.standard_normal(shape)), rng.standard_normal((shape[0], 3))
    used: list[float] = []

    def watched(rows: np.ndarray, right: np.ndarray, penalty: float) -> np.ndarray | None:
        used.append(penalty)
        return solve_refined(rows, right, penalty)

    monkeypatch.setattr(ridge, "solve_refined", watched)
    (single,) = fit_ridge(design, responses, [1e-3], intercept=True)
    assert used == [1e-3]
    several = fit_ridge(design, responses, [1e-3, 1.0], intercept=True)[0]
    assert used == [1e-3]
    np.testing.assert_allclose(single.coefficients, several.coefficients, rtol=1e-8, atol=1e-11)
