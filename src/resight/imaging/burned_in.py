"""Rows of letters in the pixels: a warning that text may be burned in, never a promise that none is.

Letters that software writes are small, of one stroke width and one grey level, sharp at their edge, and stand in rows.
Strokes lighter or darker than what is around them are found by a top-hat, kept where they look like a letter, and
joined to rows. Nothing is read: which letters they are does not matter. One or two letters alone are a side marker
(`L`, `R`, `AP`), as most radiographs carry; they name nobody and are not counted.

Measured by `benchmarks/burned_in_text.py`; every number below was chosen on its images for choosing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8

from resight.types import Pixels

Grey = UInt8[np.ndarray, "H W"]

_SIDES_PX: Final = (1400, 600)
"""Longer sides at which an image is looked at: small letters are seen at the first, large ones at the second."""
_MOST_ENLARGED: Final = 2.5
_STROKE_PX: Final = 9
"""Widest stroke that the top-hat keeps."""
_CONTRAST: Final = 48
"""Grey levels a stroke stands out from what is around it."""
_HEIGHT_PX: Final = 7, 64
_FEWEST: Final = 4
"""Letters that make a row."""
_MOST_PARTS: Final = 20_000
"""An image with more specks is noise."""


@dataclass(frozen=True)
class TextRow:
    """A row of letters.

    Attributes:
        letters: how many were told apart.
        box: left, top, width and height as shares of the image.
    """

    letters: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class _Letter:
    left: int
    top: int
    width: int
    height: int

    @property
    def middle(self) -> float:
        return self.top + self.height / 2


def text_rows(pixels: Pixels) -> list[TextRow]:
    """Rows of letters in one image, from above to below.

    Args:
        pixels: `(C, H, W)`, 8 bits or shares of full scale.
    """
    grey = _grey(pixels)
    rows: list[TextRow] = []
    for side in _SIDES_PX:
        seen = _fitted(grey, side)
        height, width = seen.shape
        for kind in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
            for row in _rows(_letters(seen, kind)):
                x, y, w, h = _around(row)
                rows.append(TextRow(len(row), (x / width, y / height, w / width, h / height)))
    return sorted(rows, key=lambda row: (row.box[1], row.box[0]))


def _grey(pixels: Shaped[np.ndarray, "C H W"]) -> Grey:
    plane = pixels.max(axis=0)  # coloured letters are as bright as their brightest channel
    return plane if plane.dtype == np.uint8 else np.rint(np.clip(plane, 0, 1) * 255).astype(np.uint8)


def _fitted(grey: Grey, longest_px: int) -> Grey:
    factor = min(longest_px / max(grey.shape), _MOST_ENLARGED)
    size = tuple(max(1, round(side * factor)) for side in grey.shape[::-1])
    kind = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(grey, size, interpolation=kind), dtype=np.uint8)


def _letters(grey: Grey, kind: int) -> list[_Letter]:
    """What looks like a letter by itself: size, share of its box, and one sharp edge all around."""
    strokes = cv2.morphologyEx(grey, kind, cv2.getStructuringElement(cv2.MORPH_RECT, (_STROKE_PX, _STROKE_PX)))
    mask = (strokes >= _CONTRAST).astype(np.uint8)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count > _MOST_PARTS:
        return []
    lowest, highest = _HEIGHT_PX
    found: list[_Letter] = []
    for number in range(1, count):
        left, top, width, height, area = map(int, stats[number])
        if not (lowest <= height <= highest and width <= 1.6 * height and area >= 0.12 * width * height):
            continue
        window = np.s_[max(top - 2, 0) : top + height + 2, max(left - 2, 0) : left + width + 2]
        if _is_written(grey[window], parts[window] == number):
            found.append(_Letter(left, top, width, height))
    return found


def _is_written(grey: Grey, inside: Shaped[np.ndarray, "h w"]) -> bool:
    """Strokes of one grey level on another one, with next to nothing between."""
    around = cv2.dilate(inside.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & ~cv2.dilate(
        inside.astype(np.uint8), np.ones((3, 3), np.uint8)
    ).astype(bool)
    if not around.any():
        return False
    core, ground = grey[inside].astype(np.float32), grey[around].astype(np.float32)
    step = abs(float(np.median(core)) - float(np.median(ground)))
    return step >= _CONTRAST and float(np.std(core)) <= 0.35 * step and float(np.std(ground)) <= 0.35 * step


def _rows(letters: list[_Letter]) -> Iterator[list[_Letter]]:
    """Letters of about one height, on one line, next to each other."""
    left = sorted(letters, key=lambda one: one.left)
    while left:
        row = [left.pop(0)]
        for one in list(left):
            last = row[-1]
            if one.left - (last.left + last.width) > 1.5 * last.height:
                if one.left - (last.left + last.width) > 200:
                    break
                continue
            alike = max(one.height, last.height) <= 1.7 * min(one.height, last.height)
            level = abs(one.middle - last.middle) <= 0.4 * max(one.height, last.height)
            if alike and level and one.left >= last.left + 0.5 * last.width:
                row.append(one)
                left.remove(one)
        if len(row) >= _FEWEST:
            yield row


def _around(row: list[_Letter]) -> tuple[int, int, int, int]:
    left, top = min(one.left for one in row), min(one.top for one in row)
    right, bottom = max(one.left + one.width for one in row), max(one.top + one.height for one in row)
    return left, top, right - left, bottom - top
