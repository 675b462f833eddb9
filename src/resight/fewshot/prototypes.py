"""Nearest class mean: prototypical networks without further training, and SimpleShot's normalised form.

Snell et al., NeurIPS 2017, equation 2; Wang et al. 2019, "SimpleShot", section 3 (centred, scaled to length 1: CL2N).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from resight.fewshot.base import FEWSHOT, Features
from resight.settings import Options


class PrototypeOptions(Options):
    """Distance to the mean of each class (ProtoNet)."""


class SimpleShotOptions(Options):
    """The same after centring by the base images and scaling to length 1 (SimpleShot, CL2N)."""


@FEWSHOT.register("prototype", PrototypeOptions)
class Prototype:
    """Nearest class mean by squared distance."""

    def __init__(self, options: PrototypeOptions, *, base: Features) -> None:
        del options, base

    def scores(
        self, support: Features, classes: Int[np.ndarray, " N"], queries: Float[np.ndarray, "Q F"], n_classes: int
    ) -> Float[np.ndarray, "Q W"]:
        """Negative squared distances."""
        return _to_means(support, classes, queries, n_classes)


@FEWSHOT.register("simpleshot", SimpleShotOptions)
class SimpleShot:
    """Nearest class mean of centred features of length 1."""

    def __init__(self, options: SimpleShotOptions, *, base: Features) -> None:
        del options
        self._mean = base.mean(axis=0) if len(base) else 0.0

    def scores(
        self, support: Features, classes: Int[np.ndarray, " N"], queries: Float[np.ndarray, "Q F"], n_classes: int
    ) -> Float[np.ndarray, "Q W"]:
        """Negative squared distances."""
        return _to_means(unit(support - self._mean), classes, unit(queries - self._mean), n_classes)


def unit(features: Features) -> Features:
    """Rows scaled to length 1; a row of zeros stays."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(length > 0, length, 1.0)


def _to_means(
    support: Features, classes: Int[np.ndarray, " N"], queries: Float[np.ndarray, "Q F"], n_classes: int
) -> Float[np.ndarray, "Q W"]:
    means = np.stack([support[classes == k].mean(axis=0) for k in range(n_classes)])
    return -((queries[:, None] - means) ** 2).sum(axis=2)
