"""Optimiser, learning rate over time, and the moving average of the weights.

Sources: decoupled weight decay, Loshchilov & Hutter, ICLR 2019; cosine schedule, Loshchilov & Hutter, ICLR 2017;
weight averaging, Polyak & Juditsky 1992, with the warm-up of the decay used since Inception.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

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
    # fused: one pass over memory instead of ten
    if options.optimizer == "sgd":
        momentum = options.momentum
        return _SGD(groups, lr=options.learning_rate, momentum=momentum, nesterov=momentum > 0, fused=True)
    return _AdamW(groups, lr=options.learning_rate, fused=True)


class _SGD(torch.optim.SGD):
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        with _filters_as_they_lie(self):
            return super().step(closure)


class _AdamW(torch.optim.AdamW):
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        with _filters_as_they_lie(self):
            return super().step(closure)


@contextmanager
def _filters_as_they_lie(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Filters in channels-last order under a shape in which they are contiguous.

    A fused step on a processor copies what is not contiguous there and back, which takes three times as long as the
    step itself.
    """
    filters = [
        parameter
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.ndim > 2 and not parameter.is_contiguous() and parameter.movedim(1, -1).is_contiguous()
    ]
    _move_axis(optimizer, filters, 1, -1)
    try:
        yield
    finally:
        _move_axis(optimizer, filters, -1, 1)


def _move_axis(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], source: int, target: int) -> None:
    """Of parameters, their gradients, and what the optimiser remembers of them; memory stays as it is."""
    for parameter in parameters:
        shape, gradient = parameter.shape, parameter.grad
        remembered = optimizer.state.get(parameter, {})
        for name, value in remembered.items():
            if isinstance(value, torch.Tensor) and value.shape == shape:
                remembered[name] = value.movedim(source, target)
        parameter.data = parameter.data.movedim(source, target)
        parameter.grad = None if gradient is None else gradient.movedim(source, target)


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
