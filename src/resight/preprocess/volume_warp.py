"""Volumes moved by any affine matrix, straight onto the grid that is asked for: one linear interpolation.

Fast because OpenCV does the two inner axes. Where the depth keeps to itself, two slices are blended and the result is
moved; otherwise the slices stand one below the other as one tall picture, which is looked up twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float, UInt8

Volume = UInt8[np.ndarray, "D H W"]
Matrix = Float[np.ndarray, "4 4"]

_LONGEST_PX: Final = 32_766
"""Of a picture that OpenCV looks values up in."""


def warp_volume(volume: Volume, matrix: Matrix, size_px: tuple[int, int, int]) -> UInt8[np.ndarray, "D2 H2 W2"]:
    """Take every output voxel from where the matrix says, linearly between voxels; outside is 0.

    Args:
        volume: what is sampled.
        matrix: index of the output `(d, h, w, 1)` to index of the volume.
        size_px: shape of the output.
    """
    apart = not (matrix[0, 1:3].any() or matrix[1:3, 0].any())
    return _warp_slices(volume, matrix, size_px) if apart else _warp_freely(volume, matrix, size_px)


def _warp_slices(volume: Volume, matrix: Matrix, size_px: tuple[int, int, int]) -> UInt8[np.ndarray, "D2 H2 W2"]:
    depth, height, width = size_px
    plane = matrix[1:, 1:][[1, 0, 2]][:, [1, 0, 2]][:2]  # OpenCV counts (x, y)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped, outside = np.zeros(size_px, np.uint8), np.zeros(volume.shape[1:], np.uint8)
    for number in range(depth):
        place = matrix[0, 0] * number + matrix[0, -1]
        below = int(np.floor(place))
        weight = place - below
        if not -1 < place < len(volume):
            continue
        first, second = (volume[k] if 0 <= k < len(volume) else outside for k in (below, below + 1))
        blended = np.asarray(cv2.addWeighted(first, 1 - weight, second, weight, 0), np.uint8)
        warped[number] = cv2.warpAffine(blended, plane, (width, height), flags=flags)
    return warped


def _warp_freely(volume: Volume, matrix: Matrix, size_px: tuple[int, int, int]) -> UInt8[np.ndarray, "D2 H2 W2"]:
    framed = np.pad(volume, 1)  # so that the value fades to 0 within one voxel at every side
    warped = np.empty(size_px, np.uint8)
    for part in _parts(framed.shape, matrix, size_px, (0, size_px[0]), (0, size_px[1])):
        warped[part] = _looked_up(framed, matrix, part, size_px[2])
    return warped


def _looked_up(framed: Volume, matrix: Matrix, part: tuple[slice, slice], width: int) -> Volume:
    depth, height, _ = framed.shape
    rows = np.arange(part[0].start, part[0].stop), np.arange(part[1].start, part[1].stop), np.arange(width)
    z, y, x = (
        (
            (m[0] * rows[0] + m[3] + 1)[:, None, None].astype(np.float32)
            + (m[1] * rows[1])[None, :, None].astype(np.float32)
            + (m[2] * rows[2])[None, None, :].astype(np.float32)
        ).reshape(-1, width)
        for m in matrix[:3]
    )
    np.clip(z, 0, depth - 1.001, out=z)
    np.clip(y, 0, height - 1, out=y)
    below = np.floor(z)
    first = int(below.min())
    tall = framed[first : int(below.max()) + 2].reshape(-1, framed.shape[2])
    z -= below
    y += (below - first) * height
    lower = cv2.remap(tall, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    y += height
    upper = cv2.remap(tall, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    blended = cv2.blendLinear(lower, upper, 1 - z, z)
    return np.asarray(blended, np.uint8).reshape(len(rows[0]), len(rows[1]), width)


def _parts(
    framed: tuple[int, ...],
    matrix: Matrix,
    size_px: tuple[int, int, int],
    rows: tuple[int, int],
    lines: tuple[int, int],
) -> Iterator[tuple[slice, slice]]:
    """Boxes of the output whose voxels lie in so few slices of the volume that those fit into one picture.

    Raises:
        ValueError: a single line of the output needs more slices than that; no volume that fits into memory does.
    """
    corners = np.array(
        [(d, h, w, 1) for d in (rows[0], rows[1] - 1) for h in (lines[0], lines[1] - 1) for w in (0, size_px[2] - 1)]
    )
    places = np.clip(corners @ matrix[0] + 1, 0, framed[0] - 1)
    slices = int(places.max()) - int(places.min()) + 2
    taller = (rows[1] - rows[0]) * (lines[1] - lines[0])
    if max(slices * framed[1], taller) <= _LONGEST_PX:
        yield slice(*rows), slice(*lines)
        return
    axis = rows if rows[1] - rows[0] > 1 else lines
    middle = sum(axis) // 2
    if middle == axis[0]:
        raise ValueError(f"a line of the output crosses {slices} slices of {framed[1]} rows")
    for half in ((axis[0], middle), (middle, axis[1])):
        yield from _parts(framed, matrix, size_px, *((half, lines) if axis is rows else (rows, half)))
