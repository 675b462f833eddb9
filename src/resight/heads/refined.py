"""Normal equations factored in float32 and solved to float64 (Carson & Higham 2018; Hestenes & Stiefel 1952).

A float32 Gram matrix costs half of one in float64, but its solution is wrong in the third digit. Its Cholesky factor is
near enough, though, for conjugate gradients on the matrix itself, in float64, to end after a few steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import linalg

_syrk: Any = linalg.get_blas_funcs("syrk", dtype=np.float32)
_potrf: Any = linalg.get_lapack_funcs("potrf", dtype=np.float32)
_potrs: Any = linalg.get_lapack_funcs("potrs", dtype=np.float32)
_NEAR = 1e-10
"""Error left, as a share of the solution in the norm of the matrix, before the last step, which divides it further."""
_SMALLEST_PIVOT = 1e-3
"""Share of the largest: far below, a pivot is rounding, and what it decides is not seen in the norm of the matrix."""
_MOST_STEPS = 8
"""A matrix that needs more is too near to singular for float32; the float64 factor is cheaper then."""
_BLOCK_ROWS = 64
"""So many rows stay in the second-level cache between the two products of a step."""


def solve_refined(
    rows: Float[np.ndarray, "N J"], right: Float[np.ndarray, "J K"], penalty: float
) -> Float[np.ndarray, "J K"] | None:
    """Solve `(rows' rows + penalty I) x = right` to float64; None where float32 is too coarse for that.

    Args:
        rows: whose Gram matrix it is.
        right: one column per response.
        penalty: > 0.
    """
    with np.errstate(over="ignore"):
        coarse = rows.astype(np.float32)
    gram = _syrk(1.0, coarse.T, lower=1) if coarse.flags.c_contiguous else _syrk(1.0, coarse, trans=1, lower=1)
    gram[np.diag_indices_from(gram)] += np.float32(penalty)
    factor, info = _potrf(gram, lower=1, clean=0, overwrite_a=1)
    pivots = factor.diagonal() ** 2
    if info != 0 or not pivots.min() > _SMALLEST_PIVOT * pivots.max():
        return None
    solution, residual = np.zeros_like(right), right.copy()
    direction, energy = np.zeros_like(right), np.ones(right.shape[1])
    wanted = None
    for _ in range(_MOST_STEPS):
        scale = np.abs(residual).max(axis=0)  # brought to 1, as late residuals are too small for float32
        scale[scale == 0] = 1
        nearly = _potrs(factor, (residual / scale).astype(np.float32), lower=1)[0] * scale
        before, energy = energy, np.einsum("jk,jk->k", residual, nearly)
        if wanted is None:
            wanted = energy * _NEAR**2
        elif (energy <= wanted).all():
            return solution
        direction = nearly + np.divide(energy, before, out=np.zeros_like(energy), where=before > 0) * direction
        image = _applied(rows, direction, penalty)
        ahead = np.einsum("jk,jk->k", direction, image)
        length = np.divide(energy, ahead, out=np.zeros_like(energy), where=ahead > 0)
        solution += length * direction
        residual -= length * image
    return None


def _applied(
    rows: Float[np.ndarray, "N J"], vectors: Float[np.ndarray, "J K"], penalty: float
) -> Float[np.ndarray, "J K"]:
    image = penalty * vectors
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = rows[start : start + _BLOCK_ROWS]
        image += block.T @ (block @ vectors)
    return image
