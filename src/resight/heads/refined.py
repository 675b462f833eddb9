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
_trsv: Any = linalg.get_blas_funcs("trsv", dtype=np.float32)
_potrf: Any = linalg.get_lapack_funcs("potrf", dtype=np.float32)
_potrs: Any = linalg.get_lapack_funcs("potrs", dtype=np.float32)
_NEAR = 1e-10
"""Error that may be left, as a share of the solution in the norm of the matrix."""
_PLAIN = 4.0
"""How much less a plain step may gain than the step of conjugate gradients before it; about 2 where many are taken."""
_SMALLEST_PIVOT = 1e-3
"""Share of the largest: far below, a pivot is rounding, and what it decides is not seen in the norm of the matrix."""
_MOST_STEPS = 8
"""A matrix that needs more is too near to singular for float32; the float64 factor is cheaper then."""
_BLOCK_ROWS = 64
"""So many rows stay in the second-level cache between the two products of a step."""
FEW = 4
"""So many vectors go one by one: to pack a matrix for all of them at once costs more than to read it again."""

Vectors = Float[np.ndarray, "K J"]


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
    residual = np.array(right.T, order="C")
    solution, direction, energy = np.zeros_like(residual), np.zeros_like(residual), np.ones(len(residual))
    first = None
    for _ in range(_MOST_STEPS):
        nearly = _nearly_solved(factor, residual)
        before, energy = energy, np.einsum("kj,kj->k", residual, nearly)
        if first is None:
            first = energy
        elif (_PLAIN * energy <= _NEAR * np.sqrt(first * before)).all():
            return (solution + nearly).T  # a plain step is at hand, and brings the error to less than was asked for
        direction = nearly + np.divide(energy, before, out=np.zeros_like(energy), where=before > 0)[:, None] * direction
        image = _applied(rows, direction, penalty)
        ahead = np.einsum("kj,kj->k", direction, image)
        length = np.divide(energy, ahead, out=np.zeros_like(energy), where=ahead > 0)[:, None]
        solution += length * direction
        residual -= length * image
    return None


def _nearly_solved(factor: Float[np.ndarray, "J J"], right: Vectors) -> Vectors:
    scale = np.abs(right).max(axis=1, keepdims=True)  # brought to 1, as late residuals are too small for float32
    scale[scale == 0] = 1
    coarse = (right / scale).astype(np.float32)
    if len(coarse) > FEW:
        return _potrs(factor, coarse.T, lower=1)[0].T * scale
    for vector in coarse:
        vector[:] = _trsv(factor, _trsv(factor, vector, lower=1), lower=1, trans=1)
    return coarse * scale


def _applied(rows: Float[np.ndarray, "N J"], vectors: Vectors, penalty: float) -> Vectors:
    images = penalty * vectors
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = rows[start : start + _BLOCK_ROWS]
        if len(vectors) > FEW:
            images += vectors @ block.T @ block
        else:
            for image, vector in zip(images, vectors, strict=True):
                image += block @ vector @ block
    return images
