"""Optimiser, learning rate over time, and the moving average of the weights.

Sources: decoupled weight decay, Loshchilov & Hutter, ICLR 2019; cosine schedule, Loshchilov & Hutter, ICLR 2017;
weight averaging, Polyak & Juditsky 1992, with the warm-up of the decay used since Inception.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from resight.training.options import TrainingOptions


def build_optimizer(model: nn.Module, options: TrainingOptions) -> torch.optim.Optimizer:
    """Weight decay on matrices and filters only; norms and biases are left alone."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if options.optimizer == "sgd":
        momentum = options.momentum
        return torch.optim.SGD(groups, lr=options.learning_rate, momentum=momentum, nesterov=momentum > 0, fused=True)
    return torch.optim.AdamW(groups, lr=options.learning_rate, fused=True)  # one pass over memory instead of ten


def learning_rate(options: TrainingOptions, step: int, steps_per_epoch: int) -> float:
    """Learning rate of one optimiser step.

    Args:
        options: peak, schedule and warm-up.
        step: number of the step since the start of training, from 0.
        steps_per_epoch: steps in an epoch.

    Returns:
        The rate: linear up to the peak, then constant or along half a cosine to 0.
    """
    warmup = min(options.warmup_epochs, options.epochs / 2) * steps_per_epoch
    if step < warmup:
        return options.learning_rate * (step + 1) / (warmup + 1)
    if options.schedule == "constant":
        return options.learning_rate
    total = options.epochs * steps_per_epoch
    progress = (step - warmup) / max(total - warmup, 1)
    return options.learning_rate * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


class AveragedWeights:
    """Exponential moving average of a model's parameters and running statistics.

    Args:
        model: the model that is trained.
        decay: weight of the past per step; during the first steps it is smaller, so that the start is forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.tensors = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take the weights after one optimiser step in."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 9))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                self.tensors[name].lerp_(tensor, 1 - decay)
            else:
                self.tensors[name].copy_(tensor)
