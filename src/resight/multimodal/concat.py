"""Features of the image beside those of the table, and a hidden layer over both (Ngiam et al. 2011, section 3)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn

from resight.multimodal.base import FUSIONS, Features, Fusion, Table
from resight.settings import Options


class ConcatOptions(Options):
    """Features side by side, and a hidden layer over both."""

    hidden: int = Field(default=32, gt=0, description="width of the table's hidden layer")


@FUSIONS.register("concat", ConcatOptions)
class Concat(Fusion):
    """The hidden layer over both is what lets one input change the meaning of the other."""

    def __init__(self, options: ConcatOptions, *, feature_dim: int, table_dim: int, n_labels: int) -> None:
        super().__init__()
        del n_labels
        self.table = nn.Sequential(nn.Linear(table_dim, options.hidden), nn.ReLU())
        self.both = nn.Sequential(nn.Linear(feature_dim + options.hidden, feature_dim), nn.ReLU())

    def join(self, features: Features, table: Table) -> Features:
        """A hidden layer over features and table."""
        return self.both(torch.cat([features, self.table(table)], dim=1))
