"""Images inside the page: small JPEG data URIs that together stay within a budget."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

Picture = UInt8[np.ndarray, "H W *C"]

_SIDE_PX = 288
"""Longest side: about what a case is wide on screen, so that more would not be seen."""
_BUDGET_BYTES = 1_900_000
"""Of all images together before base64, which adds a third: the page stays below 3 MB."""
_QUALITIES = (92, 82, 68, 50, 30)


def data_uris(pictures: Sequence[Picture]) -> list[str]:
    """Encode images, all at the best quality with which they fit the budget.

    Args:
        pictures: grey `(H, W)` or `(H, W, 1)`, or RGB `(H, W, 3)`.
    """
    small = [_fitted(picture) for picture in pictures]
    encoded: list[bytes] = []
    for quality in _QUALITIES:
        encoded = [_jpeg(picture, quality) for picture in small]
        if sum(map(len, encoded)) <= _BUDGET_BYTES:
            break
    return ["data:image/jpeg;base64," + base64.b64encode(data).decode("ascii") for data in encoded]


def _fitted(picture: Picture) -> Picture:
    longest = max(picture.shape[:2])
    if longest <= _SIDE_PX:
        return picture
    height, width = (max(1, round(side * _SIDE_PX / longest)) for side in picture.shape[:2])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))


def _jpeg(picture: Picture, quality: int) -> bytes:
    colour = picture.ndim == 3 and picture.shape[2] == 3
    pixels = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if colour else picture
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "OpenCV encodes every 8-bit image with one or three channels"
    return data.tobytes()
