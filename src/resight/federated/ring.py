"""Numbers as integers of a ring, so that masks hide them perfectly: fixed point modulo 2^64, scaled by the data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, UInt64

from resight.errors import TrainingError

_HEADROOM_BITS: Final = 62
"""A sum of all sites stays below 2^62, so that its sign is clear and nothing wraps around."""


@dataclass(frozen=True)
class Ring:
    """Fixed point in 64 bits for sums over sites.

    Attributes:
        bound: no absolute value of any site is larger; found by asking the sites, not guessed.
        sites: how many are added up.
    """

    bound: float
    sites: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.bound) and self.bound >= 0):
            raise TrainingError(f"the largest value is {self.bound}", where="secure aggregation", expected="finite")

    @property
    def scale(self) -> float:
        """Steps of the ring per unit: a power of two, the largest that leaves room for the sum."""
        if self.bound == 0:
            return 1.0
        exponent = _HEADROOM_BITS - math.ceil(math.log2(self.sites)) - math.frexp(self.bound)[1]
        return math.ldexp(1.0, max(min(exponent, 1000), -1000))

    @property
    def error(self) -> float:
        """Largest distance of a decoded sum from the exact one: half a step a site, and float64 at the end."""
        return self.sites * (0.5 / self.scale + self.bound * 2.0**-53)

    def encode(self, values: Float[np.ndarray, " V"]) -> UInt64[np.ndarray, " V"]:
        """One site's values.

        Raises:
            TrainingError: a value is not finite or beyond the bound, or was rounded by more than `error` allows.
        """
        values = np.asarray(values, np.float64)
        largest = float(np.max(np.abs(values), initial=0.0))
        if not largest <= self.bound:
            found = f"a value of {largest:g} where all sites agreed on {self.bound:g} at most"
            raise TrainingError(found, where="secure aggregation")
        steps = np.rint(values * self.scale)
        furthest = float(np.max(np.abs(steps / self.scale - values), initial=0.0))
        if furthest > 0.5 / self.scale:
            found = f"a value was rounded by {furthest:g}"
            raise TrainingError(found, where="secure aggregation", expected=f"{0.5 / self.scale:g} at most")
        return steps.astype(np.int64).view(np.uint64)

    def decode(self, total: UInt64[np.ndarray, " V"]) -> Float[np.ndarray, " V"]:
        """A sum over sites.

        Raises:
            TrainingError: a value that no sum of bounded values can have.
        """
        values = total.view(np.int64).astype(np.float64) / self.scale
        largest = float(np.max(np.abs(values), initial=0.0))
        if largest > self.sites * self.bound + self.error:
            found = f"a sum of {largest:g} over {self.sites} sites of at most {self.bound:g}"
            raise TrainingError(found, where="secure aggregation", fix="A site sent something else; repeat the round.")
        return values
