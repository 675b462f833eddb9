"""How far an image lies from the training images, as the network sees them.

Mahalanobis distance of the features (Lee et al., NeurIPS 2018, section 2.1, without classes) under a probabilistic
principal component model (Tipping & Bishop, JRSS B 1999, equations 7 to 9), so that it also exists where there are
fewer images than features. The unit is the share of held-out images that lie nearer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load, save

from resight.errors import BundleError, DataError

Features = Float[np.ndarray, "N F"]

_MOST_DIRECTIONS = 64
_WATCHED = 8
"""Directions that a predictions table holds: enough to see features drift, few enough to read."""
_QUANTILES = 201
_TENSORS = ("mean", "directions", "variances", "residual", "quantiles")


@dataclass(frozen=True)
class Novelty:
    """What features of known images look like.

    Attributes:
        mean: `(F,)` of the training images.
        directions: `(K, F)` along which they differ most, of length 1.
        variances: `(K,)` along these.
        residual: `(1,)` variance along each other direction.
        quantiles: `(Q,)` of the distances of held-out images, rising.
    """

    mean: Float[np.ndarray, " F"]
    directions: Float[np.ndarray, "K F"]
    variances: Float[np.ndarray, " K"]
    residual: Float[np.ndarray, " 1"]
    quantiles: Float[np.ndarray, " Q"]

    @classmethod
    def fit(cls, training: Features, held_out: Features) -> Novelty:
        """Learn from training images; distances of held-out images give the unit.

        Args:
            training: features of images that were learned from.
            held_out: features of images that were not: those of training images lie nearer than any new one.

        Raises:
            DataError: fewer than 3 training images or no held-out ones, or features that are not finite.
        """
        if len(training) < 3 or not len(held_out):
            found = f"{len(training)} training and {len(held_out)} held-out images"
            raise DataError(found, where="novelty", expected="3 and 1 at least")
        if not (np.isfinite(training).all() and np.isfinite(held_out).all()):
            raise DataError("features are not finite", where="novelty")
        mean = training.mean(axis=0)
        _, singular, directions = np.linalg.svd((training - mean).astype(np.float64), full_matrices=False)
        variances = singular**2 / (len(training) - 1)
        kept = min(_MOST_DIRECTIONS, (len(training) - 1) // 2, len(mean) - 1)
        left = variances[kept:]
        floor = float(variances.sum()) * 1e-9 + 1e-12
        residual = max(float(left.sum()) / max(len(mean) - kept, 1), floor)
        unit = cls(
            mean.astype(np.float32),
            directions[:kept].astype(np.float32),
            np.maximum(variances[:kept], residual).astype(np.float32),
            np.array([residual], dtype=np.float32),
            np.empty(0, dtype=np.float32),
        )
        quantiles = np.quantile(unit.distance(held_out), np.linspace(0, 1, _QUANTILES))
        return cls(unit.mean, unit.directions, unit.variances, unit.residual, quantiles.astype(np.float32))

    def distance(self, features: Features) -> Float[np.ndarray, " N"]:
        """Mahalanobis distance from the training images."""
        centred = np.asarray(features, dtype=np.float64) - self.mean
        along = centred @ self.directions.T.astype(np.float64)
        beside = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
        return np.sqrt((along**2 / self.variances).sum(axis=1) + beside / self.residual[0])

    @property
    def watched(self) -> int:
        """Directions whose coordinates are written into predictions."""
        return min(_WATCHED, len(self.directions))

    def coordinates(self, features: Features) -> Float[np.ndarray, "N k"]:
        """Place along the directions in which training images differ most, in their standard deviations."""
        along = (np.asarray(features, dtype=np.float64) - self.mean) @ self.directions[: self.watched].T.astype(
            np.float64
        )
        return along / np.sqrt(self.variances[: self.watched])

    def share_nearer(self, features: Features) -> Float[np.ndarray, " N"]:
        """Share of held-out images that lie nearer, 0 to 1; 1 is farther than all of them."""
        place = np.searchsorted(self.quantiles, self.distance(features).astype(np.float32), side="right")
        return place / len(self.quantiles)

    def to_bytes(self) -> bytes:
        """As a safetensors file."""
        return save({name: np.ascontiguousarray(getattr(self, name)) for name in _TENSORS})

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Novelty:
        """Read what `to_bytes` gave.

        Raises:
            BundleError: it is something else.
        """
        try:
            tensors = load(data)
            return cls(**{name: tensors[name] for name in _TENSORS})
        except (SafetensorError, KeyError) as error:
            raise BundleError(f"not the novelty of a model ({error})", where=where) from error
