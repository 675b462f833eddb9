"""What a header says about the way from stored values to grey: rescale, look-up tables, windows (DICOM PS3.3 C.11)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Shaped

Values = Float[np.ndarray, "*shape"]


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


def without_rescale(chain: Chain) -> Chain:
    """The chain for values that already went through the modality LUT."""
    return replace(chain, bits=0, slope=1.0, intercept=0.0, modality_lut=None, padding=None)
