"""Reweighing: entries count so that group and label are independent, or every cell as much as any other.

Kamiran & Calders, Knowledge and Information Systems 2012, section 5.1.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from resight.settings import Options
from resight.training.base import OBJECTIVES, Loss, Objective
from resight.training.cells import Cells, batch_groups, by_cell, cells_of
from resight.training.data import Batch, TrainingData
from resight.training.supervised import answers, total_loss


class GroupReweightedOptions(Options):
    """Loss weighted by group and label."""

    target: Literal["independent", "equal"] = Field(
        default="independent",
        description="independent: every label as common in each group; equal: every group and state counts alike",
    )
    largest_weight: float = Field(default=20.0, gt=1, description="cap, so that a handful of images drown nobody")


@OBJECTIVES.register("group_reweighted", GroupReweightedOptions)
class GroupReweighted(Objective):
    """Weighted mean of the loss; the weights are counted once, on the training images, label by label."""

    weights: Tensor

    def __init__(self, options: GroupReweightedOptions, *, loss: Loss, model: nn.Module, train: TrainingData) -> None:
        super().__init__()
        del model
        self.loss = loss
        self.cells = cells_of(loss, train, by_label=True, per_label=True)
        weights = cell_weights(self.cells.counts(train), self.cells, options.target, options.largest_weight)
        self.register_buffer("weights", torch.from_numpy(weights).float())

    def forward(self, model: nn.Module, batch: Batch) -> Float[Tensor, ""]:
        """The value for one batch."""
        found = answers(model, batch)

        def weigh(present: list[int], losses: Tensor, shares: Tensor) -> Tensor:
            return (self.weights[present] * shares * losses).sum()

        cell = self.cells.of(batch.targets, batch_groups(batch))
        return total_loss(by_cell(self.loss, cell, weigh), found, batch)


def cell_weights(
    counts: Float[np.ndarray, " cells"], cells: Cells, target: str, largest: float
) -> Float[np.ndarray, " cells"]:
    """Weight of every cell, with a mean of 1 over the entries of each label.

    Args:
        counts: training entries of every cell.
        cells: how they are numbered.
        target: `independent` or `equal`.
        largest: no weight is above this.
    """
    states = 2 if cells.per_label else cells.states
    table = counts.reshape(cells.groups, -1, states)  # group, label, state
    total = table.sum(axis=(0, 2), keepdims=True)
    if target == "equal":
        wanted = total * (table > 0) / np.maximum((table > 0).sum(axis=(0, 2), keepdims=True), 1)
    else:
        wanted = table.sum(axis=2, keepdims=True) * table.sum(axis=0, keepdims=True) / np.maximum(total, 1)
    weights = np.minimum(wanted / np.maximum(table, 1), largest)
    mean = (weights * table).sum(axis=(0, 2), keepdims=True) / np.maximum(total, 1)
    return (weights / np.where(mean > 0, mean, 1)).reshape(-1)
