"""Losses with a mask: binary and categorical cross-entropy, focal and asymmetric.

Sources: focal, Lin et al., ICCV 2017, equation 5; asymmetric, Ridnik et al., ICCV 2021, equation 7.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from resight.errors import SettingsError
from resight.settings import Options
from resight.training.base import LOSSES
from resight.types import Task

Batch = Float[Tensor, "B L"]
Known = Bool[Tensor, "B L"]


class BinaryOptions(Options):
    """Binary cross-entropy of each label on its own."""


class CategoricalOptions(Options):
    """Cross-entropy over classes that exclude each other."""


class FocalOptions(Options):
    """Focal loss: easy examples count less."""

    gamma: float = Field(default=2.0, ge=0, description="0 gives binary cross-entropy")


class AsymmetricOptions(Options):
    """Asymmetric loss: easy negatives count less than easy positives."""

    gamma_positive: float = Field(default=0.0, ge=0)
    gamma_negative: float = Field(default=4.0, ge=0)
    clip: float = Field(default=0.05, ge=0, lt=1, description="probability below which a negative costs nothing")


@LOSSES.register("binary", BinaryOptions)
class Binary(nn.Module):
    """Masked binary cross-entropy, with an optional weight for positives."""

    def __init__(self, options: BinaryOptions, *, task: Task, positive_weight: Float[Tensor, " L"] | None) -> None:
        super().__init__()
        del options
        _needs_independent_labels("binary", task)
        self.positive_weight = positive_weight

    def forward(self, logits: Batch, targets: Batch, mask: Known) -> Tensor:
        """Mean over the known entries."""
        weight = None if self.positive_weight is None else self.positive_weight.to(logits.device)
        each = functional.binary_cross_entropy_with_logits(
            logits, _filled(targets, mask), pos_weight=weight, reduction="none"
        )
        return _mean(each, mask)


@LOSSES.register("categorical", CategoricalOptions)
class Categorical(nn.Module):
    """Cross-entropy with soft targets; an image with any unknown class does not count."""

    def __init__(self, options: CategoricalOptions, *, task: Task, positive_weight: Float[Tensor, " L"] | None) -> None:
        super().__init__()
        del options
        if task != "multiclass":
            raise SettingsError(f"the loss 'categorical' does not fit a {task} task", where="training.loss")
        self.class_weight = positive_weight

    def forward(self, logits: Batch, targets: Batch, mask: Known) -> Tensor:
        """Mean over the images whose class is known, weighted by class where weights are given."""
        known = mask.all(dim=1)
        filled = _filled(targets, mask)
        if self.class_weight is not None:
            filled = filled * self.class_weight.to(logits.device)
        return _mean(-(filled * functional.log_softmax(logits, dim=1)).sum(dim=1), known)


@LOSSES.register("focal", FocalOptions)
class Focal(nn.Module):
    """Masked focal loss."""

    def __init__(self, options: FocalOptions, *, task: Task, positive_weight: Float[Tensor, " L"] | None) -> None:
        super().__init__()
        _needs_independent_labels("focal", task)
        self.gamma = options.gamma
        self.cross_entropy_weight = positive_weight

    def forward(self, logits: Batch, targets: Batch, mask: Known) -> Tensor:
        """Mean over the known entries."""
        targets = _filled(targets, mask)
        weight = None if self.cross_entropy_weight is None else self.cross_entropy_weight.to(logits.device)
        each = functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight, reduction="none")
        probability = torch.sigmoid(logits)
        missed = (targets - probability).abs()
        return _mean(missed.pow(self.gamma) * each, mask)


@LOSSES.register("asymmetric", AsymmetricOptions)
class Asymmetric(nn.Module):
    """Masked asymmetric loss."""

    def __init__(self, options: AsymmetricOptions, *, task: Task, positive_weight: Float[Tensor, " L"] | None) -> None:
        super().__init__()
        _needs_independent_labels("asymmetric", task)
        if positive_weight is not None:
            raise SettingsError(
                "'asymmetric' weighs positives by itself",
                where="training.imbalance",
                expected="none or balanced_sampler",
            )
        self.options = options

    def forward(self, logits: Batch, targets: Batch, mask: Known) -> Tensor:
        """Mean over the known entries."""
        targets = _filled(targets, mask)
        o = self.options
        probability = torch.sigmoid(logits)
        shifted = (probability - o.clip).clamp(min=0)
        positive = targets * (1 - probability).pow(o.gamma_positive) * functional.logsigmoid(logits)
        negative = (1 - targets) * shifted.pow(o.gamma_negative) * torch.log((1 - shifted).clamp(min=1e-8))
        return _mean(-(positive + negative), mask)


def _needs_independent_labels(name: str, task: Task) -> None:
    if task == "multiclass":
        raise SettingsError(
            f"the loss {name!r} does not fit a multiclass task", where="training.loss", expected="'categorical'"
        )


def _filled(targets: Batch, mask: Known) -> Batch:
    return torch.where(mask, targets, torch.zeros_like(targets))


def _mean(each: Tensor, mask: Tensor) -> Tensor:
    return (each * mask).sum() / mask.sum().clamp(min=1)
