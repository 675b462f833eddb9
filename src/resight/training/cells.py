"""Cells of group and label state: the parts of a batch that objectives which mind groups weigh apart.

For labels that are judged one by one a cell is a group and a state (present, absent) of an entry; where classes exclude
each other it is a group and a class of an image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from resight.errors import SettingsError
from resight.training.base import Loss
from resight.training.data import Batch, TrainingData
from resight.training.losses import Categorical
from resight.types import Mask, Targets

CellNumbers = Int[Tensor, "B L"]
_EXCLUSIVE = cast("type", Categorical)  # the registry types it as a builder


@dataclass(frozen=True)
class Cells:
    """How entries of a batch are numbered.

    Attributes:
        groups: number of groups.
        states: label states a group is divided into; 1 where it is not divided.
        exclusive: whether classes exclude each other.
        per_label: whether every label has cells of its own.
    """

    groups: int
    states: int
    exclusive: bool
    per_label: bool = False

    @property
    def count(self) -> int:
        """Number of cells."""
        return self.groups * self.states

    def of(self, targets: Float[Tensor, "B L"], groups: Int[Tensor, " B"]) -> CellNumbers:
        """Cell of every entry."""
        if self.states == 1:
            state = torch.zeros_like(targets, dtype=torch.long)
        elif self.exclusive:
            state = targets.argmax(dim=1, keepdim=True).expand_as(targets)
        else:
            state = (targets >= 0.5).long()
            if self.per_label:
                state = state + 2 * torch.arange(targets.shape[1], device=targets.device)
        return groups.to(targets.device)[:, None] * self.states + state

    def counts(self, data: TrainingData) -> Float[np.ndarray, " cells"]:
        """Known entries of every cell in the training data."""
        cell, known = self._numbers(data.targets, data.mask, groups_of(data))
        return np.bincount(cell[known], minlength=self.count).astype(np.float64)

    def _numbers(
        self, targets: Targets, mask: Mask, groups: Int[np.ndarray, " N"]
    ) -> tuple[Int[np.ndarray, "N L"], Bool[np.ndarray, "N L"]]:
        cell = self.of(torch.from_numpy(np.nan_to_num(targets)), torch.from_numpy(groups)).numpy()
        return cell, np.repeat(mask.all(axis=1, keepdims=True), mask.shape[1], axis=1) if self.exclusive else mask


def groups_of(data: TrainingData) -> Int[np.ndarray, " N"]:
    """Group of every sample.

    Raises:
        SettingsError: there are no groups.
    """
    if data.groups is None:
        fix = "Name the attribute: training.group = 'sex'."
        raise SettingsError("no groups to treat apart", where="training.group", fix=fix)
    return data.groups


def cells_of(loss: Loss, data: TrainingData, *, by_label: bool, per_label: bool = False) -> Cells:
    """Cells that fit a loss and the training data.

    Args:
        loss: tells whether classes exclude each other.
        data: with groups.
        by_label: divide groups by label state.
        per_label: do so label by label.
    """
    n_labels, exclusive = data.targets.shape[1], isinstance(loss, _EXCLUSIVE)
    states = n_labels if exclusive else 2 * n_labels if per_label else 2
    count = int(groups_of(data).max(initial=-1)) + 1
    return Cells(count, states if by_label else 1, exclusive, per_label and not exclusive)


def by_cell(
    loss: Loss,
    cell: CellNumbers,
    weigh: Callable[[list[int], Float[Tensor, " present"], Float[Tensor, " present"]], Float[Tensor, ""]],
) -> Loss:
    """A loss that weighs the mean losses of the cells that a batch holds.

    Args:
        loss: of any entries.
        cell: of every entry of the batch.
        weigh: numbers of the cells present, their mean losses and their shares of the known entries, to one value.
    """

    def value(
        logits: Float[Tensor, "B L"], targets: Float[Tensor, "B L"], mask: Bool[Tensor, "B L"]
    ) -> Float[Tensor, ""]:
        present = torch.unique(cell[mask]).tolist()
        if not present:
            return loss(logits, targets, mask)
        parts = [mask & (cell == number) for number in present]
        losses = torch.stack([loss(logits, targets, part) for part in parts])
        shares = torch.stack([part.sum() for part in parts]) / mask.sum()
        return weigh(present, losses, shares)

    return value


def batch_groups(batch: Batch) -> Int[Tensor, " B"]:
    """Groups of a batch, which the reader has put there because the training data have them."""
    assert batch.groups is not None
    return batch.groups
