"""Rows of letters in the pixels: a warning that text may be burned in, never a promise that none is.

Letters that software writes are small, of one stroke width and one grey level, sharp at their edge, and stand in rows.
Strokes lighter or darker than what is around them are found by a top-hat, kept where they look like a letter, and
joined to rows of four and more. Nothing is read: which letters they are does not matter. Up to three letters alone are
side markers (`L`, `R`, `AP`), which most radiographs carry: they name nobody and are not counted.

Measured by `benchmarks/burned_in_text.py`; every number below was chosen on its images for choosing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from jaxtyping import Bool, Shaped, UInt8

from resight.types import Pixels

Grey = UInt8[np.ndarray, "H W"]

_SIDES_PX: Final = (1400, 600)
"""Longer sides at which an image is looked at: small letters are seen at the first, large ones at the second."""
_MOST_ENLARGED: Final = 2.5
_STROKE_PX: Final = 9
"""Widest stroke that the top-hat keeps."""
_CONTRASTS: Final = (48, 70, 100)
"""Grey levels a stroke stands out from what is around it: at the first faint letters are whole, at the last bright ones
do not run into each other."""
_ALIKE: Final = 0.4
"""Share of the step from ground to stroke that a pixel may differ from its kind."""
_MOST_ALIKE: Final = 0.6
"""Share of a letter's pixels, and of those around it, that have to be alike."""
_HEIGHT_PX: Final = 7, 64
_FEWEST: Final = 4
"""Letters that make a row."""
_DENSEST_GAP: Final = 1.2
"""Between two letters of a row, in their heights; a full stop or comma lies in it unseen."""
_FULLEST: Final = 0.45
"""Share of a row's width that its letters take."""
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
    found: list[TextRow] = []
    for side in _SIDES_PX:
        seen = _fitted(grey, side)
        height, width = seen.shape
        for letters in _letters(seen):
            for row in _rows(letters):
                x, y, w, h = _around(row)
                found.append(TextRow(len(row), (x / width, y / height, w / width, h / height)))
    return sorted(_distinct(found), key=lambda row: (row.box[1], row.box[0]))


def _grey(pixels: Shaped[np.ndarray, "C H W"]) -> Grey:
    plane = pixels.max(axis=0)  # coloured letters are as bright as their brightest channel
    return plane if plane.dtype == np.uint8 else np.rint(np.clip(plane, 0, 1) * 255).astype(np.uint8)


def _fitted(grey: Grey, longest_px: int) -> Grey:
    factor = min(longest_px / max(grey.shape), _MOST_ENLARGED)
    size = tuple(max(1, round(side * factor)) for side in grey.shape[::-1])
    kind = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(grey, size, interpolation=kind), dtype=np.uint8)


def _letters(grey: Grey) -> Iterator[list[_Letter]]:
    """What looks like a letter by itself, lighter or darker than its ground, at each contrast."""
    square = cv2.getStructuringElement(cv2.MORPH_RECT, (_STROKE_PX, _STROKE_PX))
    for kind in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
        strokes = np.asarray(cv2.morphologyEx(grey, kind, square))
        for contrast in _CONTRASTS:
            yield list(_parts(grey, strokes >= contrast, contrast))


def _parts(grey: Grey, mask: Bool[np.ndarray, "H W"], contrast: int) -> Iterator[_Letter]:
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count > _MOST_PARTS:
        return
    lowest, highest = _HEIGHT_PX
    wide, high, area = (stats[:, which] for which in (cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT, cv2.CC_STAT_AREA))
    fits = (high >= lowest) & (high <= highest) & (wide <= 1.6 * high) & (area >= 0.12 * wide * high)
    fits[0] = False  # the ground
    for number in np.flatnonzero(fits):
        left, top, width, height = map(int, stats[number, :4])
        window = np.s_[max(top - 3, 0) : top + height + 3, max(left - 3, 0) : left + width + 3]
        if _is_written(grey[window], numbers[window] == number, contrast):
            yield _Letter(left, top, width, height)


def _is_written(grey: Grey, inside: Bool[np.ndarray, "h w"], contrast: int) -> bool:
    """One grey level on another one, with next to nothing between."""
    kernel = inside.astype(np.uint8)
    near, wide = (cv2.dilate(kernel, np.ones((side, side), np.uint8)).astype(bool) for side in (3, 7))
    around = wide & ~near
    if not around.any():
        return False
    letter, ground = grey[inside].astype(np.float32), grey[around].astype(np.float32)
    step = abs(float(np.median(letter)) - float(np.median(ground)))
    if step < contrast:
        return False
    shares = [float((np.abs(one - np.median(one)) <= _ALIKE * step).mean()) for one in (letter, ground)]
    return min(shares) >= _MOST_ALIKE


def _rows(letters: list[_Letter]) -> Iterator[list[_Letter]]:
    """Letters of about one height, on one line, next to each other."""
    left = sorted(letters, key=lambda one: one.left)
    while left:
        row = [left.pop(0)]
        for one in list(left):
            gap = one.left - row[-1].left - row[-1].width
            if gap > _DENSEST_GAP * _HEIGHT_PX[1]:
                break  # and all further ones are further away
            if gap <= _DENSEST_GAP * row[-1].height and _follows(row[-1], one):
                row.append(one)
                left.remove(one)
        if len(row) >= _FEWEST and sum(one.width for one in row) >= _FULLEST * _around(row)[2]:
            yield row


def _follows(last: _Letter, one: _Letter) -> bool:
    alike = max(one.height, last.height) <= 1.7 * min(one.height, last.height)
    level = abs(one.middle - last.middle) <= 0.4 * max(one.height, last.height)
    return alike and level and one.left >= last.left + 0.5 * last.width


def _distinct(rows: list[TextRow]) -> list[TextRow]:
    """Each row once, with the most letters that were told apart, though several contrasts and sizes showed it."""
    kept: list[TextRow] = []
    for row in sorted(rows, key=lambda one: -one.letters):
        if not any(_overlap(row, other) for other in kept):
            kept.append(row)
    return kept


def _overlap(one: TextRow, other: TextRow) -> bool:
    pairs = [(a, a + size, b, b + length) for a, size, b, length in
             ((one.box[i], one.box[i + 2], other.box[i], other.box[i + 2]) for i in (0, 1))]  # fmt: skip
    return all(max(a, b) < min(a_end, b_end) for a, a_end, b, b_end in pairs)


def _around(row: list[_Letter]) -> tuple[int, int, int, int]:
    left, top = min(one.left for one in row), min(one.top for one in row)
    right, bottom = max(one.left + one.width for one in row), max(one.top + one.height for one in row)
    return left, top, right - left, bottom - top
