"""The table's part of a network: the fusion, the row that stands for no table, and hiding one input in training."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from resight.multimodal.base import Fusion, Table


class ClinicalInput(nn.Module):
    """A fusion with what it needs where an input is missing.

    Args:
        fusion: where the table acts.
        nothing: the row `(T,)` of which nothing is known.
        table_dropout: share of training rows whose table is replaced by `nothing`.
        image_dropout: share of training rows whose image is made black everywhere.
    """

    nothing: Tensor

    def __init__(
        self, fusion: Fusion, nothing: Float[np.ndarray, " T"], table_dropout: float, image_dropout: float
    ) -> None:
        super().__init__()
        self.fusion = fusion
        self.table_dropout, self.image_dropout = table_dropout, image_dropout
        self.register_buffer("nothing", torch.tensor(nothing, dtype=torch.float32))

    def rows(self, table: Table | None, count: int) -> Table:
        """The table of a batch, one row for each of `count` images."""
        return self.nothing.expand(count, -1) if table is None else table.expand(count, -1)

    def hidden(
        self, images: Shaped[Tensor, "B C *space"], table: Table | None
    ) -> tuple[Shaped[Tensor, "B C *space"], Table]:
        """A training batch in which some rows lack their table and some of the others their image."""
        rows = self.rows(table, len(images))
        drawn = torch.rand(len(images), device=rows.device)
        without_table = drawn < self.table_dropout
        without_image = (drawn >= self.table_dropout) & (drawn < self.table_dropout + self.image_dropout)
        rows = torch.where(without_table[:, None], self.nothing, rows)
        return images * ~without_image.view(-1, *[1] * (images.ndim - 1)), rows


def seen(images: Shaped[Tensor, "B C *space"]) -> Bool[Tensor, " B"]:
    """Which images are there: one that is black everywhere stands for a missing one."""
    return (images.flatten(1) != 0).any(dim=1)
