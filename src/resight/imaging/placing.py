"""Whether slices form one evenly spaced volume, and in which order (DICOM PS3.3 C.7.6.2.1.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from resight.errors import ImageError
from resight.imaging.geometry import Affine
from resight.imaging.header import Placement

_SAME_DIRECTION = 1e-3
"""Cosines are written with few digits; scanners never turn by less than a degree (1.7e-2)."""
_SKEW = 0.02
"""Cosine between rows and columns: one degree, far more than rounding leaves."""
_EVEN = 0.05
"""Largest deviation of one step from the median step, as a share: rounding stays below, a lost slice makes 1.0."""


def sort_slices(placements: Sequence[Placement], where: str) -> tuple[list[int], dict[str, Any]]:
    """Order slices along their normal.

    Args:
        placements: one per slice, at least two.
        where: for the message.

    Returns:
        The order as indices, and what was found (count, step, gantry tilt in degrees).

    Raises:
        ImageError: orientations or pixel spacings are mixed, rows and columns are not at right angles, positions
            coincide, or there are gaps.
    """
    first = placements[0]
    for other in placements[1:]:
        if not _alike((*first.rows, *first.columns), (*other.rows, *other.columns)):
            raise ImageError("slices of different orientation", where=where, expected="parallel slices", fix=_SPLIT)
        if not np.allclose(first.spacing_mm, other.spacing_mm, rtol=1e-3):
            raise ImageError("slices of different pixel spacing", where=where, expected="one spacing", fix=_SPLIT)
    if min(first.spacing_mm) <= 0:
        raise ImageError(f"pixel spacing {min(first.spacing_mm):g} mm", where=where, expected="> 0")
    skew = abs(float(np.dot(first.rows, first.columns)))
    if skew > _SKEW:
        raise ImageError(
            f"rows and columns {math.degrees(math.acos(min(skew, 1.0))):.1f} degrees apart",
            where=where,
            expected="90",
            fix="Correct ImageOrientationPatient.",
        )
    normal = np.cross(first.rows, first.columns)
    positions = np.array([p.position for p in placements])
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order])
    step = float(np.median(steps))
    if step <= 0 or (steps < _EVEN * step).any():
        count = int((steps < max(_EVEN * step, 1e-3)).sum())
        raise ImageError(
            f"{count} of {len(placements)} slices lie where another one lies",
            where=where,
            expected="one slice at each position",
            fix="Put each acquisition (echo, phase, time) into a folder of its own.",
        )
    worst = int(np.argmax(np.abs(steps - step)))
    if abs(steps[worst] - step) > _EVEN * step:
        raise ImageError(
            f"{steps[worst]:.2f} mm between slices {worst + 1} and {worst + 2} of {len(placements)}",
            where=where,
            expected=f"{step:.2f} mm as between the others",
            fix="A slice is missing, or two series are mixed.",
        )
    line = positions[order[-1]] - positions[order[0]]
    tilt = math.degrees(math.acos(min(1.0, float(line @ normal) / float(np.linalg.norm(line)))))
    facts: dict[str, Any] = {"slices": len(placements), "step_mm": round(step, 4)}
    if tilt > 1.0:
        facts["gantry_tilt_deg"] = round(tilt, 2)
    return [int(i) for i in order], facts


def affine_of(placements: Sequence[Placement]) -> Affine:
    """Matrix of sorted slices `(slice, row, column, 1)` to patient millimetres."""
    first, last = placements[0], placements[-1]
    affine = np.eye(4)
    affine[:3, 0] = (np.asarray(last.position) - first.position) / (len(placements) - 1)
    affine[:3, 1] = np.asarray(first.columns) * first.spacing_mm[0]
    affine[:3, 2] = np.asarray(first.rows) * first.spacing_mm[1]
    affine[:3, 3] = first.position
    return affine


_SPLIT = "Put each series into a folder of its own."


def _alike(a: Sequence[float], b: Sequence[float]) -> bool:
    return bool(np.abs(np.subtract(a, b)).max() < _SAME_DIRECTION)
