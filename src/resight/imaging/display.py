"""Stored values -> modality LUT -> VOI -> presentation -> grey in [0, 1] (DICOM PS3.3 C.11, PS3.4 N.2).

Up to 16 bits the whole chain is one table: it is computed once for every possible stored value and looked up once per
pixel, instead of once per pixel and step.

What `auto` does, in this order:

1. MR, PT and NM: percentiles (their header windows differ from slice to slice and from scanner to scanner).
2. A VOI LUT or a window in the header is used, the first one where there are several.
3. CT without one: centre 40, width 400 HU (soft tissue).
4. Up to 8 bits: as stored, full range.
5. Everything else (16-bit rasters, NIfTI, radiographs without a window): percentiles.

Percentiles of a volume reach higher than those of an image: a finding that fills a hundredth of a slice is a
ten-thousandth of the volume, and a lower limit would cut it down to the grey of what surrounds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, reduce
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Int, Shaped
from pydantic import Field, model_validator

from resight.imaging.chain import Chain, Values, Window
from resight.settings import Options
from resight.types import Step

Counts = Int[np.ndarray, "*shape"] | None
_PERCENTILE_MODALITIES = ("MR", "PT", "NM")
_CT_WINDOW = (40.0, 400.0)
_IMAGE_PERCENTILES = (0.5, 99.5)
_VOLUME_PERCENTILES = (0.5, 99.99)


class VOI(Options):
    """Which stored values become black and which white."""

    mode: Literal["auto", "voi", "percentile", "fixed"] = Field(
        default="auto",
        description="auto: by modality and header; voi: the header's window, else the range of the values; "
        "percentile: between two percentiles of the image; fixed: center and width below",
    )
    percentiles: tuple[float, float] | None = Field(
        default=None,
        description="percent of pixels below black and white; by default 0.5 and 99.5 of an image, 0.5 and 99.99 of a "
        "volume, of which a finding is a smaller share",
    )
    center: float | None = Field(default=None, description="window centre in output units of the modality LUT (CT: HU)")
    width: float | None = Field(default=None, gt=0, description="window width in the same units")

    @model_validator(mode="after")
    def _complete(self) -> VOI:
        low, high = self.percentiles or _IMAGE_PERCENTILES
        if not 0 <= low < high <= 100:
            raise ValueError("two percentiles, 0 <= low < high <= 100")
        if (self.mode == "fixed") != (self.center is not None and self.width is not None):
            raise ValueError("center and width together with mode 'fixed', and only then")
        return self


def display(
    raw: Shaped[np.ndarray, "*shape"], chain: Chain, voi: VOI
) -> tuple[Shaped[np.ndarray, "*shape"], tuple[Step, ...]]:
    """Turn stored values into grey.

    Args:
        raw: stored values; integers of 8 or 16 bits go through one table, all else is computed per pixel.
        chain: what the header says.
        voi: what the user wants.

    Returns:
        `uint8` for 8-bit integers, otherwise `float32` in [0, 1], and the steps taken.
    """
    voi = _with_percentiles(voi, volume=raw.ndim == 3 and min(raw.shape) > 1)
    if _goes_by_table(raw):
        patterns = _patterns(raw)
        table, steps = _table_of([patterns], chain, voi)
        return (patterns if table is None else _look_up(patterns, table)), steps
    stored = raw.astype(np.float64) if raw.dtype.kind == "f" else chain.stored(raw)
    grey, steps = _curve(stored, None, chain, voi)
    return grey.astype(np.float32), steps


def display_stack(
    frames: Sequence[Shaped[np.ndarray, "H W"]], chain: Chain, voi: VOI
) -> tuple[Shaped[np.ndarray, "D H W"], tuple[Step, ...]]:
    """`display` of a volume whose frames are put together in grey only, so that stored values are held once."""
    if len({frame.dtype for frame in frames}) > 1 or not _goes_by_table(frames[0]):
        return display(np.stack(frames), chain, voi)
    voi = _with_percentiles(voi, volume=len(frames) > 1 and min(frames[0].shape) > 1)
    table, steps = _table_of([_patterns(frame) for frame in frames], chain, voi)
    grey = np.empty((len(frames), *frames[0].shape), np.uint8 if table is None else table.dtype)
    for plane, frame in zip(grey, frames, strict=True):
        plane[...] = _patterns(frame) if table is None else _look_up(_patterns(frame), table)
    return grey, steps


def _with_percentiles(voi: VOI, *, volume: bool) -> VOI:
    if voi.percentiles is not None:
        return voi
    return voi.model_copy(update={"percentiles": _VOLUME_PERCENTILES if volume else _IMAGE_PERCENTILES})


def _goes_by_table(raw: Shaped[np.ndarray, "*shape"]) -> bool:
    return raw.dtype.kind in "iub" and raw.dtype.itemsize <= 2


def _patterns(raw: Shaped[np.ndarray, "*shape"]) -> Shaped[np.ndarray, "*shape"]:
    """Integers as unsigned numbers of the same bits."""
    return np.ascontiguousarray(raw, raw.dtype.newbyteorder("=")).view(f"u{raw.dtype.itemsize}")


def _table_of(
    patterns: Sequence[Shaped[np.ndarray, "*shape"]], chain: Chain, voi: VOI
) -> tuple[Shaped[np.ndarray, " N"] | None, tuple[Step, ...]]:
    """Grey of every possible pattern; None where patterns are grey already."""
    itemsize = patterns[0].dtype.itemsize
    if chain.is_plain and itemsize == 1 and _resolved(chain, voi) == "full":
        return None, _as_it_is()
    counts = None if _is_set_by_header(chain, voi) else reduce(np.add, map(_histogram, patterns))
    grey, steps = _curve(chain.stored(np.arange(256**itemsize)), counts, chain, voi)
    return np.rint(grey * 255).astype(np.uint8) if itemsize == 1 else grey.astype(np.float32), steps


def _curve(stored: Values, counts: Counts, chain: Chain, voi: VOI) -> tuple[Values, tuple[Step, ...]]:
    valid = np.isfinite(stored)
    if chain.padding is not None:
        valid &= (stored < chain.padding[0]) | (stored > chain.padding[1])
    values = chain.rescaled(stored)
    first = {"slope": chain.slope, "intercept": chain.intercept}
    if chain.modality_lut is not None:
        first = {"lut_entries": float(len(chain.modality_lut.entries))}
    grey, second = _voi(values, valid, counts, chain, voi)
    inverted = chain.inverted and chain.presentation_lut is None
    if chain.presentation_lut is not None:
        grey = chain.presentation_lut.unit(np.rint(grey * (len(chain.presentation_lut.entries) - 1)))
    if inverted:
        grey = 1.0 - grey
    third = {"inverted": inverted, "presentation_lut": chain.presentation_lut is not None}
    if chain.padding is not None:
        third["padding"] = True
    grey = np.where(valid, grey, 0.0)
    return grey, (Step("modality", first), Step("voi", second), Step("presentation", third))


@cache
def _as_it_is() -> tuple[Step, ...]:
    """The steps of a plain picture, as the whole chain tells them."""
    return _curve(np.arange(256.0), None, Chain("OT", 8), VOI())[1]


def _is_set_by_header(chain: Chain, voi: VOI) -> bool:
    """Whether black and white do not depend on the pixels of this image."""
    mode = _resolved(chain, voi)
    return mode in ("full", "fixed") or (mode == "voi" and bool(chain.windows or chain.voi_lut))


def _resolved(chain: Chain, voi: VOI) -> Literal["voi", "percentile", "fixed", "full"]:
    if voi.mode != "auto":
        return voi.mode
    if chain.modality in _PERCENTILE_MODALITIES:
        return "percentile"
    if chain.windows or chain.voi_lut:
        return "voi"
    if chain.modality == "CT":
        return "fixed"
    return "full" if 0 < chain.bits <= 8 else "percentile"


def _voi(
    values: Values, valid: Shaped[np.ndarray, "*shape"], counts: Counts, chain: Chain, voi: VOI
) -> tuple[Values, dict[str, Any]]:
    mode = _resolved(chain, voi)
    if mode == "voi" and chain.voi_lut is not None:
        return chain.voi_lut.unit(values), {"mode": "voi", "lut_entries": len(chain.voi_lut.entries)}
    if mode == "fixed" or (mode == "voi" and chain.windows):
        window = chain.windows[0] if mode == "voi" else Window(*_CT_WINDOW)
        if mode == "fixed" and voi.center is not None and voi.width is not None:
            window = Window(voi.center, voi.width, "LINEAR_EXACT")
        return window(values), {
            "mode": mode,
            "center": window.center,
            "width": window.width,
            "function": window.function,
        }
    if mode == "full":
        low, high = sorted(chain.rescaled(_stored_range(chain)))
        what: dict[str, Any] = {"mode": "full range"}
    else:
        percentiles = (voi.percentiles if mode == "percentile" else None) or (0.0, 100.0)
        low, high = _percentiles(values, valid, counts, percentiles)
        if low == high:
            # fewer pixels than the percentiles cut off carry the whole picture
            percentiles = (0.0, 100.0)
            low, high = _percentiles(values, valid, counts, percentiles)
        what = {"mode": "percentile", "percentiles": percentiles}
    scaled = np.clip((values - low) / (high - low), 0.0, 1.0) if high > low else np.zeros_like(values)
    return scaled, {**what, "low": float(low), "high": float(high)}


def _stored_range(chain: Chain) -> Values:
    low = -(2.0 ** (chain.bits - 1)) if chain.signed else 0.0
    return np.array([low, low + 2.0**chain.bits - 1.0])


def _percentiles(
    values: Values, valid: Shaped[np.ndarray, "*shape"], counts: Counts, percentiles: tuple[float, float]
) -> tuple[float, float]:
    """Smallest values that at least the given percent of pixels do not exceed."""
    if counts is None:
        chosen = values[valid]
        if not chosen.size:
            return 0.0, 0.0
        low, high = np.percentile(chosen, percentiles, method="inverted_cdf")
        return float(low), float(high)
    keep = valid & (counts > 0)
    if not keep.any():
        return 0.0, 0.0
    order = np.argsort(values[keep], kind="stable")
    cumulated = np.cumsum(counts[keep][order])
    ranks = np.asarray(percentiles) / 100.0 * cumulated[-1]
    low, high = values[keep][order][np.minimum(np.searchsorted(cumulated, ranks), len(order) - 1)]
    return float(low), float(high)


def _histogram(patterns: Shaped[np.ndarray, "*shape"]) -> Int[np.ndarray, " N"]:
    # OpenCV counts 16-bit values about five times as fast as numpy.bincount, in float32: exact up to 2**24 a bin
    size = 256**patterns.dtype.itemsize
    flat = patterns.reshape(-1)
    counts = np.zeros(size, dtype=np.int64)
    for start in range(0, flat.size, 2**24):
        part = cv2.calcHist([flat[start : start + 2**24].reshape(1, -1)], [0], None, [size], [0, size])
        counts += part.reshape(-1).astype(np.int64)
    return counts


def _look_up(patterns: Shaped[np.ndarray, "*shape"], table: Shaped[np.ndarray, " N"]) -> Shaped[np.ndarray, "*shape"]:
    flat = patterns.reshape(patterns.shape[0], -1)
    try:
        return cv2.LUT(flat, table).reshape(patterns.shape)
    except cv2.error:
        # before OpenCV 4.12 its table works for 8 bits only
        return np.take(table, patterns, mode="clip")
