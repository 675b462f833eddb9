"""The arithmetic of putting updates together, on arrays alone.

Weighted mean: McMahan et al. 2017; coordinate-wise median and trimmed mean: Yin et al. 2018; adaptive server steps:
Reddi et al. 2021, algorithm 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from resight.errors import TrainingError

Tensors = dict[str, np.ndarray[Any, Any]]


def weighted_sum(updates: Sequence[Mapping[str, np.ndarray[Any, Any]]], weights: Sequence[float]) -> Tensors:
    """`sum of weight x update`, in float64, name by name."""
    names = updates[0].keys()
    pairs = list(zip(updates, weights, strict=True))
    return {name: np.sum([w * u[name].astype(np.float64) for u, w in pairs], axis=0) for name in names}


def divided(total: Mapping[str, np.ndarray[Any, Any]], weight: float) -> Tensors:
    """A sum over its weight: the mean.

    Raises:
        TrainingError: nobody has any weight.
    """
    if not weight > 0:
        raise TrainingError("the sites' weights add up to 0", fix="Check that every site has training images.")
    return {name: array / weight for name, array in total.items()}


def median(stacked: Float[np.ndarray, "K *shape"]) -> Float[np.ndarray, " *shape"]:
    """Median over sites of every coordinate; sites count alike."""
    return np.median(stacked, axis=0)


def trimmed_mean(stacked: Float[np.ndarray, "K *shape"], share: float) -> Float[np.ndarray, " *shape"]:
    """Mean of every coordinate without its lowest and highest values.

    Args:
        stacked: one entry a site.
        share: share of the sites left out at each end, below 0.5.

    Raises:
        TrainingError: nothing would be left.
    """
    cut = int(share * len(stacked))
    if 2 * cut >= len(stacked):
        raise TrainingError(f"trimming {cut} of {len(stacked)} sites at each end leaves none")
    ordered = np.sort(stacked, axis=0)
    return ordered[cut : len(stacked) - cut].mean(axis=0)


def stack(updates: Sequence[Mapping[str, np.ndarray[Any, Any]]]) -> Tensors:
    """Updates of K sites, name by name, as `(K, ...)` in float64."""
    return {name: np.stack([update[name].astype(np.float64) for update in updates]) for name in updates[0]}


def norm(update: Mapping[str, np.ndarray[Any, Any]]) -> float:
    """Euclidean norm over all coordinates."""
    return float(np.sqrt(sum(float(np.sum(np.square(a.astype(np.float64)))) for a in update.values())))


def problem(update: Mapping[str, np.ndarray[Any, Any]], like: Mapping[str, np.ndarray[Any, Any]]) -> str:
    """Why an update cannot be used; empty when it can.

    Args:
        update: what a site sent.
        like: arrays of the names and shapes it must have.
    """
    if missing := sorted(like.keys() - update.keys()):
        return f"the update lacks {missing[0]!r}"
    if extra := sorted(update.keys() - like.keys()):
        return f"the update has {extra[0]!r}, which nobody asked for"
    for name, array in update.items():
        if array.shape != like[name].shape:
            return f"{name!r} has shape {array.shape} in place of {like[name].shape}"
        if not np.issubdtype(array.dtype, np.floating):
            return f"{name!r} is {array.dtype} in place of floats"
        if not np.isfinite(array).all():
            return f"{name!r} holds {int((~np.isfinite(array)).sum())} values that are not finite"
    return ""


class AdaptiveStep:
    """Moments of the mean update, and the step that they scale.

    Args:
        rate: server learning rate.
        beta1: memory of the mean.
        beta2: memory of the square.
        floor: smallest divisor ("tau"): how adaptive the step is.
        signed: the square moves by its sign (Yogi) and not by its distance (Adam).
    """

    def __init__(self, rate: float, beta1: float, beta2: float, floor: float, *, signed: bool) -> None:
        self.rate, self.beta1, self.beta2, self.floor, self.signed = rate, beta1, beta2, floor, signed
        self.first: Tensors = {}
        self.second: Tensors = {}

    def __call__(self, name: str, mean: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """What is added to the shared weights."""
        first = self.beta1 * self.first.get(name, np.zeros_like(mean)) + (1 - self.beta1) * mean
        before, square = self.second.get(name, np.full_like(mean, self.floor**2)), np.square(mean)
        if self.signed:
            second = before - (1 - self.beta2) * square * np.sign(before - square)
        else:
            second = self.beta2 * before + (1 - self.beta2) * square
        self.first[name], self.second[name] = first, second
        return self.rate * first / (np.sqrt(second) + self.floor)
