"""Turning volumes to one order: D to superior, H to posterior, W to the left (LPS; DICOM PS3.3 C.7.6.2.1.1)."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
from jaxtyping import Float, Shaped

from resight.errors import ImageError
from resight.types import Image, Pixels

Affine = Float[np.ndarray, "4 4"]
"""Array index `(d, h, w, 1)` to patient millimetres (LPS)."""
AS_THEY_ARE = "+0+1+2"
"""Axes that stay in order and direction."""
_WORLD_AXIS = (2, 1, 0)
"""World axis (L, P, S) that each of D, H, W shall run along, in its positive direction."""


def to_lps(pixels: Pixels, affine: Affine, where: str) -> tuple[Pixels, Affine, dict[str, str]]:
    """Permute and flip the three spatial axes; no resampling.

    Args:
        pixels: `(C, D, H, W)` in any order of its spatial axes.
        affine: the matrix that belongs to it.
        where: for the message.

    Returns:
        A view on the pixels, its matrix, and what was done (source axis of each of D, H, W, with its sign).

    Raises:
        ImageError: the matrix is singular or not finite.
    """
    directions = affine[:3, :3]
    lengths = np.linalg.norm(directions, axis=0)
    if not np.isfinite(affine).all() or lengths.min() <= 0 or abs(np.linalg.det(directions / lengths)) < 1e-3:
        raise ImageError(
            "the matrix from voxels to millimetres is singular or not finite",
            where=where,
            expected="three independent axes",
            fix="Correct the header's orientation and spacing.",
        )
    cosines = (directions / lengths)[list(_WORLD_AXIS)]
    order = max(permutations(range(3)), key=lambda p: sum(abs(cosines[i, p[i]]) for i in range(3)))
    turned, matrix = pixels.transpose(0, *(axis + 1 for axis in order)), affine[:, [*order, 3]].copy()
    signs = ["+", "+", "+"]
    for i, axis in enumerate(order):
        if cosines[i, axis] < 0:
            signs[i] = "-"
            turned = np.flip(turned, axis=i + 1)
            matrix[:3, 3] += matrix[:3, i] * (turned.shape[i + 1] - 1)
            matrix[:3, i] *= -1
    return turned, matrix, {"axes": "".join(f"{s}{a}" for s, a in zip(signs, order, strict=True))}


def from_lps(
    pixels: Shaped[np.ndarray, "C D H W"], affine: Affine, axes: str
) -> tuple[Shaped[np.ndarray, "C *stored"], Affine]:
    """Undo `to_lps`.

    Args:
        pixels: in LPS order.
        affine: the matrix that belongs to it.
        axes: what `to_lps` reported.

    Returns:
        A view in the stored order, and its matrix.
    """
    order, matrix = [int(axis) for axis in axes[1::2]], affine.copy()
    for i, sign in enumerate(axes[::2]):
        if sign == "-":
            pixels = np.flip(pixels, axis=i + 1)
            matrix[:3, 3] += matrix[:3, i] * (pixels.shape[i + 1] - 1)
            matrix[:3, i] *= -1
    back = [order.index(axis) for axis in range(3)]
    return pixels.transpose(0, *(axis + 1 for axis in back)), matrix[:, [*back, 3]]


def as_stored(image: Image) -> Image:
    """A volume in the order its frames were stored in, first axis along the slices; other images as they are."""
    axes = axes_of(image)
    if image.affine is None or axes == AS_THEY_ARE:
        return image
    pixels, affine = from_lps(image.pixels, image.affine, axes)
    return replace(image, pixels=pixels, affine=affine, spacing_mm=spacing_of(affine))


def axes_of(image: Image) -> str:
    """How a volume was turned to LPS, as `to_lps` reported it."""
    return next((str(s.parameters["axes"]) for s in image.history if s.name == "to LPS"), AS_THEY_ARE)


def frames_of(image: Image) -> tuple[int, ...]:
    """Which stored frame, from 1, each slice of `as_stored` is; empty where they go on in order or are files."""
    steps = (step.parameters.get("frames", ()) for step in image.history if step.name == "sort slices")
    return tuple(next(steps, ()))


def spacing_of(affine: Affine) -> tuple[float, ...]:
    """Distance of neighbouring voxels along D, H, W in millimetres."""
    return tuple(float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))


def upright(pixels: Pixels, rows_to: str, columns_to: str, *, mirror: bool) -> tuple[Pixels, dict[str, str | int]]:
    """Turn a radiograph so that its columns run to the feet (DICOM PS3.3 C.7.6.1.1.1, Patient Orientation).

    Args:
        pixels: `(C, H, W)`.
        rows_to: first letter of the direction rows run to, left to right (`L`, `R`, `A`, `P`, `H`, `F`).
        columns_to: the same for columns, top to bottom.
        mirror: whether the body part is shown with the patient's left on the right of the picture.

    Returns:
        A view on the pixels and what was done; nothing is done where the letters do not tell head from feet.
    """
    done: dict[str, str | int] = {}
    if rows_to in ("H", "F") and columns_to in ("L", "R", "A", "P"):
        pixels, rows_to, columns_to = pixels.swapaxes(-1, -2), columns_to, rows_to
        done["transposed"] = 1
    if columns_to == "H" and rows_to in ("L", "R", "A", "P"):
        pixels, columns_to = np.flip(pixels, -2), "F"
        done["flipped_rows"] = 1
    if columns_to != "F":
        return pixels, {}
    # elsewhere a transposition or a flip alone would mirror the picture; two of them are a turn
    if rows_to == "R" if mirror and rows_to in ("L", "R") else len(done) == 1:
        pixels = np.flip(pixels, -1)
        done["flipped_columns"] = 1
    return pixels, done
