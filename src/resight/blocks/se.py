"""Squeeze-and-excitation (Hu et al. 2018, section 3)."""

from __future__ import annotations

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from resight.blocks.base import ATTENTION
from resight.settings import Options


class SEOptions(Options):
    """Channels are weighted by what all channels hold on average."""

    reduction: int = Field(default=16, gt=0, description="channels per hidden node")


@ATTENTION.register("se", SEOptions)
class SqueezeExcitation(nn.Module):
    """Mean over space, two dense layers, a sigmoid gate per channel.

    Args:
        options: reduction.
        channels: channels of the map.
        dims: spatial dimensions; any.
    """

    def __init__(self, options: SEOptions, *, channels: int, dims: int) -> None:
        super().__init__()
        self.space = tuple(range(2, 2 + dims))
        hidden = max(1, channels // options.reduction)
        self.gate = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid())

    def forward(self, images: Float[Tensor, "B C *space"]) -> Float[Tensor, "B C *space"]:
        """The map with every channel scaled by its gate."""
        gate = self.gate(images.mean(dim=self.space))
        return images * gate.view(*gate.shape, *[1] * len(self.space))
