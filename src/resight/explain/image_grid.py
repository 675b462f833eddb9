"""Evidence back on the pixels of the image as it was read: the recipe's geometry, run backwards."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch.nn import functional

from resight.explain.base import Explainer
from resight.models import Classifier
from resight.preprocess import Recipe
from resight.types import Attribution, Image

_VOXELS_AT_ONCE = 2**22
"""The coordinates of more would take more memory than the maps: a CT of 500 slices has 130 million voxels."""


def explain_image(
    explainer: Explainer, classifier: Classifier, recipe: Recipe, image: Image, *, labels: Sequence[str], method: str
) -> tuple[Attribution, ...]:
    """Explain one image where the reader sees it.

    Args:
        explainer: how.
        classifier: the model.
        recipe: the preparation the model was trained with.
        image: as it was read, possibly at reduced scale.
        labels: names of the model's labels, in order.
        method: name of the explainer.

    Returns:
        One map for each label, on the pixels of the upright original at full size.

    Raises:
        ImageError: the image has another number of axes than the recipe.
    """
    prepared = torch.from_numpy(recipe.apply(image))[None]
    maps = explainer.explain(classifier, prepared)[0].float().cpu().numpy()
    placed = onto_image_grid(maps, recipe.grid(image), _original_space(image))
    return tuple(Attribution(m, label, method) for m, label in zip(placed, labels, strict=True))


def onto_image_grid(
    maps: Float[np.ndarray, "L *prepared"], grid: Float[np.ndarray, "R R"], space: tuple[int, ...]
) -> Float[np.ndarray, "L *space"]:
    """Interpolate maps from the prepared grid to the image's.

    Args:
        maps: evidence on the prepared grid.
        grid: matrix from indices of the prepared grid, `(y, x, 1)` or `(z, y, x, 1)`, to indices of the image, whole
            numbers at the centres of pixels.
        space: shape of the image.

    Returns:
        Evidence on the image; 0 where the recipe had cropped the image away.
    """
    together = max(1, _VOXELS_AT_ONCE // math.prod(space[1:]))
    placed = np.empty((len(maps), *space), np.float32)
    for start in range(0, space[0], together):
        stop = min(start + together, space[0])
        moved = grid.copy()
        moved[0, -1] -= start
        placed[:, start:stop] = _placed(maps, moved, (stop - start, *space[1:]))
    return placed


def _placed(
    maps: Float[np.ndarray, "L *prepared"], grid: Float[np.ndarray, "R R"], space: tuple[int, ...]
) -> Float[np.ndarray, "L *space"]:
    sides = np.asarray(maps.shape[1:], dtype=np.float64)
    axes = np.meshgrid(*map(np.arange, space), indexing="ij", copy=False)
    backwards = np.linalg.inv(grid)
    rows = [backwards[i, -1] + sum(c * a for c, a in zip(backwards[i], axes, strict=False)) for i in range(len(sides))]
    index = np.stack(rows, axis=-1)
    seen = ((index >= -0.5) & (index <= sides - 0.5)).all(axis=-1)
    # torch counts from -1 to 1 between the outer edges, last axis first
    relative = ((2 * index + 1) / sides - 1)[..., ::-1].astype(np.float32)
    placed = functional.grid_sample(
        torch.from_numpy(maps.astype(np.float32))[None],
        torch.from_numpy(relative)[None],
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return placed[0].numpy() * seen


def _original_space(image: Image) -> tuple[int, ...]:
    """Shape of the original where a JPEG was decoded smaller; stored are the sides before the turn by EXIF."""
    space = image.pixels.shape[1:]
    stored = int(image.attributes.get("height", 0)), int(image.attributes.get("width", 0))
    if len(space) != 2 or max(stored) < 2 * max(space):
        return space
    turned = (stored[0] < stored[1]) != (space[0] < space[1])
    return stored[::-1] if turned else stored
