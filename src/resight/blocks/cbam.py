"""Convolutional block attention module (Woo et al. 2018, section 3)."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from resight.blocks.base import ATTENTION, CONV, AttentionLayer, Gates, over_space
from resight.settings import Options


class CBAMOptions(Options):
    """Channels, then places, are weighted by their mean and maximum."""

    reduction: int = Field(default=16, gt=0, description="channels per hidden node of the channel gate")
    kernel: Literal[3, 7] = Field(default=7, description="side of the spatial gate's convolution")


@ATTENTION.register("cbam", CBAMOptions)
class ConvolutionalBlockAttention(AttentionLayer):
    """A gate per channel, and then one per place.

    Args:
        options: reduction and kernel.
        channels: channels of the map.
        dims: spatial dimensions, 2 or 3.
    """

    def __init__(self, options: CBAMOptions, *, channels: int, dims: int) -> None:
        super().__init__()
        self.space = tuple(range(2, 2 + dims))
        hidden = max(1, channels // options.reduction)
        self.channel = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.place = CONV[dims](2, 1, options.kernel, padding=options.kernel // 2)

    def gates(self, images: Float[Tensor, "B C *space"]) -> Gates:
        """A gate per channel, and a gate per place of the map that the channels' gates leave."""
        channels = (self.channel(images.mean(dim=self.space)) + self.channel(images.amax(dim=self.space))).sigmoid()
        images = images * over_space(channels, images)
        summary = torch.cat([images.mean(dim=1, keepdim=True), images.amax(dim=1, keepdim=True)], dim=1)
        return Gates(channels, self.place(summary).sigmoid())
