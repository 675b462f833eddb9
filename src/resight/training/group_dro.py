"""Group distributionally robust optimisation: the worst group counts most.

Sagawa et al., ICLR 2020, algorithm 1, and the adjustment for small groups of section 3.3. It needs strong weight decay
or early stopping: a network that fits every training image has no worst group there.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from resight.settings import Options
from resight.training.base import OBJECTIVES, Loss, Objective
from resight.training.cells import batch_groups, by_cell, cells_of
from resight.training.data import Batch, TrainingData
from resight.training.supervised import answers, total_loss


class GroupDROOptions(Options):
    """Loss of the worst groups."""

    step_size: float = Field(default=0.01, gt=0, description="how fast weight moves to the group with the largest loss")
    adjustment: float = Field(
        default=0.0, ge=0, description="C of C / sqrt(n), added to a group's loss: small groups generalise worse"
    )
    by_label: bool = Field(default=True, description="groups are divided by label state, as in the paper")


@OBJECTIVES.register("group_dro", GroupDROOptions)
class GroupDRO(Objective):
    """Sum of the groups' losses by weights that follow the losses exponentially; the weights go into checkpoints."""

    weights: Tensor
    adjustment: Tensor

    def __init__(self, options: GroupDROOptions, *, loss: Loss, model: nn.Module, train: TrainingData) -> None:
        super().__init__()
        del model
        self.loss, self.step_size = loss, options.step_size
        self.cells = cells_of(loss, train, by_label=options.by_label)
        counts = torch.from_numpy(self.cells.counts(train))
        self.register_buffer("weights", (counts > 0).float() / (counts > 0).sum().clamp(min=1))
        self.register_buffer("adjustment", (options.adjustment / counts.clamp(min=1).sqrt()).float())

    def forward(self, model: nn.Module, batch: Batch) -> Float[Tensor, ""]:
        """The value for one batch; groups that it does not hold keep their weight."""
        found = answers(model, batch)
        cell = self.cells.of(batch.targets, batch_groups(batch))
        with torch.no_grad():
            by_cell(self.loss, cell, self._follow)(found.logits.detach().float(), batch.targets, batch.mask)
        return total_loss(by_cell(self.loss, cell, self._weigh), found, batch)

    def _follow(self, present: list[int], losses: Tensor, shares: Tensor) -> Tensor:
        del shares
        moved = self.weights.clone()
        moved[present] *= torch.exp(self.step_size * (losses + self.adjustment[present]))
        self.weights.copy_(moved / moved.sum())
        return losses.mean()

    def _weigh(self, present: list[int], losses: Tensor, shares: Tensor) -> Tensor:
        del shares
        return (self.weights[present] * (losses + self.adjustment[present])).sum()
