"""The promises of heads and of classifiers, and the two registries that hold them.

A head is trained together with the backbone; a classifier is fitted once on features, by a closed form or by
scikit-learn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from resight.registry import Registry

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
    from torch import nn


class HeadBuilder(Protocol):
    """Builds an `nn.Module` that maps features `(B, F)` to logits `(B, L)`.

    `options` is an instance of the class the member was registered with. All parameters are trained by gradient.
    """

    def __call__(self, options: Any, /, *, in_features: int, n_labels: int) -> nn.Module:
        """Build the head with freshly drawn weights."""
        ...


class ClassifierBuilder(Protocol):
    """Builds a scikit-learn estimator with `fit(X, y)` and `predict_proba(X)`.

    `options` is an instance of the class the member was registered with; the same `seed` gives the same fit.
    """

    def __call__(self, options: Any, /, *, seed: int) -> BaseEstimator:
        """Build the unfitted estimator."""
        ...


HEADS: Registry[HeadBuilder] = Registry("head", "resight.heads")
CLASSIFIERS: Registry[ClassifierBuilder] = Registry("classifier", "resight.heads")
