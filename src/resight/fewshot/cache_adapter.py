"""The support set as a cache, blended with class means: Tip-Adapter without text (Zhang et al., ECCV 2022)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from resight.fewshot.base import FEWSHOT, Features
from resight.fewshot.prototypes import unit
from resight.settings import Options


class CacheOptions(Options):
    """Votes of the support images, weighted by how alike they are, beside the class means."""

    sharpness: float = Field(default=5.5, gt=0, description="beta: how fast a vote fades with the cosine distance")
    blend: float = Field(default=1.0, ge=0, description="alpha: weight of the votes against the class means")


@FEWSHOT.register("cache", CacheOptions)
class Cache:
    """Affinity `exp(-beta (1 - cosine))` to every support image, summed by class, plus the cosine to the class mean."""

    def __init__(self, options: CacheOptions, *, base: Features) -> None:
        self.options = options
        self._mean = base.mean(axis=0) if len(base) else 0.0

    def scores(
        self, support: Features, classes: Int[np.ndarray, " N"], queries: Float[np.ndarray, "Q F"], n_classes: int
    ) -> Float[np.ndarray, "Q W"]:
        """Blended scores; votes are means over the images of a class, so that classes of any size count alike."""
        known, asked = unit(support - self._mean), unit(queries - self._mean)
        affinity = np.exp(-self.options.sharpness * (1 - asked @ known.T))
        votes = np.stack([affinity[:, classes == k].mean(axis=1) for k in range(n_classes)], axis=1)
        means = unit(np.stack([known[classes == k].mean(axis=0) for k in range(n_classes)]))
        return asked @ means.T + self.options.blend * votes
