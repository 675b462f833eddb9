"""What an optimiser step is made of: loss, objective, which images are drawn, softened targets, its seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from resight.preprocess import Mixup
from resight.training.base import LOSSES, OBJECTIVES, Loss, Objective
from resight.training.cells import groups_of
from resight.training.data import Batch, TrainingData
from resight.training.imbalance import group_sampling_weights, positive_weights, sampling_weights
from resight.training.options import TrainingOptions
from resight.types import Task


def build_loss(options: TrainingOptions, task: Task, train: TrainingData) -> Loss:
    """The loss that the options name, with weights of positives where they ask for them."""
    name = options.loss.name
    if name == "auto":
        name = "categorical" if task == "multiclass" else "binary"
    weighted = options.imbalance == "positive_weight"
    weight = positive_weights(train.targets, train.mask, task) if weighted else None
    return LOSSES.build(name, options.loss.options, task=task, positive_weight=weight)


def build_objective(options: TrainingOptions, loss: Loss, model: nn.Module, train: TrainingData) -> Objective:
    """What a step minimises, as the options name it; it may have parameters and a memory of its own."""
    chosen = options.objective
    return OBJECTIVES.build(chosen.name, chosen.options, loss=loss, model=model, train=train)


def sampling(options: TrainingOptions, train: TrainingData) -> Float[np.ndarray, " N"] | None:
    """How often each image is drawn; None where an epoch shows each once."""
    if options.imbalance == "balanced_sampler":
        return sampling_weights(train.targets, train.mask)
    if options.imbalance == "group_sampler":
        return group_sampling_weights(train.targets, train.mask, groups_of(train))
    return None


def softened(batch: Batch, options: TrainingOptions, task: Task, *, seed: int, number: int) -> Batch:
    """A batch after mixup and label smoothing, as far as the options ask for them.

    Args:
        batch: images `(B, C, *space)` with targets `(B, L)`.
        options: `mixup` and `label_smoothing`.
        task: kind of classification.
        seed: of the run.
        number: of the step; the same step of the same run draws the same blend.
    """
    if options.mixup:
        batch = _blended(batch, Mixup(alpha=options.mixup), np.random.default_rng((seed, 1, number)))
    if options.label_smoothing:
        classes = batch.targets.shape[1] if task == "multiclass" else 2
        amount = options.label_smoothing
        batch = replace(batch, targets=batch.targets * (1 - amount) + amount / classes)
    return batch


def _blended(batch: Batch, mixup: Mixup, rng: np.random.Generator) -> Batch:
    """A batch blended with itself in another order."""
    mixed = mixup.sample(rng, len(batch.images))
    share, other = mixed.weight, torch.from_numpy(mixed.partner).to(batch.images.device)
    images = share * batch.images.float() + (1 - share) * batch.images[other].float()
    targets = share * batch.targets + (1 - share) * batch.targets[other]
    table = None if batch.table is None else share * batch.table + (1 - share) * batch.table[other]
    return replace(batch, images=images, targets=targets, mask=batch.mask & batch.mask[other], table=table)


def step_seed(seed: int, number: int) -> int:
    """Seed of what is drawn in one optimiser step, so that a resumed run draws it again."""
    return int(np.random.SeedSequence((seed, 2, number)).generate_state(1, np.uint64)[0] >> 1)
