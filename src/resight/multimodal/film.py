"""FiLM: the table scales and shifts every channel of a feature map (Perez et al. 2018, section 2.1)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from resight.multimodal.base import FUSIONS, Fusion, Map, Table, two_layers
from resight.settings import Options


class FilmOptions(Options):
    """The table scales and shifts the channels of the last feature map."""

    hidden: int = Field(default=32, gt=0, description="width of the layer between table and scales")


@FUSIONS.register("film", FilmOptions)
class Film(Fusion):
    """Scale and shift start at 1 and 0, so that training begins from the network of the image alone."""

    acts_on_map = True

    def __init__(self, options: FilmOptions, *, feature_dim: int, table_dim: int, n_labels: int) -> None:
        super().__init__()
        del n_labels
        self.generator = two_layers(table_dim, options.hidden, 2 * feature_dim, start_at_zero=True)

    def modulate(self, last: Map, table: Table) -> Map:
        """Scaled and shifted by the table, then rectified."""
        return scaled_and_shifted(last, self.generator(table))


def scaled_and_shifted(last: Map, parameters: Tensor) -> Map:
    """Each channel of a map scaled by 1 plus the first half of the parameters and shifted by the second half."""
    scale, shift = parameters.view(*parameters.shape, *[1] * (last.ndim - 2)).chunk(2, dim=1)
    return functional.relu((1 + scale) * last + shift)
