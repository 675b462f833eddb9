"""Adversarial removal: features from which a second network cannot tell the group.

Gradient reversal, Ganin et al., JMLR 2016, section 4; shown the label as well, the adversary asks for equalised odds
instead of equal shares, Zhang et al., AIES 2018, section 3.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from resight.errors import SettingsError
from resight.models import Classifier
from resight.settings import Options
from resight.training.base import OBJECTIVES, Loss, Objective
from resight.training.cells import batch_groups, groups_of
from resight.training.data import Batch, TrainingData
from resight.training.supervised import answers, total_loss


class AdversarialOptions(Options):
    """Loss, less how well an adversary tells the group from the features."""

    strength: float = Field(default=1.0, gt=0, description="of the reversed gradient")
    ramp_steps: int = Field(default=100, ge=0, description="steps over which the strength rises from 0")
    hidden: int = Field(default=64, gt=0, description="hidden units of the adversary")
    conditional: bool = Field(
        default=True, description="show the adversary the targets: what the group adds to the label is removed, no more"
    )


class _Reverse(torch.autograd.Function):
    """Passes values on and turns gradients round."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


@OBJECTIVES.register("adversarial", AdversarialOptions)
class Adversarial(Objective):
    """The usual loss, with an adversary behind a gradient reversal at the input of the head."""

    steps: Tensor

    def __init__(self, options: AdversarialOptions, *, loss: Loss, model: nn.Module, train: TrainingData) -> None:
        super().__init__()
        if not isinstance(model, Classifier):
            raise SettingsError(f"a {type(model).__name__}", where="training.objective", expected="backbone and head")
        self.loss, self.options = loss, options
        n_groups = int(groups_of(train).max(initial=-1)) + 1
        shown = train.targets.shape[1] if options.conditional else 0
        self.adversary = nn.Sequential(
            nn.Linear(model.backbone.feature_dim + shown, options.hidden),
            nn.ReLU(),
            nn.Linear(options.hidden, n_groups),
        )
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, model: nn.Module, batch: Batch) -> Float[Tensor, ""]:
        """The value for one batch."""
        assert isinstance(model, Classifier)
        taken: list[Tensor] = []
        handle = model.head.register_forward_pre_hook(lambda _, given: taken.append(given[0]))
        try:
            found = answers(model, batch)
        finally:
            handle.remove()
        features = _Reverse.apply(taken[0].float(), self._strength())
        if self.options.conditional:
            features = torch.cat([features, torch.where(batch.mask, batch.targets, 0.5)], dim=1)
        guess = self.adversary(features)
        return total_loss(self.loss, found, batch) + functional.cross_entropy(guess.float(), batch_groups(batch))

    def _strength(self) -> float:
        self.steps += 1
        ramp = self.options.ramp_steps
        return self.options.strength * (min(1.0, float(self.steps) / ramp) if ramp else 1.0)
