"""What to do about rare labels: weights for the loss, or a sampler that draws rare cases more often."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int

from resight.types import Mask, Targets, Task

_LARGEST_WEIGHT = 20.0
"""A label with a handful of positives must not drown all others."""


def positive_weights(targets: Targets, mask: Mask, task: Task) -> Float[torch.Tensor, " L"]:
    """Weight per label: negatives per positive; for a multiclass task the inverse class frequency, mean 1.

    Args:
        targets: `(N, L)` training targets.
        mask: `(N, L)` true where known.
        task: kind of classification.

    Returns:
        `(L,)` weights between 1/20 and 20; 1 for a label without positives.
    """
    positives = np.where(mask, targets, 0.0).sum(axis=0)
    known = mask.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = known / targets.shape[1] if task == "multiclass" else known - positives
        weights = expected / positives
    weights = np.where(positives > 0, weights, 1.0)
    return torch.from_numpy(np.clip(weights, 1 / _LARGEST_WEIGHT, _LARGEST_WEIGHT).astype(np.float32))


def sampling_weights(targets: Targets, mask: Mask) -> Float[np.ndarray, " N"]:
    """How often to draw each image, so that its rarest label state is seen as often as any other.

    Each label state (positive or negative) has a frequency; an image gets the largest inverse frequency among
    its known states, capped at 20 times the smallest.
    """
    filled = np.where(mask, targets, np.nan)
    with np.errstate(invalid="ignore"):
        prevalence = np.nanmean(np.where(mask.any(axis=0), filled, 0.0), axis=0)
    frequency = np.where(filled > 0.5, prevalence, 1 - prevalence)
    inverse = np.where(mask & (frequency > 0), 1 / np.maximum(frequency, 1e-9), 0.0)
    weights = np.maximum(inverse.max(axis=1), 1.0)
    return np.minimum(weights, _LARGEST_WEIGHT * weights.min())


def group_sampling_weights(targets: Targets, mask: Mask, groups: Int[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """How often to draw each image, so that group and label become independent (Kamiran & Calders 2012, section 5.2).

    Every image has one combination of label states; a combination that is rarer in a group than its size and that of
    the combination let expect is drawn more often, at most 20 times. The size of groups and the frequency of
    combinations stay what they are.
    """
    states = np.where(mask, np.nan_to_num(targets) >= 0.5, 2).astype(np.int64)
    _, state = np.unique(states, axis=0, return_inverse=True)
    state = state.reshape(-1)
    table = np.zeros((int(groups.max()) + 1, int(state.max()) + 1))
    np.add.at(table, (groups, state), 1.0)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    return np.minimum(expected[groups, state] / table[groups, state], _LARGEST_WEIGHT)
