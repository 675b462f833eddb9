"""The promise of a few-shot classifier: a handful of labelled features in, scores of other features out."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Int

from resight.registry import Registry

Features = Float[np.ndarray, "N F"]


class FewShotClassifier(Protocol):
    """Learns nothing but what the support set of one episode shows."""

    def scores(
        self, support: Features, classes: Int[np.ndarray, " N"], queries: Float[np.ndarray, "Q F"], n_classes: int
    ) -> Float[np.ndarray, "Q W"]:
        """Scores of the queries, higher for likelier classes.

        Args:
            support: features of the labelled images.
            classes: class of each, from 0; every class has at least one image.
            queries: features to judge.
            n_classes: W.
        """
        ...


class FewShotBuilder(Protocol):
    """Builds a classifier; `options` is an instance of the class the member was registered with.

    `base` are features of images that are neither support nor query, for methods that centre by them.
    """

    def __call__(self, options: Any, /, *, base: Features) -> FewShotClassifier:
        """Build the classifier."""
        ...


FEWSHOT: Registry[FewShotBuilder] = Registry("few-shot classifier", "resight.fewshot")
