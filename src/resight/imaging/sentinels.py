"""Does an image look like those a model was trained on: upright, right polarity, same kind of picture?

A linear score tells an upright image from its turned versions and its negative: ridge regression with the covariance
averaged over all eight turns and mirror images, symmetric in left and right; a second one, on the difference between
left and right, tells it from its mirror image. Outliers are what a small principal subspace of the training images
does not explain (residual, distance within it, brightness, contrast, colour).

Each sentinel is cross-validated on the training images and stays silent where it does not know the identity in 99 % of
them: skin lesions have no upright.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from resight.errors import ImageError

Name = Literal["rotated", "inverted", "mirrored", "constant", "wrong-modality"]
Features = Float[np.ndarray, "N P"]

_SIDE = 16
"""Images are compared at 16 x 16: 32 and 48 were not better at orientation on chest radiographs."""
_COMPONENTS = 16
_RIDGE = 0.1
"""Share of the mean variance added to the covariance; 0.01 to 1 give the same to half a percent."""
_FOLDS = 5
_RELIABLE = 0.99
_TAIL = 0.998
"""Quantile of the cross-validated outlier measures that counts as the edge of the cohort."""
_FEWEST = 50
"""With fewer training images every sentinel but `constant` is silent."""
_MOST = 5000
"""More images than this are thinned out evenly; the covariance does not change any more."""
_CONSTANT_STD = 1.0
"""Standard deviation in grey levels below which nothing can be seen."""
_DIGITS = 4


_GRID = np.arange(_SIDE * _SIDE).reshape(_SIDE, _SIDE)
_TURNS = [np.rot90(_GRID, k).reshape(-1) for k in range(4)]
"""Pixel orders of an image after k quarter turns counter-clockwise."""
_MIRROR = _GRID[:, ::-1].reshape(-1)


@dataclass(frozen=True)
class Flag:
    """One thing that looks wrong with an image."""

    name: Name
    detail: str


@dataclass(frozen=True, eq=False)
class _Cohort:
    """What is remembered of the training images."""

    upright: Float[np.ndarray, " P"]
    mirror: Float[np.ndarray, " P"]
    mean: Float[np.ndarray, " P"]
    basis: Float[np.ndarray, "K P"]
    scale: Float[np.ndarray, " K"]
    tone_mean: Float[np.ndarray, " T"]
    tone_scale: Float[np.ndarray, " T"]

    @classmethod
    def fit(cls, features: Features, tones: Float[np.ndarray, "N T"]) -> _Cohort:
        count = len(features)
        unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-6)
        plain = unit.T @ unit / count
        either = (plain + plain[np.ix_(_MIRROR, _MIRROR)]) / 2
        turned = np.mean([either[np.ix_(turn, turn)] for turn in _TURNS], axis=0)
        middle = unit.mean(axis=0)
        halves = features - features[:, _MIRROR]
        mean = features.mean(axis=0)
        _, spread, basis = np.linalg.svd(features - mean, full_matrices=False)
        return cls(
            upright=_ridge(turned, middle + middle[_MIRROR]),
            mirror=_ridge(halves.T @ halves / count, halves.mean(axis=0)),
            mean=mean,
            basis=basis[:_COMPONENTS],
            scale=np.maximum(spread[:_COMPONENTS] / np.sqrt(count), 1e-3),
            tone_mean=tones.mean(axis=0),
            # brightness and contrast of a cohort of copies do not vary at all
            tone_scale=tones.std(axis=0) + 0.05,
        )

    def turns(self, features: Features) -> Float[np.ndarray, "N 4"]:
        """How upright an image is after each number of quarter turns; negated for its negative."""
        return np.stack([features[:, turn] @ self.upright for turn in _TURNS], axis=1)

    def mirrored(self, features: Features) -> Float[np.ndarray, " N"]:
        """Above 0 where left is left."""
        return (features - features[:, _MIRROR]) @ self.mirror

    def strangeness(self, features: Features, tones: Float[np.ndarray, "N T"]) -> Float[np.ndarray, "N 3"]:
        """Logarithms of what the subspace does not explain, of the distance within it, and of that in tone."""
        centred = features - self.mean
        inside = centred @ self.basis.T
        residual = (centred**2).sum(axis=1) - (inside**2).sum(axis=1)
        distance = ((inside / self.scale) ** 2).sum(axis=1)
        tone = (((tones - self.tone_mean) / self.tone_scale) ** 2).sum(axis=1)
        return np.log(np.maximum(np.stack([residual, distance, tone], axis=1), 1e-6))


@dataclass(frozen=True, eq=False)
class Sentinels:
    """Watchmen of one training cohort.

    Attributes:
        reliability: share of training images whose own state each sentinel recognises, cross-validated.
        limits: largest value of each measure of strangeness within the cohort.
    """

    reliability: Mapping[str, float]
    limits: tuple[float, ...]
    _cohort: _Cohort | None

    @classmethod
    def fit(cls, images: UInt8[np.ndarray, "N C *space"]) -> Sentinels:
        """Learn from the prepared training images; of a volume `(N, C, D, H, W)` the middle slice counts."""
        step = max(1, -(-len(images) // _MOST))
        features, tones = _describe(images[::step])
        seen = tones[:, 1] > np.log1p(_CONSTANT_STD)
        features, tones = features[seen], tones[seen]
        if len(features) < _FEWEST:
            return cls({}, (), None)
        # blocks, not a shuffle: neighbours in a table are often of one patient
        folds = np.arange(len(features)) * _FOLDS // len(features)
        right, strange = np.zeros((len(features), 3), bool), np.zeros((len(features), 3))
        for fold in range(_FOLDS):
            out = folds == fold
            part = _Cohort.fit(features[~out], tones[~out])
            turns = part.turns(features[out])
            upright, positive = turns.argmax(axis=1) == 0, turns.max(axis=1) > -turns.min(axis=1)
            right[out] = np.stack([upright, positive, part.mirrored(features[out]) > 0], axis=1)
            strange[out] = part.strangeness(features[out], tones[out])
        rotated, inverted, mirrored = (float(share) for share in right.mean(axis=0))
        cohort = _Cohort.fit(features, tones)
        # in small cohorts the subspace bends towards its own images, which would then lie outside
        edges = np.quantile([strange, cohort.strangeness(features, tones)], _TAIL, axis=1).max(axis=0)
        reliability = {"rotated": rotated, "inverted": inverted, "mirrored": mirrored}
        return cls(reliability, tuple(float(edge) for edge in edges), cohort)

    def active(self) -> tuple[str, ...]:
        """Names of the sentinels that speak."""
        known = tuple(name for name, share in self.reliability.items() if share >= _RELIABLE)
        return ("constant", *known, *(("wrong-modality",) if self._cohort is not None else ()))

    def check(self, image: UInt8[np.ndarray, "C *space"]) -> tuple[Flag, ...]:
        """What looks wrong with a prepared image; empty where nothing does.

        Raises:
            ImageError: not `(C, H, W)` or `(C, D, H, W)` of type `uint8`.
        """
        if image.ndim not in (3, 4) or image.dtype != np.uint8:
            found = f"an array of shape {image.shape} and type {image.dtype}"
            raise ImageError(found, where="sentinels", expected="uint8 (C, H, W) or (C, D, H, W)")
        features, tones = _describe(image[np.newaxis])
        if np.expm1(tones[0, 1]) < _CONSTANT_STD:
            return (Flag("constant", "all pixels are nearly equal; nothing can be seen"),)
        if self._cohort is None:
            return ()
        flags, restored, tone = self._orientation(self._cohort, features, tones)
        if not self._is_strange(restored, tone):
            return flags
        if self._is_strange(features, tones):
            return (Flag("wrong-modality", "does not look like the images the model was trained on"),)
        return ()

    def to_dict(self) -> dict[str, Any]:
        """State as JSON can hold it, about 40 kB."""
        state: dict[str, Any] = {"reliability": dict(self.reliability), "limits": list(self.limits)}
        if self._cohort is not None:
            state["cohort"] = {name: _rounded(value) for name, value in vars(self._cohort).items()}
        return state

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Sentinels:
        """The sentinels that `to_dict` described."""
        cohort = state.get("cohort")
        arrays = None if cohort is None else _Cohort(**{name: np.asarray(value) for name, value in cohort.items()})
        return cls(dict(state["reliability"]), tuple(state["limits"]), arrays)

    def _orientation(
        self, cohort: _Cohort, features: Features, tones: Float[np.ndarray, "1 T"]
    ) -> tuple[tuple[Flag, ...], Features, Float[np.ndarray, "1 T"]]:
        """Flags, and the image as it would look if they were put right."""
        active, flags = self.active(), list[Flag]()
        turns = cohort.turns(features)[0]
        if "inverted" in active and -turns.min() > turns.max():
            flags.append(Flag("inverted", "black and white look exchanged"))
            # the mean of the negative; contrast and colour stay
            features, tones, turns = -features, tones * [-1, 1, 1] + [255, 0, 0], -turns
        if "rotated" in active and (best := int(turns.argmax())):
            flags.append(Flag("rotated", f"looks turned by {90 * best} degrees clockwise"))
            features = features[:, _TURNS[best]]
        if "mirrored" in active and cohort.mirrored(features)[0] < 0:
            flags.append(Flag("mirrored", "left and right look exchanged"))
            features = features[:, _MIRROR]
        return tuple(flags), features, tones

    def _is_strange(self, features: Features, tones: Float[np.ndarray, "1 T"]) -> bool:
        assert self._cohort is not None
        return bool((self._cohort.strangeness(features, tones)[0] > self.limits).any())


def _describe(images: UInt8[np.ndarray, "N C *space"]) -> tuple[Features, Float[np.ndarray, "N 3"]]:
    """Small grey images with zero mean and unit variance, and their tones: mean, log contrast, log colourfulness."""
    features, tones = [], []
    for image in images:
        plane = image[:, image.shape[1] // 2] if image.ndim == 4 else image
        grey = plane.mean(axis=0, dtype=np.float32)
        small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).reshape(-1).astype(np.float64)
        spread = float(grey.std())
        features.append((small - small.mean()) / max(float(small.std()), 1e-3))
        colour = float(np.ptp(plane, axis=0).mean()) if len(plane) > 1 else 0.0
        tones.append((float(grey.mean()), float(np.log1p(spread)), float(np.log1p(colour))))
    return np.asarray(features), np.asarray(tones)


def _ridge(covariance: Float[np.ndarray, "P P"], target: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
    size = len(covariance)
    loading = _RIDGE * max(float(np.trace(covariance)), 1e-12) / size
    weights = np.linalg.solve(covariance + loading * np.eye(size), target)
    return weights / max(float(np.linalg.norm(weights)), 1e-12)


def _rounded(values: Shaped[np.ndarray, "*shape"]) -> list[Any]:
    return np.round(values, _DIGITS).tolist()
