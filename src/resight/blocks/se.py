"""Squeeze-and-excitation (Hu et al. 2018, section 3)."""

from __future__ import annotations

from typing import Final

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from resight.blocks.base import ATTENTION, AttentionLayer, Gates
from resight.settings import Options

_LEAST_HIDDEN: Final = 8
"""Hidden nodes of narrow maps, as in timm, whose published weights have 8 of them where a map has 64 channels."""


class SEOptions(Options):
    """Channels are weighted by what all channels hold on average."""

    reduction: int = Field(default=16, gt=0, description="channels per hidden node")


@ATTENTION.register("se", SEOptions)
class SqueezeExcitation(AttentionLayer):
    """Mean over space, two dense layers, a sigmoid gate per channel.

    Args:
        options: reduction.
        channels: channels of the map.
        dims: spatial dimensions; any.
    """

    def __init__(self, options: SEOptions, *, channels: int, dims: int) -> None:
        super().__init__()
        self.space = tuple(range(2, 2 + dims))
        hidden = max(_LEAST_HIDDEN, channels // options.reduction)
        self.gate = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid())

    def gates(self, images: Float[Tensor, "B C *space"]) -> Gates:
        """A gate per channel."""
        return Gates(self.gate(images.mean(dim=self.space)))
