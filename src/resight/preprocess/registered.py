"""Several images of one patient on one grid: checked by what their headers say, resampled only on request.

Whether two grids are the same is measured where it matters, at the corners of the volume, in voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from resight.errors import ImageError
from resight.types import Image, Pixels

Align = Literal["require", "resample", "independent"]

_SAME_VOXELS = 0.1
"""Corners of the same grid may lie apart by this share of a voxel: headers are written with few digits."""
_SAME_DIRECTION = 1e-3
_FIX = "Register the images first, or set recipe.align to 'resample'."


def registered(images: Sequence[Image | None], names: Sequence[str], align: Align) -> list[Image | None]:
    """Bring the images of one patient to the grid of the first one that is there.

    Args:
        images: in the order of the modalities; None where one is missing.
        names: of the modalities, for messages.
        align: `require` one grid, `resample` volumes to the grid of the first by their affine matrices, or
            `independent`, for views that have no grid in common.

    Returns:
        The images, those resampled with one more step of history.

    Raises:
        ImageError: no image at all, pictures mixed with volumes, different grids, or no common field of view.
    """
    there = [index for index, image in enumerate(images) if image is not None]
    if not there:
        raise ImageError("no image of any modality", where=", ".join(names), expected="at least one")
    reference = images[there[0]]
    assert reference is not None
    found: list[Image | None] = []
    for image, name in zip(images, names, strict=True):
        if image is None or image is reference:
            found.append(image)
            continue
        if image.pixels.ndim != reference.pixels.ndim:
            kinds = [f"{one.pixels.ndim - 1} axes" for one in (image, reference)]
            both = f"{name} has {kinds[0]}, {names[there[0]]} {kinds[1]}"
            raise ImageError(both, where=image.source_id, expected="pictures only, or volumes only")
        difference = "" if align == "independent" else grid_difference(reference, image)
        if difference and (align == "require" or reference.affine is None or image.affine is None):
            fix = _FIX if image.affine is not None else "Pictures say nothing of their place: bring them to one grid."
            said = f"{name} does not lie on the grid of {names[there[0]]}: {difference}"
            raise ImageError(said, where=image.source_id, fix=fix)
        found.append(_resampled(image, reference, name) if difference else image)
    return found


def grid_difference(a: Image, b: Image) -> str:
    """How the grid of `b` differs from that of `a`, in one clause; empty where it does not."""
    if a.affine is not None and b.affine is not None:
        first, second = a.affine[:3, :3], b.affine[:3, :3]
        directions = [m / np.linalg.norm(m, axis=0) for m in (first, second)]
        if np.abs(directions[0] - directions[1]).max() > _SAME_DIRECTION:
            return f"its axes are turned by {_degrees(*directions):.1f} degrees"
    if a.pixels.shape[1:] != b.pixels.shape[1:]:
        shapes = ["x".join(map(str, one.pixels.shape[1:])) for one in (b, a)]
        return f"it has {shapes[0]} points instead of {shapes[1]}"
    known = all(s > 0 for s in (*a.spacing_mm, *b.spacing_mm))
    if known and not np.allclose(a.spacing_mm, b.spacing_mm, rtol=1e-3):
        spacings = ["x".join(f"{s:.3g}" for s in one.spacing_mm) for one in (b, a)]
        return f"its spacing is {spacings[0]} mm instead of {spacings[1]} mm"
    if a.affine is None or b.affine is None:
        return ""
    corners = np.array([[*corner, 1.0] for corner in product(*((0, n - 1) for n in a.pixels.shape[1:]))])
    apart_mm = np.linalg.norm((corners @ (b.affine - a.affine).T)[:, :3], axis=1).max()
    if apart_mm > _SAME_VOXELS * min(a.spacing_mm):
        return f"it lies {apart_mm:.3g} mm away"
    return ""


def _degrees(first: Float[np.ndarray, "3 3"], second: Float[np.ndarray, "3 3"]) -> float:
    cosines = np.clip((first * second).sum(axis=0), -1.0, 1.0)
    return float(np.degrees(np.arccos(cosines)).max())


def _resampled(image: Image, reference: Image, name: str) -> Image:
    """A volume on another one's grid, linearly between voxels; 0 outside of what it covers."""
    assert image.affine is not None
    assert reference.affine is not None
    step = np.linalg.inv(image.affine) @ reference.affine
    shape = reference.pixels.shape[1:]
    pixels: Pixels = np.stack(
        [ndimage.affine_transform(volume, step, output_shape=shape, order=1) for volume in image.as_float()]
    )
    everywhere = np.ones(image.pixels.shape[1:], np.float32)
    covered = ndimage.affine_transform(everywhere, step, output_shape=shape, order=0)
    if not covered.any():
        raise ImageError(f"{name} covers no part of the grid it is resampled to", where=image.source_id)
    moved = image.stepped("resampled", pixels, to=reference.source_id, covered=round(float(covered.mean()), 3))
    return Image(
        moved.pixels,
        reference.spacing_mm,
        image.modality,
        image.source_id,
        moved.history,
        reference.affine,
        image.attributes,
    )
