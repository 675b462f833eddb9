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

from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Float, Int, Shaped
from pydantic import Field, model_validator

from resight.settings import Options
from resight.types import Step

Values = Float[np.ndarray, "*shape"]
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


@dataclass(frozen=True)
class Window:
    """One window of a header (PS3.3 C.11.2.1.2)."""

    center: float
    width: float
    function: str = "LINEAR"

    def __call__(self, values: Values) -> Values:
        """Map values to [0, 1] by the formulas of PS3.3 C.11.2.1.2.1 and C.11.2.1.3."""
        if self.function == "SIGMOID":
            # beyond 700 the exponential overflows and the result is 0 or 1 anyway
            return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - self.center) / self.width, -700, 700)))
        if self.function == "LINEAR_EXACT":
            return np.clip((values - self.center) / self.width + 0.5, 0.0, 1.0)
        if self.width == 1:
            return (values > self.center - 0.5).astype(np.float64)
        return np.clip((values - (self.center - 0.5)) / (self.width - 1.0) + 0.5, 0.0, 1.0)


@dataclass(frozen=True)
class Table:
    """A look-up table of a header (PS3.3 C.11.1.1).

    Attributes:
        first: input value that maps to the first entry; below and above it the end entries count.
        entries: output values.
        bits: bits of an entry.
    """

    first: int
    entries: Float[np.ndarray, " N"]
    bits: int

    def __call__(self, values: Values) -> Values:
        """Look values up."""
        finite = np.nan_to_num(values - self.first)
        return self.entries[np.clip(finite, 0, len(self.entries) - 1).astype(np.intp)]

    def unit(self, values: Values) -> Values:
        """Look values up and scale the entries' range to [0, 1]."""
        return np.clip(self(values) / (2.0**self.bits - 1.0), 0.0, 1.0)


@dataclass(frozen=True, eq=False)
class Chain:
    """What a header says about the way from stored values to grey.

    Attributes:
        modality: DICOM modality code.
        bits: bits of a stored value that count; higher ones are masked (0 for floats).
        signed: whether they are two's complement.
        slope: rescale slope.
        intercept: rescale intercept.
        modality_lut: table instead of slope and intercept.
        windows: windows in the header's order.
        voi_lut: table that goes before the windows.
        presentation_lut: table after the VOI.
        padding: lowest and highest stored value that is no image (shown black, left out of percentiles).
        inverted: whether the lowest value is white.
    """

    modality: str
    bits: int
    signed: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: Table | None = None
    windows: tuple[Window, ...] = ()
    voi_lut: Table | None = None
    presentation_lut: Table | None = None
    padding: tuple[float, float] | None = None
    inverted: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether stored bytes are grey already, so that nothing is to be done to most pictures."""
        tables = (self.modality_lut, self.voi_lut, self.presentation_lut, self.padding)
        same = (self.bits, self.signed, self.slope, self.intercept, self.inverted) == (8, False, 1.0, 0.0, False)
        return same and not self.windows and tables == (None,) * 4

    def rescaled(self, stored: Values) -> Values:
        """Stored values after the modality LUT."""
        if self.modality_lut is not None:
            return self.modality_lut(stored)
        return stored * self.slope + self.intercept

    def same_values(self, other: Chain) -> bool:
        """Whether stored values mean the same in both, so that two slices can share a table."""
        mine, theirs = ((c.bits, c.signed, c.slope, c.intercept, c.padding, c.inverted) for c in (self, other))
        return mine == theirs and self.modality_lut is None and other.modality_lut is None

    def stored(self, patterns: Shaped[np.ndarray, "*shape"]) -> Values:
        """Bit patterns of unsigned integers as the numbers they stand for."""
        numbers = patterns.astype(np.int64) & ((1 << self.bits) - 1)
        if self.signed:
            numbers -= (numbers >> (self.bits - 1)) << self.bits
        return numbers.astype(np.float64)


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
    if voi.percentiles is None:
        volume = raw.ndim == 3 and min(raw.shape) > 1
        voi = voi.model_copy(update={"percentiles": _VOLUME_PERCENTILES if volume else _IMAGE_PERCENTILES})
    if raw.dtype.kind in "iub" and raw.dtype.itemsize <= 2:
        patterns = np.ascontiguousarray(raw, raw.dtype.newbyteorder("=")).view(f"u{raw.dtype.itemsize}")
        if chain.is_plain and patterns.dtype == np.uint8 and _resolved(chain, voi) == "full":
            return patterns, _as_it_is()
        stored = chain.stored(np.arange(256**raw.dtype.itemsize))
        counts = None if _is_set_by_header(chain, voi) else _histogram(patterns)
        grey, steps = _curve(stored, counts, chain, voi)
        table = np.rint(grey * 255).astype(np.uint8) if patterns.dtype == np.uint8 else grey.astype(np.float32)
        return _look_up(patterns, table), steps
    stored = raw.astype(np.float64) if raw.dtype.kind == "f" else chain.stored(raw)
    grey, steps = _curve(stored, None, chain, voi)
    return grey.astype(np.float32), steps


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


def without_rescale(chain: Chain) -> Chain:
    """The chain for values that already went through the modality LUT."""
    return replace(chain, bits=0, slope=1.0, intercept=0.0, modality_lut=None, padding=None)
