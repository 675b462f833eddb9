"""DAFT: scale and shift of every channel from the image and the table together (Wolf et al. 2022, section 2.2).

The paper puts it inside the last residual block; here it acts on the map of the last stage, which every backbone has.
"""

from __future__ import annotations

import torch
from pydantic import Field

from resight.multimodal.base import FUSIONS, Fusion, Map, Table, two_layers
from resight.multimodal.film import scaled_and_shifted
from resight.settings import Options


class DaftOptions(Options):
    """Image and table together scale and shift the channels of the last feature map."""

    squeeze: int = Field(default=7, gt=0, description="features per unit of the bottleneck")


@FUSIONS.register("daft", DaftOptions)
class Daft(Fusion):
    """As FiLM, but scales and shifts also see the pooled image."""

    acts_on_map = True

    def __init__(self, options: DaftOptions, *, feature_dim: int, table_dim: int, n_labels: int) -> None:
        super().__init__()
        del n_labels
        inputs = feature_dim + table_dim
        self.generator = two_layers(inputs, max(inputs // options.squeeze, 8), 2 * feature_dim, start_at_zero=True)

    def modulate(self, last: Map, table: Table) -> Map:
        """Scaled and shifted by image and table, then rectified."""
        pooled = last.mean(dim=tuple(range(2, last.ndim)))
        return scaled_and_shifted(last, self.generator(torch.cat([pooled, table], dim=1)))
