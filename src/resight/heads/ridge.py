"""Ridge regression in closed form, for several penalties, with left-out predictions at no refit.

Hoerl & Kennard 1970 (ridge); Allen 1974 (PRESS: the leave-one-out residual is e_i / (1 - h_i), and of a whole fold
(I - H_gg)^-1 e_g); the smaller of the two
normal equations is solved, `D'D` (J x J) or `DD'` (N x N). Every solution is good to float64; a large one for a single
penalty is factored in float32 and refined.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import linalg

from resight.heads.refined import FEW, solve_refined

Design = Float[np.ndarray, "N J"]
Responses = Float[np.ndarray, "N K"]
_syrk: Any = linalg.get_blas_funcs("syrk", dtype=np.float64)
_potrf: Any = linalg.get_lapack_funcs("potrf", dtype=np.float64)
_WORTH_REFINING = 256
"""Unknowns from which a factor in float32 saves more than the refinement costs."""
_SATURATED = 1e-9
"""A sample whose leverage is nearer to 1 than this is reproduced by itself alone: it has no leave-one-out residual."""


@dataclass(frozen=True)
class RidgeFit:
    """Output weights for one penalty.

    Attributes:
        penalty: the penalty `lambda` of `|T - D b - c|^2 + lambda |b|^2`.
        coefficients: `b`, one column per response.
        intercept: `c`, never penalised; zeros when none was asked for.
        left_out: prediction of every sample by the fit without it, or without its fold; NaN where that is not
            defined, empty when not asked for.
    """

    penalty: float
    coefficients: Float[np.ndarray, "J K"]
    intercept: Float[np.ndarray, " K"]
    left_out: Responses


def fit_ridge(
    design: Design,
    responses: Responses,
    penalties: Sequence[float],
    *,
    weights: Float[np.ndarray, " N"] | None = None,
    unit_weights: Float[np.ndarray, " N"] | None = None,
    intercept: bool = False,
    leave_out: Literal["one"] | Int[np.ndarray, " N"] | None = None,
) -> list[RidgeFit]:
    """Fit one design for several penalties: one Gram matrix, one Cholesky factor per penalty.

    Args:
        design: the columns the responses are explained by.
        responses: what is to be explained.
        penalties: >= 0 each; 0 is the minimum-norm least-squares solution (pseudo-inverse).
        weights: weight of each sample; all 1 when not given. Positive where whole folds are left out.
        unit_weights: how much of a sample's weight is taken away when it alone is left out; all of it when not given.
        intercept: add a constant that is not penalised.
        leave_out: also predict every sample without itself (`"one"`), or without its fold (the fold of each sample).

    Returns:
        One fit per penalty, in the order given.
    """
    rows, targets = design, responses
    design_mean, response_mean = np.zeros(design.shape[1]), np.zeros(responses.shape[1])
    if intercept:  # centring is the same as an unpenalised column of ones, and keeps both normal equations symmetric
        design_mean = np.average(design, axis=0, weights=weights)
        response_mean = np.average(responses, axis=0, weights=weights)
        rows, targets = rows - design_mean, targets - response_mean
    if weights is None:
        weights = np.ones(len(design))
    else:
        root = np.sqrt(weights)[:, None]
        rows, targets = rows * root, targets * root
    of_intercept = 1 / weights.sum() if intercept else 0.0
    fits = []
    for penalty, (b, hat) in zip(penalties, _solve(rows, targets, penalties, leave_out is not None), strict=True):
        left_out = np.empty((0, responses.shape[1]))
        if hat is not None:
            residuals = responses - response_mean - (design - design_mean) @ b
            if isinstance(leave_out, np.ndarray):
                enlarged = _without_fold(hat, residuals, leave_out, np.sqrt(weights), of_intercept)
            else:
                enlarged = _without_one(hat, residuals, weights, unit_weights, of_intercept)
            left_out = responses - enlarged
        fits.append(RidgeFit(float(penalty), b, response_mean - design_mean @ b, left_out))
    return fits


@dataclass(frozen=True)
class _Hat:
    """The matrix that takes (weighted) responses to fitted ones, `identity * I + factor * root' root`, unformed."""

    root: Float[np.ndarray, "A N"]
    identity: float = 0.0
    factor: float = 1.0

    def diagonal(self) -> Float[np.ndarray, " N"]:
        return self.identity + self.factor * np.einsum("an,an->n", self.root, self.root)

    def block(self, samples: Bool[np.ndarray, " N"]) -> Float[np.ndarray, "M M"]:
        part = self.root[:, samples]
        return self.identity * np.eye(part.shape[1]) + self.factor * (part.T @ part)


def _without_one(
    hat: _Hat,
    residuals: Responses,
    weights: Float[np.ndarray, " N"],
    unit_weights: Float[np.ndarray, " N"] | None,
    of_intercept: float,
) -> Responses:
    share = np.divide(hat.diagonal(), weights, out=np.zeros_like(weights), where=weights > 0) + of_intercept
    kept = 1 - share * (weights if unit_weights is None else unit_weights)
    return residuals / np.where(kept > _SATURATED, kept, np.nan)[:, None]


def _without_fold(
    hat: _Hat,
    residuals: Responses,
    folds: Int[np.ndarray, " N"],
    root_weights: Float[np.ndarray, " N"],
    of_intercept: float,
) -> Responses:
    """Residuals of each fold in the fit without it: `(I - H_gg)^-1 e_g`, in weighted samples."""
    enlarged = np.full_like(residuals, np.nan)
    for fold in np.unique(folds):
        samples = folds == fold
        root = root_weights[samples]
        kept = np.eye(len(root)) - hat.block(samples) - of_intercept * np.outer(root, root)
        factor = _cholesky(kept, 0.0)
        if factor is not None and factor.diagonal().min() ** 2 > _SATURATED:
            solved = linalg.cho_solve((factor, True), residuals[samples] * root[:, None], check_finite=False)
            enlarged[samples] = solved / root[:, None]
    return enlarged


def _solve(
    rows: Design, targets: Responses, penalties: Sequence[float], with_hat: bool
) -> Iterator[tuple[Float[np.ndarray, "J K"], _Hat | None]]:
    """Coefficients and, where asked for, the hat matrix, for each penalty in turn."""
    primal = rows.shape[1] <= rows.shape[0]
    right = targets
    if primal:
        few = targets.shape[1] <= FEW
        right = np.stack([column @ rows for column in targets.T], axis=1) if few else rows.T @ targets
    if len(penalties) == 1 and penalties[0] > 0 and not with_hat and min(rows.shape) >= _WORTH_REFINING:
        solution = solve_refined(rows if primal else rows.T, right, penalties[0])
        if solution is not None:
            yield (solution if primal else rows.T @ solution), None
            return
    gram = None
    for number, penalty in enumerate(penalties, start=1):
        factor = None
        if penalty > 0:
            if gram is None:
                gram = _gram(rows.T if primal else rows)
            factor = _cholesky(gram if number == len(penalties) else gram.copy(order="F"), penalty)
        if factor is None:  # no penalty, or one lost in rounding: the singular values can still tell
            yield _by_singular_values(rows, targets, penalty)
            continue
        solution = linalg.cho_solve((factor, True), right, check_finite=False)
        if not with_hat:
            hat = None
        elif primal:
            hat = _Hat(linalg.solve_triangular(factor, rows.T, lower=True, check_finite=False))
        else:  # K (K + lambda I)^-1 = I - lambda (K + lambda I)^-1
            inverse = linalg.solve_triangular(factor, np.eye(len(factor)), lower=True, check_finite=False)
            hat = _Hat(inverse, identity=1.0, factor=-penalty)
        yield (solution if primal else rows.T @ solution), hat


def _gram(columns: Float[np.ndarray, "A B"]) -> Float[np.ndarray, "A A"]:
    """Lower triangle of `columns @ columns.T`; half the work of a full product."""
    if columns.flags.c_contiguous:
        return _syrk(1.0, columns.T, trans=1, lower=1)
    return _syrk(1.0, columns, lower=1)


def _cholesky(matrix: Float[np.ndarray, "A A"], penalty: float) -> Float[np.ndarray, "A A"] | None:
    """Lower factor of `matrix + penalty I`, written over the matrix; None where that is not positive definite."""
    matrix[np.diag_indices_from(matrix)] += penalty
    factor, info = _potrf(matrix, lower=1, clean=0, overwrite_a=1)
    return factor if info == 0 else None


def _by_singular_values(rows: Design, targets: Responses, penalty: float) -> tuple[Float[np.ndarray, "J K"], _Hat]:
    u, s, vt = linalg.svd(rows, full_matrices=False, check_finite=False)
    kept = s > s.max(initial=0) * max(rows.shape) * np.finfo(np.float64).eps
    u, s, vt = u[:, kept], s[kept], vt[kept]
    shrunk = s / (s**2 + penalty)
    return vt.T @ (shrunk[:, None] * (u.T @ targets)), _Hat((u * np.sqrt(s * shrunk)).T)
