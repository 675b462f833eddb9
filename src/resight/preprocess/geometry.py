"""Fitting an image to the network's grid, and the way back from that grid to the image.

Coordinates are array indices of pixel centres: pixel 0 reaches from -0.5 to 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, Shaped
from scipy.sparse import csr_array

from resight.types import Pixels

Resize = Literal["letterbox", "stretch", "crop"]
Affine = Float[np.ndarray, "R R"]

_LEAST_SHARE_PX = 1e-3
"""A pixel that reaches less far into an averaged one is rounding, and does not count."""
_STRIP_VALUES = 2**17
"""So many floats at once stay in the second-level cache, and bound the memory beside the image."""


def between_grids(given: Sequence[int], wanted: Sequence[int]) -> Affine:
    """Matrix from an index on one grid to the index on another one over the same field of view.

    Args:
        given: shape of the first grid.
        wanted: shape of the second.
    """
    factors = np.append(np.divide(wanted, given), 1.0)
    affine = np.diag(factors)
    affine[:-1, -1] = (factors[:-1] - 1) / 2
    return affine


@dataclass(frozen=True)
class AxisFit:
    """What becomes of one axis: the pixels `start` to `stop` become `target` pixels from `pad` on, of `size`."""

    start: int
    stop: int
    target: int
    pad: int
    size: int

    @property
    def step(self) -> float:
        """Original pixels per prepared pixel."""
        return (self.stop - self.start) / self.target


def fit(
    shape: Sequence[int],
    size_px: Sequence[int],
    resize: Resize,
    *,
    spacing_mm: Sequence[float],
    target_spacing_mm: Sequence[float] | None = None,
) -> tuple[AxisFit, ...]:
    """Decide what becomes of every axis.

    Args:
        shape: original pixels along each axis.
        size_px: prepared pixels along each axis.
        resize: `letterbox` keeps proportions and pads with 0, `crop` keeps them and cuts the longer axis, `stretch`
            fits each axis by itself.
        spacing_mm: original spacing; proportions are kept in millimetres where all axes have one, in pixels otherwise.
        target_spacing_mm: prepared spacing, met to within the rounding to whole pixels. When given it decides the
            scale: what does not fit is cut, what is too small is padded, and `resize` has no say.
    """
    known = all(s > 0 for s in spacing_mm)  # NaN is not
    spacing = np.asarray(spacing_mm if known else [1.0] * len(shape), dtype=float)
    if target_spacing_mm is not None and known:
        steps = np.asarray(target_spacing_mm, dtype=float) / spacing
    else:
        steps = np.asarray(shape) / np.asarray(size_px)
        if resize == "letterbox":
            steps = (steps * spacing).max() / spacing
        elif resize == "crop":
            steps = (steps * spacing).min() / spacing
    return tuple(_fit_axis(n, size, float(step)) for n, size, step in zip(shape, size_px, steps, strict=True))


def place(pixels: Pixels, axes: Sequence[AxisFit]) -> Pixels:
    """Cut, resize and pad; smaller images are averaged (antialiased), larger ones interpolated linearly.

    Args:
        pixels: `(C, H, W)` or `(C, D, H, W)`, `uint8` or `float32`.
        axes: what `fit` decided for the spatial axes.
    """
    cut = pixels[(slice(None), *(slice(a.start, a.stop) for a in axes))]
    targets = [a.target for a in axes]
    prepared = np.zeros((len(pixels), *(a.size for a in axes)), pixels.dtype)
    inside = prepared[(slice(None), *(slice(a.pad, a.pad + a.target) for a in axes))]
    if len(axes) == 2:
        interleaved = np.moveaxis(cut, 0, -1)  # as the decoder left it: OpenCV is faster on all channels at once
        for channel, plane in zip(inside, cv2.split(_resize_plane(interleaved, targets)), strict=True):
            channel[:] = plane
    else:
        inside[:] = np.stack([_resize_volume(volume, targets) for volume in cut])
    return prepared


def to_original(axes: Sequence[AxisFit]) -> Affine:
    """Matrix from an index on the prepared grid (with a 1 appended) to the index on the original grid."""
    affine = np.eye(len(axes) + 1)
    for row, axis in enumerate(axes):
        affine[row, row] = axis.step
        affine[row, -1] = (0.5 - axis.pad) * axis.step - 0.5 + axis.start
    return affine


def _fit_axis(length: int, size: int, step: float) -> AxisFit:
    wanted = max(round(size * step), 1)
    if wanted < length:
        start = (length - wanted) // 2
        return AxisFit(start, start + wanted, size, 0, size)
    target = min(max(round(length / step), 1), size)
    return AxisFit(0, length, target, (size - target) // 2, size)


def _resize_plane(plane: Shaped[np.ndarray, "H W *C"], targets: Sequence[int]) -> Shaped[np.ndarray, "H W *C"]:
    height, width = targets
    rows, columns = plane.shape[:2]
    while rows >= 2 * height and columns >= 2 * width and not rows % 2 and not columns % 2:
        rows, columns = rows // 2, columns // 2  # halving has a fast path of its own; the averages stay averages
        plane = cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_AREA)
    smaller = (min(height, rows), min(width, columns))
    if smaller != (rows, columns):
        whole = not rows % smaller[0] and not columns % smaller[1]  # OpenCV sums whole pixels by another arithmetic
        plane = cv2.resize(plane, smaller[::-1], interpolation=cv2.INTER_AREA) if whole else _averaged(plane, smaller)
    if smaller != (height, width):
        plane = cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR)
    return plane


def _averaged(plane: Shaped[np.ndarray, "H W *C"], targets: tuple[int, int]) -> Shaped[np.ndarray, "h w *C"]:
    """What `cv2.resize` gives with `INTER_AREA`, to the last bit, in half the time.

    Averaging one axis is a product with a sparse matrix. Columns come before rows, as in OpenCV, and a strip of the
    result goes through all steps, in memory that the next one uses again.

    Args:
        plane: `uint8` or `float32`.
        targets: height and width, neither larger than before.
    """
    rows, columns, *channels = plane.shape
    height, width = targets
    narrowing = _shares(columns, width)
    strips = _strips(rows, height, max(_STRIP_VALUES // (plane.size // rows), 1))
    most = max(given.stop - given.start for given, *_ in strips) * (plane.size // rows)
    upright, floats = np.empty(most, plane.dtype), np.empty(most, np.float32)
    narrow = np.empty(most // columns * width, np.float32)
    averaged = np.empty((height, width, *channels), plane.dtype)
    for given, wanted, shortening in strips:
        strip = plane[given]
        turned = cv2.transpose(strip, dst=upright[: strip.size].reshape(columns, len(strip), *channels))
        columns_first = floats[: strip.size].reshape(columns, -1)
        columns_first[:] = turned.reshape(columns, -1)
        rows_first = narrow[: strip.size // columns * width].reshape(len(strip), width, *channels)
        cv2.transpose((narrowing @ columns_first).reshape(width, len(strip), *channels), dst=rows_first)
        small = shortening @ rows_first.reshape(len(strip), -1)
        if plane.dtype == np.uint8:
            small = cv2.convertScaleAbs(small)  # to the nearest, ties to even
        averaged[wanted] = small.reshape(-1, width, *channels)
    return averaged


@lru_cache(maxsize=256)
def _strips(given: int, wanted: int, most: int) -> list[tuple[slice, slice, csr_array]]:
    """Averaged pixels of an axis in groups.

    Returns:
        For each group the pixels that it needs, about `most` of them; the averaged pixels; and the shares between them.
    """
    shares, group = _shares(given, wanted), max(most * wanted // given, 1)
    strips = []
    for start in range(0, wanted, group):
        part = shares[start : start + group]
        needed = slice(int(part.indices.min()), int(part.indices.max()) + 1)
        strips.append((needed, slice(start, start + group), part[:, needed]))
    return strips


@lru_cache(maxsize=256)
def _shares(given: int, wanted: int) -> csr_array:
    """Matrix `(wanted, given)` of the share that each pixel of an axis has in each averaged one."""
    step = 1.0 / (wanted / given)  # as OpenCV rounds it
    low = np.arange(wanted)[:, None] * step
    pixel = np.floor(low).astype(int) + np.arange(int(np.ceil(step)) + 1)
    reach = np.minimum(low + step, pixel + 1) - np.maximum(low, pixel)
    counts = (reach > _LEAST_SHARE_PX) & (pixel < given)
    share = (reach / np.minimum(step, given - low)).astype(np.float32)
    rows = np.broadcast_to(np.arange(wanted)[:, None], pixel.shape)
    return csr_array((share[counts], (rows[counts], pixel[counts])), shape=(wanted, given))


def _resize_volume(volume: Shaped[np.ndarray, "D H W"], targets: Sequence[int]) -> Shaped[np.ndarray, "D H W"]:
    depth, height, width = targets
    slices = np.stack([_resize_plane(plane, (height, width)) for plane in volume])
    return _resize_plane(slices.reshape(len(slices), -1), (depth, height * width)).reshape(depth, height, width)
