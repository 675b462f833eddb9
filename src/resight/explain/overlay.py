"""A map of evidence laid over its image: colour by value, transparent where there is none, a contour at a threshold."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

from resight.errors import ImageError

Colours = Literal["inferno", "viridis", "magma", "plasma", "cividis"]
"""Perceptually uniform colour maps; `cividis` is made for colour-blind readers."""
RGB = UInt8[np.ndarray, "3 *space"]


def overlay(
    pixels: UInt8[np.ndarray, "C *space"],
    evidence: Float[np.ndarray, "*space"],
    *,
    colours: Colours = "inferno",
    opacity: float = 0.6,
    peak: float | None = None,
    contour: float | None = None,
    contour_rgb: tuple[int, int, int] = (255, 255, 255),
) -> RGB:
    """Colour an image by the evidence in it.

    Args:
        pixels: the image, 1 or 3 channels, 2D or 3D.
        evidence: map on the same grid; what is negative or NaN counts as no evidence.
        colours: name of the colour map.
        opacity: of the strongest evidence, 0 to 1; weaker evidence is more transparent in proportion.
        peak: evidence that is shown at full strength; the map's maximum when not given. Give one value for several
            labels to make their pictures comparable.
        contour: draw the border of the region with at least this share of the peak, within the last two axes.
        contour_rgb: its colour.

    Returns:
        The picture in colour; the image itself where there is no evidence.

    Raises:
        ImageError: the grids differ, or the image has neither 1 nor 3 channels.
    """
    if pixels.shape[1:] != evidence.shape or pixels.shape[0] not in (1, 3):
        found = f"image {pixels.shape}, evidence {evidence.shape}"
        raise ImageError(found, where="overlay", expected="1 or 3 channels and the same grid")
    positive = np.nan_to_num(evidence.astype(np.float32), nan=0.0, posinf=0.0).clip(min=0)
    full = float(positive.max(initial=0.0)) if peak is None else peak
    strength = (positive / full).clip(max=1) if full > 0 else np.zeros_like(positive)
    alpha = opacity * strength
    colour = np.moveaxis(_table(colours)[np.rint(strength * 255).astype(np.uint8)], -1, 0)
    picture = np.rint((1 - alpha) * pixels + alpha * colour).astype(np.uint8)
    if contour is not None and full > 0:
        region = np.asarray(strength >= contour, dtype=bool)
        cross = ndimage.generate_binary_structure(2, 1)[(None,) * (region.ndim - 2)]
        inner = np.asarray(ndimage.binary_erosion(region, cross), dtype=bool)
        border = region & ~inner
        picture[:, border] = np.asarray(contour_rgb, np.uint8)[:, None]
    return picture


@lru_cache
def _table(name: Colours) -> UInt8[np.ndarray, "256 3"]:
    from matplotlib import colormaps  # slow to import, and only pictures need it

    return np.rint(colormaps[name](np.arange(256))[:, :3] * 255).astype(np.uint8)
