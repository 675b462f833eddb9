"""Ridge regression in closed form, for several penalties and with leave-one-out predictions at no refit.

Hoerl & Kennard 1970 (ridge); Allen 1974 (PRESS: the leave-one-out residual is e_i / (1 - h_i)); the smaller of the two
normal equations is solved, `D'D` (J x J) or `DD'` (N x N). Everything is float64: a float32 Gram matrix with a small
penalty is wrong in the third digit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import linalg

Design = Float[np.ndarray, "N J"]
Responses = Float[np.ndarray, "N K"]
_syrk: Any = linalg.get_blas_funcs("syrk", dtype=np.float64)
_potrf: Any = linalg.get_lapack_funcs("potrf", dtype=np.float64)
_SATURATED = 1e-9
"""A sample whose leverage is nearer to 1 than this is reproduced by itself alone: it has no leave-one-out residual."""


@dataclass(frozen=True)
class RidgeFit:
    """Output weights for one penalty.

    Attributes:
        penalty: the penalty `lambda` of `|T - D b - c|^2 + lambda |b|^2`.
        coefficients: `b`, one column per response.
        intercept: `c`, never penalised; zeros when none was asked for.
        left_out: prediction of every sample by the fit without it; NaN where that is not defined. empty when
            not asked for.
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
    leave_one_out: bool = False,
) -> list[RidgeFit]:
    """Fit one design for several penalties: one Gram matrix, one Cholesky factor per penalty.

    Args:
        design: the columns the responses are explained by.
        responses: what is to be explained.
        penalties: >= 0 each; 0 is the minimum-norm least-squares solution (pseudo-inverse).
        weights: weight of each sample; all 1 when not given.
        unit_weights: how much of a sample's weight is taken away when it is left out; all of it when not given.
        intercept: add a constant that is not penalised.
        leave_one_out: also predict every sample without itself.

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
    for penalty, (b, hat) in zip(penalties, _solve(rows, targets, penalties, leave_one_out), strict=True):
        left_out = np.empty((0, responses.shape[1]))
        if hat is not None:
            share = np.divide(hat, weights, out=np.zeros_like(hat), where=weights > 0) + of_intercept
            leverage = share * (weights if unit_weights is None else unit_weights)
            keeps = (1 - leverage)[:, None]
            residuals = responses - response_mean - (design - design_mean) @ b
            safe = np.where(keeps > _SATURATED, keeps, np.nan)
            left_out = responses - residuals / safe
        fits.append(RidgeFit(float(penalty), b, response_mean - design_mean @ b, left_out))
    return fits


def _solve(
    rows: Design, targets: Responses, penalties: Sequence[float], with_leverage: bool
) -> Iterator[tuple[Float[np.ndarray, "J K"], Float[np.ndarray, " N"] | None]]:
    """Coefficients and, where asked for, the diagonal of the hat matrix, for each penalty in turn."""
    primal = rows.shape[1] <= rows.shape[0]
    gram = right = None
    for penalty in penalties:
        factor = None
        if penalty > 0:
            if gram is None:
                gram = _gram(rows.T if primal else rows)
                right = rows.T @ targets if primal else targets
            factor = _cholesky(gram, penalty)
        if factor is None:  # no penalty, or one lost in rounding: the singular values can still tell
            yield _by_singular_values(rows, targets, penalty, with_leverage)
            continue
        solution = linalg.cho_solve((factor, True), right, check_finite=False)
        hat = None
        if primal:
            if with_leverage:
                half = linalg.solve_triangular(factor, rows.T, lower=True, check_finite=False)
                hat = np.einsum("jn,jn->n", half, half)
            yield solution, hat
        else:
            if with_leverage:  # H = K (K + lambda I)^-1 = I - lambda (K + lambda I)^-1
                inverse = linalg.solve_triangular(factor, np.eye(len(factor)), lower=True, check_finite=False)
                hat = 1 - penalty * np.einsum("jn,jn->n", inverse, inverse)
            yield rows.T @ solution, hat


def _gram(columns: Float[np.ndarray, "A B"]) -> Float[np.ndarray, "A A"]:
    """Lower triangle of `columns @ columns.T`; half the work of a full product."""
    if columns.flags.c_contiguous:
        return _syrk(1.0, columns.T, trans=1, lower=1)
    return _syrk(1.0, columns, lower=1)


def _cholesky(gram: Float[np.ndarray, "A A"], penalty: float) -> Float[np.ndarray, "A A"] | None:
    shifted = gram.copy(order="F")
    shifted[np.diag_indices_from(shifted)] += penalty
    factor, info = _potrf(shifted, lower=1, clean=0, overwrite_a=1)
    return factor if info == 0 else None


def _by_singular_values(
    rows: Design, targets: Responses, penalty: float, with_leverage: bool
) -> tuple[Float[np.ndarray, "J K"], Float[np.ndarray, " N"] | None]:
    u, s, vt = linalg.svd(rows, full_matrices=False, check_finite=False)
    kept = s > s.max(initial=0) * max(rows.shape) * np.finfo(np.float64).eps
    u, s, vt = u[:, kept], s[kept], vt[kept]
    shrunk = s / (s**2 + penalty)
    hat = (u**2 @ (s * shrunk)) if with_leverage else None
    return vt.T @ (shrunk[:, None] * (u.T @ targets)), hat
